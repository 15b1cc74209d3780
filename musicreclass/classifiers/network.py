"""Networks: a LightningModule and a Trainer inside, a plain nn.Module outside."""

from __future__ import annotations

import importlib
import logging
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint

from musicreclass.classifiers.base import Classifier, Workspace
from musicreclass.classifiers.class_weights import balanced_weights
from musicreclass.classifiers.model_folder import ModelCard, reading
from musicreclass.classifiers.network_builder import (
    fit_standardize,
    make_augmentation,
    make_network,
    plain_arguments,
    try_clip,
)
from musicreclass.config.science import CLIPS, WEIGHTS
from musicreclass.data.recordings import AudioData
from musicreclass.data.sampling import derive_seed
from musicreclass.data.table import TableData
from musicreclass.data.tracks import TrackData
from musicreclass.errors import ConfigError, DataError, RunError
from musicreclass.evaluation.predictions import Predictions
from musicreclass.hardware.profile import Profile
from musicreclass.models.frontend import LogMel, int16_to_float
from musicreclass.training.callbacks import EmptyCache, MeasureMicroBatch
from musicreclass.training.checkpoints import WholeCheckpoints, find_checkpoint
from musicreclass.training.distributed import SummedGradientStrategy, teardown
from musicreclass.training.memory import MicroBatches, has_batch_statistics
from musicreclass.training.memory_probe import Measured
from musicreclass.training.module import GenreModule, TrainingPlan, crop_logits

OWN = "musicreclass.models."  # the modules whose networks are loaded without being trusted first
PREDICTION_BATCH, PREDICTION_CLIPS = 4096, 64  # rows of a table, clips in one pass
STATISTICS = 1024  # training tracks at most that the log-mel is standardised over
SHOWN = 8  # training clips in the picture at the start
log = logging.getLogger("musicreclass")


@dataclass(frozen=True)
class TrainerSettings:
    """What Lightning's Trainer and the data loader are told."""

    plan: TrainingPlan
    max_epochs: int
    precision: str
    patience: int | None
    min_delta: float
    profile: Profile
    augmentation: dict[str, Any]

    @classmethod
    def of(cls, config: dict[str, Any], profile: Profile, data: TrackData) -> TrainerSettings:
        """The settings of a resolved configuration on a machine, for training on so much data."""
        trainer, stopping = config["trainer"], config["early_stopping"]
        tracks = data.size("train")
        plan = TrainingPlan(
            optimizer=config["optimizer"],
            scheduler=config["scheduler"],
            batch_size=trainer["batch_size"],
            steps=trainer["max_epochs"] * -(-tracks // trainer["batch_size"]),
            seed=config["seed"],
            monitor=trainer["monitor"],
            mode="min" if trainer["monitor"].endswith("loss") else "max",
            label_smoothing=trainer["label_smoothing"],
            gradient_clip_norm=trainer["gradient_clip_norm"],
            clip_samples=data.clip_samples if isinstance(data, AudioData) else 0,
        )
        return cls(
            plan=plan,
            max_epochs=trainer["max_epochs"],
            precision=profile.precision,
            patience=stopping["patience"],
            min_delta=stopping["min_delta"],
            profile=profile,
            augmentation=config["augmentation"],
        )


class NetworkClassifier(Classifier):
    """A network that Lightning trains and that predicts without it.

    Args:
        card: what this is.
        weighted: whether classes weigh the same in the loss.
        settings: how to train; None for a network that was loaded.
    """

    def __init__(self, card: ModelCard, weighted: bool = False, settings: TrainerSettings | None = None) -> None:
        self.card = card
        self.weighted = weighted
        self.settings = settings
        self.fit_summary = {}
        if settings is not None:
            torch.manual_seed(derive_seed(settings.plan.seed))
            self.augment = make_augmentation(settings.augmentation) if card.input == "waveform" else None
            if self.augment is not None and self.augment.has_masks and card.frontend is None:
                told = "the model reads the waveform itself, and there is no spectrogram to mask"
                raise ConfigError([f"augmentation.time_masks, augmentation.freq_masks: {told}: set both to 0"])
        self.network = make_network(card)
        self.device = torch.device("cpu")
        if settings is not None and card.input == "waveform":
            try_clip(self.network, card)

    def fit(self, data: TrackData, work: Workspace) -> None:
        """Train until the validation metric stops improving, and keep the best epoch's weights."""
        assert self.settings is not None
        settings = self.settings
        data.batch_size, data.seed = settings.plan.batch_size, settings.plan.seed
        if isinstance(data, AudioData):
            data.prefetch, data.pin_memory = settings.profile.prefetch, settings.profile.pin_memory
        module = self._over_waveforms(data, work) if isinstance(data, AudioData) else self._over_table(data, work)
        plan = module.plan
        if settings.profile.channels_last:
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if settings.profile.compile:
            module.network.compile()
        folder = work.folder / "checkpoints"
        callbacks: list[Callback] = [] if settings.patience is None else [
            EarlyStopping(plan.monitor, mode=plan.mode, patience=settings.patience, min_delta=settings.min_delta,
                          check_on_train_epoch_end=True)
        ]  # fmt: skip
        checkpoint = ModelCheckpoint(
            folder, "best", plan.monitor, mode=plan.mode, save_last=True, save_on_train_epoch_end=True,
            enable_version_counter=False,
        )  # fmt: skip
        size = settings.profile.micro_batch if work.micro_batch == "profile" else work.micro_batch
        share = -(-min(plan.batch_size, data.size("train")) // settings.profile.processes)

        def note_micro_batch(found: int | None) -> None:
            work.note_micro_batch(found if settings.profile.processes == 1 else min(found or share, share))

        module.micro_batches = MicroBatches(None if isinstance(size, str) else size, note_micro_batch)
        measured: list[Measured] = []
        if size == "auto":
            callbacks.append(MeasureMicroBatch(settings.profile, measured))
        if settings.profile.empty_cache_every is not None:
            callbacks.append(EmptyCache(settings.profile.empty_cache_every))
        trainer = quiet_trainer(
            accelerator=settings.profile.accelerator,
            devices=settings.profile.devices,
            num_nodes=settings.profile.nodes,
            strategy=SummedGradientStrategy(settings.profile.threads) if settings.profile.processes > 1 else "auto",
            use_distributed_sampler=False,  # every process reads whole batches, and takes its share of each
            precision=settings.precision,
            max_epochs=settings.max_epochs,
            callbacks=[*callbacks, checkpoint],
            enable_progress_bar=False,
            default_root_dir=work.folder,
            plugins=[WholeCheckpoints()],
        )
        if settings.profile.processes > 1 and size != "auto":
            note_micro_batch(size)  # type: ignore[arg-type]
        start = find_checkpoint(folder) if work.resume else None
        try:
            trainer.fit(module, datamodule=data, ckpt_path=start, weights_only=True)
        except SystemExit as leaving:
            if isinstance(leaving.__context__, KeyboardInterrupt):  # how Lightning passes Ctrl-C on
                raise KeyboardInterrupt from leaving
            raise
        finally:
            teardown(trainer)
        if trainer.global_rank:  # the first process has the weights, and goes on alone
            return
        best = torch.load(checkpoint.best_model_path, map_location="cpu", weights_only=True)
        self.fit_summary = {
            "best_epoch": int(best["epoch"]),
            "epochs": int(trainer.current_epoch),
            "parameters": sum(p.numel() for p in self.network.parameters()),
            "trainable": sum(p.numel() for p in module.tuned()),
            "micro_batch": {
                "size": module.micro_batches.size,
                "batch_statistics": has_batch_statistics(self.network),
                "measured": measured[-1].told() if measured else None,
            },
        }
        module.load_state_dict(best["state_dict"])
        self.device = trainer.strategy.root_device if self.card.input == "waveform" else torch.device("cpu")
        self.network.to(self.device).eval()

    def _over_table(self, data: TrackData, work: Workspace) -> GenreModule:
        """What trains the network on a table, whose standardised features are computed once."""
        assert self.settings is not None
        assert isinstance(data, TableData)
        front, network = self.network
        _, x, y = data.arrays("train")
        if self.card.scale:
            fit_standardize(front, x)
        data.transform = torch.no_grad()(front)
        return GenreModule(network, len(data.classes), self._plan(y), work.log_epoch)

    def _over_waveforms(self, data: AudioData, work: Workspace) -> GenreModule:
        """What trains the network on crops, with the log-mel standardised over the middle of training tracks."""
        assert self.augment is not None
        front, network = self.network
        _, _, y = data.numbers("train")
        data.longer = self.augment.crop_factor
        short = data.short()
        if short:
            log.warning(
                "%s recordings are shorter than data.clip_seconds=%s: they are repeated to fill a clip",
                f"{short:,}",
                data.clip_seconds,
            )
        if isinstance(front, LogMel):
            front.fit(int16_to_float(x[:, 0]) for x, _, _ in data.scoring_batches("train", crops=1, most=STATISTICS))
        module = GenreModule(network, len(data.classes), self._plan(y), work.log_epoch, front, self.augment)
        if work.show_clips is not None and isinstance(front, LogMel):
            x, y_first, draw = next(iter(data.train_dataloader()))
            clips, _, keys = module.augmented(x[:SHOWN], y_first[:SHOWN], draw[:SHOWN])
            pictures = self.augment.spectrogram(front(clips), keys)[:, 0].numpy()
            names = [data.classes[k] for k in y_first[:SHOWN]]
            work.show_clips(pictures, names, front.hop_length / data.sample_rate)
        return module

    def _plan(self, y: np.ndarray) -> TrainingPlan:
        """The training plan, with the weights of these classes if they are to weigh the same."""
        assert self.settings is not None
        if not self.weighted:
            return self.settings.plan
        weight = torch.from_numpy(balanced_weights(y, len(self.card.classes)).astype(np.float32))
        return replace(self.settings.plan, class_weight=weight)

    @torch.inference_mode()
    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """See `Classifier`; x is of features (n, F), of clips (n, samples) or of several clips of each track (n, crops, samples)."""
        self.network.eval()
        size = (
            PREDICTION_BATCH
            if self.card.input == "table"
            else max(1, PREDICTION_CLIPS // max(1, x[0].size // x.shape[-1]))
        )
        parts = [self._probability(part.to(self.device)) for part in torch.from_numpy(x).split(size)]
        return torch.cat(parts).numpy() if parts else np.empty((0, len(self.card.classes)))

    def _probability(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.network(x) if self.card.input == "table" else crop_logits(self.network, x)
        return torch.softmax(logits.cpu().double(), 1)

    def predict(self, data: TrackData, split: str) -> Predictions:
        """See `Classifier`; of a track's evenly spaced crops the mean."""
        if self.card.input == "table":
            return super().predict(data, split)
        if not isinstance(data, AudioData):
            raise DataError(f"this model reads a waveform, the data gives {' and '.join(data.provides)}")
        mine = tuple(getattr(self.card, name) for name in CLIPS)
        if (given := tuple(getattr(data, name) for name in CLIPS)) != mine:
            told = "{} Hz, clips of {} s, {} of each track, a single one from the {}"
            raise DataError(f"{told.format(*given)}: not what the model was trained for: {told.format(*mine)}")
        ids, _, _ = data.numbers(split)
        found = [self.predict_proba(x.numpy()) for x, _, _ in data.scoring_batches(split)]
        return Predictions.of(ids, np.concatenate(found), self.card.classes, data.labels())

    def write(self, folder: Path) -> None:
        """Write the weights, preprocessing included, as tensors and nothing else."""
        torch.save(self.network.state_dict(), folder / "weights.pt")

    @classmethod
    def load(cls, folder: Path, card: ModelCard, trust: tuple[str, ...]) -> NetworkClassifier:
        """See `classifiers.build.load`."""
        module, _, name = card.target.rpartition(".")
        if not (module.startswith(OWN) or any(module == m or module.startswith(f"{m}.") for m in trust)):
            told = f"if that is your own code, load it with --trust {module}"
            raise RunError(f"{folder}: made from {card.target}; {told}")
        with reading(folder / "meta.json"):
            found_class = getattr(importlib.import_module(module), name)
            if found_class.__module__ != module or not plain_arguments(card.arguments):
                raise RunError(f"{folder}/meta.json: {card.target} is not a network of {module} made from plain values")
        with reading(folder / "weights.pt"):
            later = {WEIGHTS: None} if WEIGHTS in card.arguments else {}  # they are in weights.pt, with everything else
            found = cls(replace(card, arguments={**card.arguments, **later}))
            found.card = card
            weights = torch.load(folder / "weights.pt", map_location="cpu", weights_only=True)
            found.network.load_state_dict(weights, assign=True)
        found.network.eval()
        return found


def quiet_trainer(**settings: Any) -> pl.Trainer:
    """A deterministic Trainer that says nothing but what went wrong."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # it costs time
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric|lightning_utilities")
    trainer = pl.Trainer(
        logger=False,
        deterministic=True,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        **settings,
    )
    connector: Any = (
        trainer._signal_connector
    )  # a run has handlers of its own; these tell the other processes, out of turn
    connector.register_signal_handlers = lambda: None
    return trainer
