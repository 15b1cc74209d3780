"""The one LightningModule: trains any network that maps a batch to logits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import nn
from torch.nn import functional as F

from musicreclass.augmentation.augmentation import Augmentation
from musicreclass.data.sampling import derive_seed
from musicreclass.models.frontend import int16_to_float
from musicreclass.training.distributed import all_reduce, broadcast, rank, shard, sum_gradients, world
from musicreclass.training.epoch_metrics import EpochMetrics
from musicreclass.training.memory import MicroBatches, StepState
from musicreclass.training.optimizers import make_optimizer, make_scheduler

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # x (B, ...), class number (B,), which draw of the epoch (B,)
LogEpoch = Callable[[int, dict[str, float]], None]  # (epoch, values)


@dataclass(frozen=True)
class TrainingPlan:
    """How a network is trained; conf/ says it, and the run's identity holds all of it.

    Attributes:
        optimizer, scheduler: nodes with a `_target_`, as in conf/.
        batch_size: tracks per optimizer step.
        steps: optimizer steps in the whole run, for schedulers that plan ahead.
        seed: draws dropout and augmentation, together with the epoch.
        monitor: the metric that drives the plateau scheduler.
        class_weight: (C,) weights of the loss, or None.
        label_smoothing: of the training loss alone; validation loss is the plain one.
        gradient_clip_norm: largest norm of the gradient, or None.
        mode: whether that metric is to become small, `min`, or large, `max`.
        clip_samples: samples in a clip, for networks over waveforms.
    """

    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    batch_size: int
    steps: int
    seed: int
    monitor: str = "valid/loss"
    mode: str = "min"
    class_weight: torch.Tensor | None = None
    label_smoothing: float = 0.0
    gradient_clip_norm: float | None = None
    clip_samples: int = 0


class GenreModule(LightningModule):
    """Trains a network with manual optimisation, so that memory need not change what one step learns from.

    A loader yields whole effective batches, one or several at a time (in-memory tables: several, since Lightning's own work per
    batch would cost as much as the step). `training_step` passes each through in micro-batches and steps once. What is
    random is seeded anew for each epoch, and schedulers are stepped here, before checkpoints are written: so a resumed
    run goes on exactly as an undisturbed one.

    Args:
        network: maps x to logits (B, C).
        num_classes: C.
        plan: how to train it.
        log_epoch: called once an epoch with everything that is worth a curve.
        front: of a network over waveforms: what stands before it, clips (B, n) to its input.
        augment: what is done to training clips.

    Attributes:
        micro_batches: tracks per forward pass. The gradient is that of the whole batch for any number of them, but for batch
            statistics and the dropout masks, which are drawn for each forward pass.
    """

    def __init__(
        self,
        network: nn.Module,
        num_classes: int,
        plan: TrainingPlan,
        log_epoch: LogEpoch,
        front: nn.Module | None = None,
        augment: Augmentation | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = network
        self.front = front
        self.augment = augment
        self.plan = plan
        self.train_metrics, self.valid_metrics = EpochMetrics(num_classes), EpochMetrics(num_classes)
        self._log_epoch = log_epoch
        self._step_scheduler_each_batch = False
        self.started = self.took = 0.0
        self.micro_batches = MicroBatches()
        self.register_buffer("class_weight", plan.class_weight, persistent=False)

    def configure_optimizers(self) -> Any:
        """The plan's optimizer over all parameters that take a gradient, and its scheduler."""
        plan = self.plan
        optimizer = make_optimizer(plan.optimizer, self.groups())
        self._step_scheduler_each_batch = plan.scheduler.get("interval") == "step"
        scheduler = make_scheduler(plan.scheduler, optimizer, plan.steps, plan.mode)
        return optimizer if scheduler is None else {"optimizer": optimizer, "lr_scheduler": scheduler}

    def groups(self) -> list[dict[str, Any]]:
        """The parameters that are tuned, at some time or other, with `lr_scale`, their share of the learning rate.

        A network may have groups of its own, in `parameter_groups()`, and whatever it does as epochs pass, in `begin_epoch(n)`.
        """
        if hasattr(self.network, "parameter_groups"):
            return self.network.parameter_groups()  # type: ignore[operator]
        return [{"params": [p for p in self.network.parameters() if p.requires_grad], "lr_scale": 1.0}]

    def tuned(self) -> list[nn.Parameter]:
        """The parameters of all groups."""
        return [parameter for group in self.groups() for parameter in group["params"]]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out what never changes: a frozen encoder would be written anew with every epoch."""
        tuned = set(map(id, self.tuned()))
        for name, parameter in self.named_parameters():
            if id(parameter) not in tuned:
                del checkpoint["state_dict"][name]

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As in any module; parameters that never change may be absent."""
        return super().load_state_dict({**self.state_dict(), **state_dict}, strict, assign)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, C) of what a loader gives for scoring."""
        return self.network(x) if self.front is None else crop_logits(lambda clips: self.network(self.front(clips)), x)  # type: ignore[misc]

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """All but the draws, of which keys are made on the CPU."""
        x, y, draw = batch
        return x.to(device, non_blocking=True), y.to(device, non_blocking=True), draw

    def on_train_start(self) -> None:
        """Several processes go on from the same epoch, with the same weights."""
        if self.current_epoch * world() != all_reduce(np.array([self.current_epoch]), self.device)[0]:
            raise RuntimeError("the processes of this launch do not go on from the same epoch; start all of them again")
        broadcast([*self.parameters(), *self.buffers()])

    def on_train_epoch_start(self) -> None:
        """Key this epoch's randomness by (seed, epoch)."""
        torch.manual_seed(derive_seed(self.plan.seed, self.current_epoch, *([rank()] if rank() else [])))
        self.step_state, self.trained = StepState(self.network), self.tuned()
        if hasattr(self.network, "begin_epoch"):
            self.network.begin_epoch(self.current_epoch)  # type: ignore[operator]
        self.train_metrics = EpochMetrics(self.train_metrics.classes)
        self.started = perf_counter()

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One optimizer step for each effective batch in what the loader gave, each in micro-batches."""
        plan, totals = self.plan, self.train_metrics
        weight: Any = self.class_weight
        optimizer: Any = self.optimizers()
        scheduler: Any = self.lr_schedulers() if self._step_scheduler_each_batch else None
        for x, y, draw in zip(*(t.split(plan.batch_size) for t in batch), strict=True):
            whole = len(y) if weight is None else weight[y].sum()
            x, target, keys = (x, y, draw) if self.augment is None else self.augmented(x, y, draw)
            for loss, logits, y_part in self.gradients(shard(x, y, target, keys), whole):
                totals.add(loss, logits, y_part)
            sum_gradients(self.trained)
            if plan.gradient_clip_norm is not None:
                scaler = getattr(self.trainer.precision_plugin, "scaler", None)
                if scaler is not None:  # fp16's gradients are scaled; those that clip are the true ones
                    scaler.unscale_(optimizer.optimizer)
                nn.utils.clip_grad_norm_(self.trained, plan.gradient_clip_norm)
            optimizer.step()
            totals.lr = optimizer.param_groups[0]["lr"]
            if scheduler is not None:
                scheduler.step()

    def gradients(self, batch: tuple[torch.Tensor, ...], whole: Any) -> list[tuple[torch.Tensor, ...]]:
        """Sum up the gradients of this process's share of a batch, in as many parts as memory needs.

        Args:
            batch: the share: x, class numbers, targets and keys, one entry per track.
            whole: what the summed loss is divided by, in every process.

        Returns:
            each part's summed loss, logits and class numbers.
        """

        def attempt(size: int) -> list[tuple[torch.Tensor, ...]]:
            for parameter in self.trained:  # as zero_grad() does, without the time it takes to begin
                parameter.grad = None
            found: list[tuple[torch.Tensor, ...]] = []
            parts = zip(*(t.split(size) for t in batch), strict=True) if len(batch[1]) else ()
            for x, y, target, keys in parts:
                loss, logits = self.forward_loss(x, target, keys)
                self.manual_backward(loss / whole)
                found.append((loss.detach(), logits.detach(), y))
            return found

        state = self.step_state
        state.save()
        return self.micro_batches.attempt(len(batch[1]), attempt, state.restore)

    def forward_loss(
        self, x: torch.Tensor, target: torch.Tensor, keys: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One forward pass: the summed loss and the logits of some samples, augmented as waveforms before."""
        if self.front is not None:
            x = self.front(x)
        if self.augment is not None and self.augment.has_masks:
            x = self.augment.spectrogram(x, keys)
        logits = self.network(x)
        weight: Any = self.class_weight
        smoothing = self.plan.label_smoothing
        return F.cross_entropy(logits, target, weight, reduction="sum", label_smoothing=smoothing), logits

    @torch.no_grad()
    def augmented(self, x: torch.Tensor, y: torch.Tensor, draw: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """A whole effective batch of waveforms after augmentation.

        Args:
            x: (B, m) int16.
            y: class numbers (B,).
            draw: which of the epoch's draws each sample is, (B,).

        Returns:
            clips (B, n) float32, class numbers (B,) or with mixup probabilities (B, C), and each sample's key, made of (seed,
            epoch, draw).
        """
        assert self.augment is not None
        keys = torch.tensor([derive_seed(self.plan.seed, self.current_epoch, number) for number in draw.tolist()])
        x = self.augment.waveform(int16_to_float(x), keys, self.plan.clip_samples)
        if self.augment.mixup_alpha > 0:
            x, y = self.augment.mixup(x, y, keys, self.train_metrics.classes)
        return x, y, keys

    def on_validation_epoch_start(self) -> None:
        """Start counting. Lightning validates before an epoch's end is announced: here training is over."""
        self.took = perf_counter() - self.started
        broadcast(self.network.buffers())
        self.valid_metrics = EpochMetrics(self.valid_metrics.classes)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count one batch; the loss is the plain one, so that runs compare."""
        x, y, _ = batch
        x, y = shard(x, y)
        if not len(y):
            return
        crops = x.shape[1] if self.front is not None else 1

        def attempt(clips: int) -> torch.Tensor:
            return torch.cat([self(part) for part in x.split(max(1, clips // crops))])

        logits = self.micro_batches.attempt(len(y) * crops, attempt, restore=lambda: None)
        self.valid_metrics.add(F.cross_entropy(logits, y, reduction="sum"), logits, y)

    def on_validation_epoch_end(self) -> None:
        """Publish `valid/loss`, `valid/accuracy` and `valid/macro_f1` for the callbacks that watch them."""
        self.log_dict(self.valid_metrics.scores("valid", self.device), logger=False)

    def on_train_epoch_end(self) -> None:
        """Log the epoch and step the scheduler; the callbacks that write checkpoints come after this."""
        found = self.trainer.callback_metrics.items()
        valid = {name: float(value) for name, value in found if name.startswith("valid/")}
        train = self.train_metrics.scores("train", self.device)
        self.log("train/loss", train["train/loss"], logger=False)  # for callbacks that watch it
        self._log_epoch(self.current_epoch, {**train, **valid, "lr": float(self.train_metrics.lr), **self.speed()})
        if not np.isfinite(train["train/loss"]):
            raise FloatingPointError(
                f"the training loss is {train['train/loss']} in epoch {self.current_epoch}: lower optimizer.lr"
            )
        scheduler: Any = self.lr_schedulers()
        if scheduler is not None and not self._step_scheduler_each_batch:
            if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
                scheduler.step({**train, **valid}[self.plan.monitor])
            else:
                scheduler.step()

    def speed(self) -> dict[str, float]:
        """Training clips per second, and the share of the time that was spent waiting for them.

        A table's loader, which nothing waits for, has no such figures.
        """
        loader: Any = self.trainer.train_dataloader
        if not hasattr(loader, "waited"):
            return {}
        took, waited, loader.waited = self.took, loader.waited, 0.0
        return {"speed/clips_per_second": self.train_metrics.tracks / took, "speed/waiting_share": waited / took}

    def __setattr__(self, name: str, value: Any) -> None:
        """As in any module, but for the hook's name, which Lightning notes before and after each of its many hooks."""
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)


def crop_logits(network: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """The log of the mean probabilities of each track's crops.

    Args:
        network: clips (B, n) to logits (B, C).
        x: (B, crops, n), or one clip of each (B, n).

    Returns:
        (B, C) float32, of which a softmax gives the mean probabilities.
    """
    x = int16_to_float(x)
    clips = x if x.ndim == 2 else x.flatten(0, 1)
    log_probability = torch.log_softmax(network(clips).float(), 1)
    if x.ndim == 2:
        return log_probability
    return torch.logsumexp(log_probability.unflatten(0, x.shape[:2]), 1) - math.log(x.shape[1])
