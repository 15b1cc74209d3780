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
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import nn

from musicreclass.classifiers.base import Classifier, Meta, Workspace, refusing
from musicreclass.classifiers.weights import balanced_weights
from musicreclass.config import one_line
from musicreclass.data.sampling import mixed
from musicreclass.data.table import TableData
from musicreclass.data.tracks import TrackData
from musicreclass.errors import ConfigError, RunError
from musicreclass.files import replacing
from musicreclass.hardware.profile import Profile
from musicreclass.models.frontend import Standardize
from musicreclass.models.module import GenreModule, TrainingPlan

OWN = "musicreclass.models."  # the modules whose networks are loaded without being trusted first
PREDICTION_BATCH = 4096
log = logging.getLogger("musicreclass")


@dataclass(frozen=True)
class TrainerSettings:
    """What Lightning's Trainer and the data loader are told."""

    plan: TrainingPlan
    max_epochs: int
    precision: str
    patience: int | None
    min_delta: float
    accelerator: str

    @classmethod
    def of(cls, config: dict[str, Any], profile: Profile, tracks: int) -> TrainerSettings:
        """The settings of a resolved configuration on a machine, for so many training tracks."""
        trainer, stopping = config["trainer"], config["early_stopping"]
        plan = TrainingPlan(
            optimizer=config["optimizer"],
            scheduler=config["scheduler"],
            batch_size=trainer["batch_size"],
            steps=trainer["max_epochs"] * -(-tracks // trainer["batch_size"]),
            seed=config["seed"],
            monitor=trainer["monitor"],
            mode="min" if trainer["monitor"].endswith("loss") else "max",
            label_smoothing=trainer["label_smoothing"],
            gradient_clip=trainer["gradient_clip"],
            micro_batch=profile.micro_batch,
        )
        return cls(
            plan=plan,
            max_epochs=trainer["max_epochs"],
            precision=trainer["precision"],
            patience=stopping["patience"],
            min_delta=stopping["min_delta"],
            accelerator=profile.accelerator,
        )


class NetworkClassifier(Classifier):
    """A network that Lightning trains and that predicts without it.

    Args:
        meta: what this is.
        weighted: whether classes weigh the same in the loss.
        settings: how to train; None for a network that was loaded.
    """

    def __init__(self, meta: Meta, weighted: bool = False, settings: TrainerSettings | None = None) -> None:
        self.meta = meta
        self.weighted = weighted
        self.settings = settings
        self.facts = {}
        if settings is not None:
            torch.manual_seed(mixed(settings.plan.seed))
        self.network = make_network(meta)

    def fit(self, data: TrackData, work: Workspace) -> None:
        """Train until the validation metric stops improving, and keep the best epoch's weights."""
        assert self.settings is not None
        assert isinstance(data, TableData)
        settings, plan = self.settings, self.settings.plan
        data.batch_size, data.seed = plan.batch_size, plan.seed
        _, x, y = data.arrays("train")
        if self.meta.scale:
            fit_standardize(self.network[0], x)
        if self.weighted:
            weight = torch.from_numpy(balanced_weights(y, len(data.classes)).astype(np.float32))
            plan = replace(plan, class_weight=weight)
        front, network = self.network
        data.transform = torch.no_grad()(front)  # the same for every epoch, so it is done once
        module = GenreModule(network, len(data.classes), plan, work.log_epoch)
        folder = work.folder / "checkpoints"
        callbacks: list[Callback] = [] if settings.patience is None else [
            EarlyStopping(plan.monitor, mode=plan.mode, patience=settings.patience, min_delta=settings.min_delta,
                          check_on_train_epoch_end=True)
        ]  # fmt: skip
        checkpoint = ModelCheckpoint(
            folder, "best", plan.monitor, mode=plan.mode, save_last=True, save_on_train_epoch_end=True,
            enable_version_counter=False,
        )  # fmt: skip
        trainer = quiet_trainer(
            accelerator=settings.accelerator,
            devices=1,
            precision=settings.precision,
            max_epochs=settings.max_epochs,
            callbacks=[*callbacks, checkpoint],
            enable_progress_bar=False,
            default_root_dir=work.folder,
            plugins=[WholeCheckpoints()],
        )
        start = find_checkpoint(folder) if work.resume else None
        try:
            trainer.fit(module, datamodule=data, ckpt_path=start, weights_only=True)
        except SystemExit as leaving:
            if isinstance(leaving.__context__, KeyboardInterrupt):  # how Lightning passes Ctrl-C on
                raise KeyboardInterrupt from leaving
            raise
        best = torch.load(checkpoint.best_model_path, map_location="cpu", weights_only=True)
        self.facts = {
            "best_epoch": int(best["epoch"]),
            "epochs": int(trainer.current_epoch),
            "parameters": sum(p.numel() for p in network.parameters()),
        }
        module.load_state_dict(best["state_dict"])
        self.network.cpu().eval()

    @torch.inference_mode()
    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """See `Classifier`."""
        self.network.eval()
        parts = [torch.softmax(self.network(part).double(), 1) for part in torch.from_numpy(x).split(PREDICTION_BATCH)]
        return torch.cat(parts).numpy() if parts else np.empty((0, len(self.meta.classes)))

    def write(self, folder: Path) -> None:
        """Write the weights, preprocessing included, as tensors and nothing else."""
        torch.save(self.network.state_dict(), folder / "weights.pt")

    @classmethod
    def load(cls, folder: Path, meta: Meta, trust: tuple[str, ...]) -> NetworkClassifier:
        """See `classifiers.build.load`."""
        module, _, name = meta.target.rpartition(".")
        if not (module.startswith(OWN) or any(module == m or module.startswith(f"{m}.") for m in trust)):
            told = f"if that is your own code, load it with --trust {module}"
            raise RunError(f"{folder}: made from {meta.target}; {told}")
        with refusing(folder / "meta.json"):
            found_class = getattr(importlib.import_module(module), name)
            if found_class.__module__ != module or not plain_arguments(meta.arguments):
                raise RunError(f"{folder}/meta.json: {meta.target} is not a network of {module} made from plain values")
        with refusing(folder / "weights.pt"):
            found = cls(meta)
            found.network.load_state_dict(torch.load(folder / "weights.pt", map_location="cpu", weights_only=True))
        found.network.eval()
        return found


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it, so that a kill leaves the one before."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """As Lightning calls it."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(Path(path)) as scratch:
            torch.save(checkpoint, scratch)


def find_checkpoint(folder: Path) -> Path | None:
    """The checkpoint to go on from, if it and the best one are whole, bring no code, and were made in this very folder."""
    last = folder / "last.ckpt"
    if not last.is_file():
        return None
    try:
        found = torch.load(last, map_location="cpu", weights_only=True)
        (kept,) = [state for name, state in found["callbacks"].items() if name.startswith("ModelCheckpoint")]
        if Path(kept["dirpath"]).resolve() != folder.resolve():
            raise ValueError(f"it was made in {kept['dirpath']}")
        torch.load(kept["best_model_path"], map_location="cpu", weights_only=True)
    except Exception as error:
        log.warning("%s cannot be gone on from, the run starts over: %s", last, one_line(error)[:160])
        return None
    return last


def plain_arguments(value: Any) -> bool:
    """Whether arguments are plain values, with nothing in them that asks for another object to be made."""
    if isinstance(value, dict):
        return all(not str(k).startswith("_") and plain_arguments(v) for k, v in value.items())
    return all(map(plain_arguments, value)) if isinstance(value, list) else True


def make_network(meta: Meta) -> nn.Sequential:
    """Standardisation, if the model asks for it, and the network itself with fresh weights.

    A network's target takes `in_features` and `num_classes` beside the arguments in its YAML.

    Raises:
        ConfigError: if the target is no nn.Module, or does not take its arguments.
    """
    found = get_object(meta.target)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ConfigError([f"model._target_={meta.target}: not an nn.Module"])
    sizes = {"in_features": len(meta.columns), "num_classes": len(meta.classes)}
    try:
        network = instantiate({"_target_": meta.target, **meta.arguments}, **sizes, _convert_="all")
    except InstantiationException as error:
        raise ConfigError([f"model: {one_line(error.__cause__ or error)}"]) from error
    front: nn.Module = Standardize(len(meta.columns)) if meta.scale else nn.Identity()
    return nn.Sequential(front, network)


def fit_standardize(front: nn.Module, x: np.ndarray) -> None:
    """Give a `Standardize` the medians, means and deviations of the training features (n, F), NaN where missing."""
    from sklearn.pipeline import Pipeline

    from musicreclass.classifiers.estimator import preprocessing_steps

    assert isinstance(front, Standardize)
    steps = Pipeline(preprocessing_steps(scale=True)).fit(x)
    front.fill.copy_(torch.from_numpy(steps["impute"].statistics_))
    front.mean.copy_(torch.from_numpy(steps["scale"].mean_))
    front.scale.copy_(torch.from_numpy(steps["scale"].scale_))


def quiet_trainer(**settings: Any) -> pl.Trainer:
    """A deterministic Trainer that says nothing but what went wrong."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # it costs time
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric|lightning_utilities")
    return pl.Trainer(
        logger=False,
        deterministic=True,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        **settings,
    )
