"""Runs that measure rather than train: the learning rate range test, and the profile of an epoch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback
from torch import profiler

from musicreclass.training.module import GenreModule

LOW, HIGH, STEPS = 1e-6, 1.0, 100  # of the learning rate
DIVERGED = 4.0  # times the lowest smoothed loss
SMOOTHING = 0.9  # weight of earlier losses
SKIPPED = 10  # first steps, in which the smoothed loss is not reliable
PROFILED, TRACED = 10, 3  # items of the loader: measured, then traced, which is slower; one before them warms up
PARTS = ("loading", "forward", "backward", "optimizer", "other")


class LearningRateRange(Callback):
    """Raises the learning rate exponentially, one step per batch, and ends training when the loss diverges.

    Leslie N. Smith, "Cyclical Learning Rates for Training Neural Networks", 2017, section 3.3.

    Attributes:
        rates, losses: of each step; losses are the mean over the batch, before the step.
    """

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.losses: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Set the learning rate of the step."""
        self.rates.append(LOW * (HIGH / LOW) ** (len(self.rates) / (STEPS - 1)))
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.rates[-1] * group["lr_scale"]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the loss, and stop after the last step or when it diverges."""
        assert isinstance(pl_module, GenreModule)
        metrics = pl_module.train_metrics
        tracks = sum(len(y) for y in metrics.y_true)
        self.losses.append(float(torch.stack(metrics.losses).sum()) / tracks)
        for values in (metrics.losses, metrics.logits, metrics.y_true):
            values.clear()  # a diverged loss is not an error here
        losses = smoothed(self.losses)
        if len(self.losses) == STEPS or not losses[-1] <= DIVERGED * np.nanmin(losses):
            trainer.should_stop = True

    def as_dict(self) -> dict[str, Any]:
        """Learning rates, smoothed losses, and the suggestion."""
        losses = smoothed(self.losses)
        finite = np.isfinite(losses)
        rates, losses = np.array(self.rates)[finite], losses[finite]
        suggestion = suggest(rates, losses)
        return {"lr": rates.tolist(), "loss": losses.tolist(), "suggestion": suggestion}


def smoothed(losses: list[float]) -> np.ndarray:
    """The exponential moving average of losses, corrected for its start."""
    averages, average = [], 0.0
    for step, loss in enumerate(losses, start=1):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        averages.append(average / (1 - SMOOTHING**step))
    return np.array(averages)


def suggest(rates: np.ndarray, losses: np.ndarray) -> float | None:
    """The learning rate at which the loss falls fastest over the logarithm of the rate; None if it does not fall.

    Args:
        rates, losses: of each step, (n,).
    """
    if len(losses) < SKIPPED + 3:
        return None
    slope = np.gradient(losses, np.log(rates))[SKIPPED:-1]
    return float(f"{rates[SKIPPED + int(slope.argmin())]:.2g}") if slope.min() < 0 else None


class EpochProfile(Callback):
    """Measures where the time of the first batches goes, and writes a trace for Perfetto or TensorBoard.

    Args:
        folder: `trace.json` is written there.

    Attributes:
        seconds: of each of `PARTS`, in the measured items.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.items = 0
        self.ended = 0.0
        self.started = self.stepping = 0.0
        self.profiler: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the parts of a training step."""
        optimizer: Any = trainer.optimizers[0]
        self._measure(pl_module, "forward_loss", "forward")
        self._measure(pl_module, "manual_backward", "backward")
        self._measure(optimizer, "step", "optimizer")
        self.ended = self._now()

    def _measure(self, owner: Any, method: str, part: str) -> None:
        function: Callable[..., Any] = getattr(owner, method)

        def measured(*args: Any, **options: Any) -> Any:
            started = self._now()
            with profiler.record_function(part):
                result = function(*args, **options)
            self._add(part, self._now() - started)
            return result

        setattr(owner, method, measured)

    def _now(self) -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return perf_counter()

    def _add(self, part: str, seconds: float) -> None:
        if self._measures:
            self.seconds[part] += seconds

    @property
    def _measures(self) -> bool:
        return 1 <= self.items <= PROFILED

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave out the validation and the checkpoints of the last epoch."""
        self.ended = self._now()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Count the time since the last item as loading, and start the trace after the measured items."""
        self.started = self._now()
        self._add("loading", self.started - self.ended)
        if self.items > PROFILED and self.profiler is None:
            self.profiler = profiler.profile()
            self.profiler.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count what remains of the item as other, and end after the last one."""
        self.ended = self._now()
        if self._measures:
            named = sum(self.seconds[part] for part in ("forward", "backward", "optimizer"))
            self.stepping += self.ended - self.started
            self.seconds["other"] = max(0.0, self.stepping - named)
        self.items += 1
        if self.items == 1 + PROFILED + TRACED:
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the trace."""
        if self.profiler is not None:
            self.profiler.stop()
            self.folder.mkdir(exist_ok=True)
            self.profiler.export_chrome_trace(str(self.folder / "trace.json"))

    def as_dict(self) -> dict[str, Any]:
        """Seconds of each part and measured items."""
        return {
            "seconds": self.seconds,
            "items": min(PROFILED, max(0, self.items - 1)),
            "trace": str(self.folder / "trace.json"),
        }
