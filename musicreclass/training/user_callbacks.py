"""Callbacks that the user chooses: any callback of Lightning that fits manual optimisation and this project's checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytorch_lightning import callbacks as lightning
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger

from musicreclass.config.hydra_adapter import instantiate
from musicreclass.config.messages import brief
from musicreclass.config.settings.training import CallbacksSettings
from musicreclass.config.targets import check_arguments, check_nested_targets, import_class, invalid_target
from musicreclass.errors import ConfigError, Problem, UserError
from musicreclass.training.module import EpochCallback

PREFIX = "callback/"  # of the values that callbacks log
RULE = "must be a subclass of pytorch_lightning.callbacks.Callback"
REFUSED: dict[type, str] = {  # callbacks of Lightning that would fail, or not do what they promise
    lightning.Checkpoint: "a run keeps checkpoints of its best and its last epoch; trainer.monitor chooses the best",
    lightning.EarlyStopping: "use early_stopping=default",
    lightning.ProgressBar: "a run has a progress bar",
    lightning.GradientAccumulationScheduler: "trainer.batch_size is the effective batch, for any hardware.micro_batch",
    lightning.BatchSizeFinder: "use hardware.micro_batch=auto",
    lightning.LearningRateFinder: "it needs automatic optimisation; use debug=lr_finder",
    lightning.StochasticWeightAveraging: "it needs automatic optimisation, and a run keeps the weights of its best epoch",
    lightning.WeightAveraging: "it is not supported; a run keeps the weights of its best epoch",
    lightning.ModelPruning: "it is not supported, since it renames the weights",
}


def is_callback(kind: type) -> bool:
    """Whether a class is a callback of Lightning."""
    return issubclass(kind, Callback)


def make_callbacks(settings: CallbacksSettings) -> list[Callback]:
    """The callbacks that settings describe.

    Raises:
        ConfigError: if one cannot be imported, is no callback, is not supported, or rejects its arguments.
    """
    callbacks = []
    for key, section in settings.by_key().items():
        target, arguments = str(section.target), section.arguments()
        kind = import_class(target, f"{key}._target_", is_callback, RULE)
        reason = next((reason for refused, reason in REFUSED.items() if issubclass(kind, refused)), None)
        if reason is not None:
            raise invalid_target(f"{key}._target_", target, reason)
        check_nested_targets(arguments, key, is_callback, RULE)
        check_arguments(kind, arguments, key)
        try:
            callbacks.append(instantiate({"_target_": target, **arguments}))
        except UserError:
            raise
        except Exception as error:
            raise ConfigError([Problem(f"{key}: {brief(error)}", "invalid_arguments", key, target)]) from error
    return callbacks


class CallbackValues(Logger):
    """The logger that callbacks see: the last value of each epoch joins the curves of the run.

    Args:
        log_epoch: takes the values of an epoch.
    """

    name, version = "callbacks", "0"

    def __init__(self, log_epoch: EpochCallback) -> None:
        super().__init__()
        self._log_epoch = log_epoch
        self.values: dict[str, float] = {}

    def log_hyperparams(self, params: Any, *args: Any, **options: Any) -> None:
        """Nothing: the run logs its settings."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Take values of a callback."""
        self.values.update({f"{PREFIX}{name}": float(value) for name, value in metrics.items()})

    def log_epoch(self, epoch: int, values: dict[str, float]) -> None:
        """Log the values of an epoch with those of callbacks."""
        logged, self.values = self.values, {}
        self._log_epoch(epoch, {**values, **logged})
