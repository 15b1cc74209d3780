"""Fits a network with Lightning's Trainer: settings, callbacks, checkpoints, devices and micro-batches."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping

from musicreclass.config.settings.tasks import TrainSettings
from musicreclass.config.settings.training import AugmentationSettings, CallbacksSettings
from musicreclass.data.recordings import AudioData
from musicreclass.data.sampling import LoaderSettings
from musicreclass.data.table import TableData
from musicreclass.data.track_data import TrackData
from musicreclass.errors import ConfigError, Problem
from musicreclass.evaluation.metric_names import CLASS_METRICS, TAG_METRICS
from musicreclass.hardware.profile import Profile
from musicreclass.storage.damage import is_out_of_memory
from musicreclass.training.callbacks import EmptyCache, MeasureMicroBatch
from musicreclass.training.checkpoints import AtomicCheckpoints, ModelCheckpointOfEachEpoch, find_checkpoint
from musicreclass.training.datamodule import TrackDataModule
from musicreclass.training.diagnosis import EpochProfile, LearningRateRange
from musicreclass.training.distributed import SummedGradientStrategy
from musicreclass.training.memory import MicroBatches, has_batch_statistics, out_of_memory_line
from musicreclass.training.module import GenreModule, TrainingPlan
from musicreclass.training.user_callbacks import CallbackValues, make_callbacks

log = logging.getLogger("musicreclass")


@dataclass(frozen=True)
class FitSettings:
    """Settings of a fit.

    Attributes:
        plan: how the network is trained.
        max_epochs: epochs at most.
        precision: in Lightning's notation.
        limit_train, limit_valid: batches of an epoch; None for all.
        diagnosis: what to measure instead of training, or None.
        patience: epochs without improvement after which training stops, or None.
        min_delta: smallest change of the monitored metric that counts as an improvement.
        shard_size: tracks (rows of a table of segments) of the largest batch that one process trains on.
        profile: how the machine is used.
        augmentation: of training clips.
        callbacks: of the user.
    """

    plan: TrainingPlan
    max_epochs: int
    precision: str
    patience: int | None
    min_delta: float
    shard_size: int
    profile: Profile
    augmentation: AugmentationSettings
    callbacks: CallbacksSettings = field(default_factory=CallbacksSettings)
    limit_train: int | None = None
    limit_valid: int | None = None
    diagnosis: str | None = None

    @classmethod
    def of(cls, settings: TrainSettings, profile: Profile, data: TrackData) -> FitSettings:
        """What the settings mean for training on these data."""
        trainer = settings.trainer
        check_monitor(trainer.monitor, data.is_multi)
        rows = data.row_count("train")
        batches = -(-rows // trainer.tracks_per_step)
        plan = TrainingPlan(
            optimizer=settings.optimizer,
            scheduler=settings.scheduler,
            batch_size=trainer.tracks_per_step,
            steps=trainer.max_epochs * min(batches, trainer.limit_train_batches or batches),
            seed=settings.seed,
            monitor=trainer.monitor,
            mode="min" if trainer.monitor.endswith("loss") else "max",
            label_smoothing=trainer.label_smoothing,
            focal_gamma=trainer.focal_gamma,
            gradient_clip_norm=trainer.gradient_clip_norm,
            clip_samples=data.clip_samples if isinstance(data, AudioData) else 0,
            is_multi=data.is_multi,
        )
        return cls(
            plan=plan,
            max_epochs=trainer.max_epochs,
            precision=profile.precision,
            patience=settings.early_stopping.patience,
            min_delta=settings.early_stopping.min_delta,
            shard_size=-(-min(plan.batch_size, rows) // profile.processes),
            profile=profile,
            augmentation=settings.augmentation,
            callbacks=settings.callbacks,
            limit_train=trainer.limit_train_batches,
            limit_valid=trainer.limit_valid_batches,
            diagnosis=trainer.diagnosis,
        )

    def loader_settings(self, **settings: Any) -> LoaderSettings:
        """What to ask a source for; `settings` are `transform` or `crop_factor`."""
        return LoaderSettings(
            self.plan.batch_size,
            self.plan.seed,
            prefetch=self.profile.prefetch,
            pin_memory=self.profile.pin_memory,
            **settings,
        )


def check_monitor(monitor: str, is_multi: bool) -> None:
    """Make sure that the monitored metric is one of the data's task.

    Raises:
        ConfigError: if it is not.
    """
    split, _, name = monitor.partition("/")
    reported = ("loss", *(TAG_METRICS if is_multi else CLASS_METRICS))
    if split == "valid" and name not in reported:
        labels = "several labels" if is_multi else "one label"
        names = ", ".join(f"valid/{metric}" for metric in reported)
        line = f"trainer.monitor={monitor}: is not reported for data with {labels} a track; choose one of {names}"
        raise ConfigError(
            [Problem(line, "unknown_metric", "trainer.monitor", monitor, f"trainer.monitor=valid/{reported[-1]}")]
        )


class NetworkTrainer:
    """Fits a network, and restores the weights of its best epoch.

    Args:
        settings: how to train.
        folder: the run folder; checkpoints are stored in its `checkpoints/`.
        micro_batch: tracks per forward pass, None for the whole shard, or `auto` to measure how many fit.
        note_micro_batch: called with the tracks per forward pass whenever they change.
    """

    def __init__(
        self,
        settings: FitSettings,
        folder: Path,
        micro_batch: int | str | None,
        note_micro_batch: Callable[[int | None], None],
    ) -> None:
        self.settings = settings
        self.folder = folder
        self.micro_batch = micro_batch
        self.note_micro_batch = note_micro_batch
        plan = settings.plan
        self.checkpoint = ModelCheckpointOfEachEpoch(
            folder / "checkpoints", "best", plan.monitor, mode=plan.mode, save_last=True, save_on_train_epoch_end=True,
            enable_version_counter=False,
        )  # fmt: skip
        self.measure = MeasureMicroBatch(settings.profile) if micro_batch == "auto" else None
        self.diagnosis: LearningRateRange | EpochProfile | None = None
        if settings.diagnosis == "lr_finder":
            self.diagnosis = LearningRateRange()
        elif settings.diagnosis == "profile":
            self.diagnosis = EpochProfile(folder / "profile")

    def fit(
        self, module: GenreModule, data: TableData | AudioData, loading: LoaderSettings, resume: bool
    ) -> dict[str, Any] | None:
        """Train until the monitored metric stops improving.

        Args:
            module: its weights become those of the best epoch.
            data: of the training and validation splits.
            loading: what its loaders are asked for.
            resume: whether to resume from the last checkpoint, if it is valid.

        Returns:
            epochs, numbers of parameters and the micro-batch, for provenance; None in all processes but the first.
        """
        module.micro_batches = MicroBatches(
            self.micro_batch if isinstance(self.micro_batch, int) else None, self._note_shard
        )
        if self.settings.profile.processes > 1 and self.measure is None:
            self._note_shard(module.micro_batches.size)
        trained, total = (sum(p.numel() for p in some) for some in (module.trained_parameters(), module.parameters()))
        if trained < total:
            log.info("%s of %s parameters are trained", f"{trained:,}", f"{total:,}")
        trainer = self._make_trainer(module)
        grouped = self.settings.diagnosis != "lr_finder"
        batches = TrackDataModule(data, loading, self.settings.limit_train, grouped)
        resume_from = find_checkpoint(self.folder / "checkpoints") if resume else None
        try:
            trainer.fit(module, datamodule=batches, ckpt_path=resume_from, weights_only=True)
        except SystemExit as error:
            if isinstance(error.__context__, KeyboardInterrupt):  # Lightning turns Ctrl-C into SystemExit
                raise KeyboardInterrupt from error
            raise
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            kind = MemoryError if isinstance(error, MemoryError) else torch.OutOfMemoryError
            raise kind(out_of_memory_line(self.settings.plan.batch_size, error)) from error
        if trainer.global_rank:
            return None
        best = torch.load(self.checkpoint.best_model_path, map_location="cpu", weights_only=True)
        module.load_state_dict(best["state_dict"])
        return self._summary(module, int(best["epoch"]), int(trainer.current_epoch))

    def _note_shard(self, size: int | None) -> None:
        """Note a micro-batch; of several processes each trains on a shard, which is never larger than the noted size."""
        if self.settings.profile.processes > 1:
            size = min(size or self.settings.shard_size, self.settings.shard_size)
        self.note_micro_batch(size)

    def _make_trainer(self, module: GenreModule) -> pl.Trainer:
        settings, profile = self.settings, self.settings.profile
        callbacks: list[Callback] = [self.checkpoint]
        if settings.patience is not None:
            stopping = EarlyStopping(
                settings.plan.monitor, mode=settings.plan.mode, patience=settings.patience,
                min_delta=settings.min_delta, check_on_train_epoch_end=True,
            )  # fmt: skip
            callbacks.append(stopping)
        if self.measure is not None:
            callbacks.append(self.measure)
        if self.diagnosis is not None:
            callbacks.append(self.diagnosis)
        if profile.empty_cache_every is not None:
            callbacks.append(EmptyCache(profile.empty_cache_every))
        logging_of_callbacks: dict[str, Any] = {}
        if users := make_callbacks(settings.callbacks):
            callbacks += users
            values = CallbackValues(module.log_epoch)
            module.log_epoch = values.log_epoch
            logging_of_callbacks = {"logger": values, "log_every_n_steps": 1}
        return quiet_trainer(
            **logging_of_callbacks,
            accelerator=profile.accelerator,
            devices=profile.devices,
            num_nodes=profile.nodes,
            strategy=SummedGradientStrategy(profile.threads) if profile.processes > 1 else "auto",
            use_distributed_sampler=False,  # each process reads whole batches and takes its shard of each
            precision=settings.precision,
            max_epochs=settings.max_epochs,
            limit_val_batches=settings.limit_valid,
            callbacks=callbacks,
            enable_progress_bar=False,
            default_root_dir=self.folder,
            plugins=[AtomicCheckpoints()],
        )

    def _summary(self, module: GenreModule, best_epoch: int, epochs: int) -> dict[str, Any]:
        measured = self.measure.results[-1] if self.measure is not None and self.measure.results else None
        return {
            **({str(self.settings.diagnosis): self.diagnosis.as_dict()} if self.diagnosis is not None else {}),
            "best_epoch": best_epoch,
            "epochs": epochs,
            "parameters": sum(p.numel() for p in module.parameters()),
            "trainable": sum(p.numel() for p in module.trained_parameters()),
            "micro_batch": {
                "size": module.micro_batches.size,
                "batch_statistics": has_batch_statistics(module.network),
                "measured": None if measured is None else measured.as_dict(),
            },
        }


def quiet_trainer(**settings: Any) -> pl.Trainer:
    """A deterministic Trainer that prints errors only and leaves signals to the run."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # filling costs time
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric|lightning_utilities")
    trainer = pl.Trainer(
        deterministic=True,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        **{"logger": False, **settings},
    )
    # A run handles signals itself; Lightning's handlers would forward them to the other processes too early.
    connector: Any = trainer._signal_connector
    connector.register_signal_handlers = lambda: None
    return trainer
