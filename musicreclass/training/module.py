"""The LightningModule that trains any network which maps a batch to logits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import nn
from torch.nn import functional as F

from musicreclass.augmentation.augmentation import Augmentation
from musicreclass.config.settings.training import OptimizerSettings, SchedulerSettings
from musicreclass.data.sampling import Batch, derive_seed
from musicreclass.models.frontend import int16_to_float
from musicreclass.training.distributed import global_rank, shard, sum_gradients
from musicreclass.training.epoch_metrics import EpochMetrics, SegmentOutputs, TagEpochMetrics
from musicreclass.training.loss import summed_loss, summed_tag_loss
from musicreclass.training.memory import MicroBatches, StepState
from musicreclass.training.optimizers import make_optimizer, make_scheduler

EpochCallback = Callable[[int, dict[str, float]], None]  # (epoch, values)


@dataclass(frozen=True)
class TrainingPlan:
    """How a network is trained; all of it is part of the run's identity.

    Attributes:
        optimizer, scheduler: settings.
        batch_size: tracks per optimizer step.
        steps: optimizer steps of the whole run, for schedulers that depend on it.
        seed: with the epoch, the seed of dropout and augmentation.
        monitor: the metric that the plateau scheduler, early stopping and the best checkpoint follow.
        mode: whether that metric is to decrease (`min`) or increase (`max`).
        class_weight: weights of the loss (C,), or None; of tags, those of the tracks that have them.
        is_multi: whether targets are indicators of tags.
        label_smoothing: of the training loss; validation loss has none.
        focal_gamma: of the focal loss, for training only; None for cross-entropy.
        gradient_clip_norm: largest norm of the gradient, or None.
        clip_samples: samples per clip, for networks over waveforms.
    """

    optimizer: OptimizerSettings
    scheduler: SchedulerSettings
    batch_size: int
    steps: int
    seed: int
    monitor: str = "valid/loss"
    mode: str = "min"
    class_weight: torch.Tensor | None = None
    label_smoothing: float = 0.0
    focal_gamma: float | None = None
    gradient_clip_norm: float | None = None
    clip_samples: int = 0
    is_multi: bool = False


class GenreModule(LightningModule):
    """Trains a network with manual optimisation: one optimizer step per effective batch, in micro-batches that fit in memory.

    All randomness is seeded anew for each epoch, and schedulers are stepped before checkpoints are written, so a resumed run
    reproduces the uninterrupted one exactly.

    Args:
        network: maps x to logits (B, C).
        num_classes: C.
        plan: optimizer, scheduler, batch size and loss.
        log_epoch: called once per epoch with its metrics.
        front: maps clips (B, n) to the network's input; None for a network over a table.
        augment: augmentation of training clips; None for a network over a table.
        has_segments: whether tracks of the validation split have several rows of a table; validation metrics are those of tracks,
            of which the probabilities are averaged, as for the final scores.

    Attributes:
        micro_batches: tracks per forward pass. The gradient is that of the whole batch for any size, except for batch
            statistics and dropout masks, which are drawn per forward pass.
    """

    def __init__(
        self,
        network: nn.Module,
        num_classes: int,
        plan: TrainingPlan,
        log_epoch: EpochCallback,
        front: nn.Module | None = None,
        augment: Augmentation | None = None,
        has_segments: bool = False,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = network
        self.front = front
        self.augment = augment
        self.plan = plan
        self.new_metrics = partial(TagEpochMetrics if plan.is_multi else EpochMetrics, num_classes)
        self.summed_loss = summed_tag_loss if plan.is_multi else summed_loss
        self.train_metrics, self.valid_metrics = self.new_metrics(), self.new_metrics()
        self.new_segments = partial(SegmentOutputs, num_classes, plan.is_multi) if has_segments else None
        self.segments: SegmentOutputs | None = None
        self.log_epoch = log_epoch
        self.step_scheduler_per_batch = plan.scheduler.interval == "step"
        self.epoch_start = self.training_seconds = 0.0
        self.micro_batches = MicroBatches()
        self.register_buffer("class_weight", plan.class_weight, persistent=False)

    def configure_optimizers(self) -> Any:
        """The optimizer and scheduler of the plan."""
        optimizer = make_optimizer(self.plan.optimizer, self.parameter_groups())
        scheduler = make_scheduler(self.plan.scheduler, optimizer, self.plan.steps, self.plan.mode)
        return optimizer if scheduler is None else {"optimizer": optimizer, "lr_scheduler": scheduler}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Parameters that are trained in any epoch, with `lr_scale`, by which the learning rate is multiplied.

        A network may define its own `parameter_groups()`, and `begin_epoch(epoch)` to change which of them take a gradient.
        """
        if hasattr(self.network, "parameter_groups"):
            return self.network.parameter_groups()  # type: ignore[operator]
        return [{"params": [p for p in self.network.parameters() if p.requires_grad], "lr_scale": 1.0}]

    def trained_parameters(self) -> list[nn.Parameter]:
        """The parameters of all groups."""
        return [parameter for group in self.parameter_groups() for parameter in group["params"]]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out parameters that are never trained, so that a frozen encoder is not written in each epoch."""
        for name in self.untrained_names():
            del checkpoint["state_dict"][name]

    def untrained_names(self) -> list[str]:
        """The names of the parameters that are never trained."""
        trained = set(map(id, self.trained_parameters()))
        return [name for name, parameter in self.named_parameters() if id(parameter) not in trained]

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As in `nn.Module`; parameters that are never trained may be missing."""
        current = self.state_dict()
        untrained = {name: current[name] for name in self.untrained_names()}
        return super().load_state_dict({**untrained, **state_dict}, strict, assign)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, C) for scoring: of features (B, F), or of clips (B, crops, n)."""
        if self.front is None:
            return self.network(x)
        return crop_logits(lambda clips: self.network(self.front(clips)), x, self.plan.is_multi)  # type: ignore[misc]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move x and class numbers of a batch, or of each batch in a list. Draw numbers stay on the CPU, where keys are made."""
        if isinstance(batch, list):
            return [self.transfer_batch_to_device(b, device, dataloader_idx) for b in batch]
        x, y, draw = batch
        return x.to(device, non_blocking=True), y.to(device, non_blocking=True), draw

    def on_train_epoch_start(self) -> None:
        """Seed this epoch's randomness with (seed, epoch), and in all processes but the first with their rank."""
        torch.manual_seed(derive_seed(self.plan.seed, self.current_epoch, *([global_rank()] if global_rank() else [])))
        self.step_state, self.trained = StepState(self.network), self.trained_parameters()
        if hasattr(self.network, "begin_epoch"):
            self.network.begin_epoch(self.current_epoch)  # type: ignore[operator]
        self.train_metrics = self.new_metrics()
        self.epoch_start = perf_counter()

    def training_step(self, batches: list[Batch], batch_idx: int) -> None:
        """One optimizer step for each effective batch that `BatchGroups` has put into the list."""
        optimizer: Any = self.optimizers()
        scheduler: Any = self.lr_schedulers() if self.step_scheduler_per_batch else None
        for x, y, draw in batches:
            x, target, keys = (x, y, draw) if self.augment is None else self.augment_batch(x, y, draw)
            divisor = self.loss_divisor(target)
            for loss, logits, y_part in self.accumulate_gradients(shard(x, y, target, keys), divisor):
                self.train_metrics.add(loss, logits, y_part)
            sum_gradients(self.trained)
            optimizer.step()
            self.train_metrics.lr = optimizer.param_groups[0]["lr"]
            if scheduler is not None:
                scheduler.step()

    def loss_divisor(self, target: torch.Tensor) -> Any:
        """What turns the summed loss of an effective batch into a mean: the number of tracks, or the sum of their class weights.

        Args:
            target: class numbers (B,), probabilities (B, C) with mixup, or indicators of tags (B, C).
        """
        weight: Any = self.class_weight
        if weight is None or self.plan.is_multi:
            return len(target)
        return weight[target].sum() if target.ndim == 1 else (target @ weight).sum()

    def accumulate_gradients(self, batch: tuple[torch.Tensor, ...], divisor: Any) -> list[tuple[torch.Tensor, ...]]:
        """Compute the gradient of this process's shard of a batch, in micro-batches.

        Args:
            batch: x, class numbers, targets and keys of the shard, one entry per track.
            divisor: divides the summed loss; the same in all processes.

        Returns:
            summed loss, logits and class numbers of each micro-batch.
        """

        def step(size: int) -> list[tuple[torch.Tensor, ...]]:
            for parameter in self.trained:  # zero_grad() does the same in 40 us, 4 % of the step of an MLP
                parameter.grad = None
            outputs: list[tuple[torch.Tensor, ...]] = []
            parts = zip(*(t.split(size) for t in batch), strict=True) if len(batch[1]) else ()
            for x, y, target, keys in parts:
                loss, logits = self.forward_loss(x, target, keys)
                self.manual_backward(loss / divisor)
                outputs.append((loss.detach(), logits.detach(), y))
            return outputs

        self.step_state.save()
        return self.micro_batches.run(len(batch[1]), step, self.step_state.restore)

    def forward_loss(
        self, x: torch.Tensor, target: torch.Tensor, keys: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Summed loss and logits of a forward pass over features, or over clips after waveform augmentation."""
        if self.front is not None:
            x = self.front(x)
        if self.augment is not None and self.augment.has_masks:
            x = self.augment.spectrogram(x, keys)
        logits = self.network(x)
        weight: Any = self.class_weight
        return self.summed_loss(logits, target, weight, self.plan.label_smoothing, self.plan.focal_gamma), logits

    @torch.no_grad()
    def augment_batch(self, x: torch.Tensor, y: torch.Tensor, draw: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Augment an effective batch of waveforms.

        Args:
            x: crops (B, m) int16.
            y: class numbers (B,), or indicators of tags (B, C).
            draw: draw numbers (B,).

        Returns:
            clips (B, n) float32; targets: class numbers (B,), or probabilities (B, C) with mixup; keys (B,), derived from
            (seed, epoch, draw).
        """
        assert self.augment is not None
        keys = torch.tensor([derive_seed(self.plan.seed, self.current_epoch, number) for number in draw.tolist()])
        x = self.augment.waveform(int16_to_float(x), keys, self.plan.clip_samples)
        if self.augment.mixup_alpha > 0:
            x, y = self.augment.mixup(x, y, keys, self.train_metrics.num_classes)
        return x, y, keys

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip the norm of the gradient."""
        if self.plan.gradient_clip_norm is None:
            return
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            scaler.unscale_(
                optimizer
            )  # Lightning has unscaled the fp16 gradients of other optimizers, but not of fused ones
        nn.utils.clip_grad_norm_(self.trained, self.plan.gradient_clip_norm)

    def on_validation_epoch_start(self) -> None:
        """Reset the metrics. Training has ended, although Lightning announces the end of the epoch after validation."""
        self.training_seconds = perf_counter() - self.epoch_start
        self.valid_metrics = self.new_metrics()
        self.segments = None if self.new_segments is None else self.new_segments()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Score a batch, with the plain loss, so that runs can be compared."""
        x, y, number = batch
        x, y, number = shard(x, y, number)
        if not len(y):
            return
        crops = x.shape[1] if self.front is not None else 1

        def score(size: int) -> torch.Tensor:
            return torch.cat([self(part) for part in x.split(max(1, size // crops))])

        logits = self.micro_batches.run(len(y) * crops, score, restore=lambda: None)
        if self.segments is None:
            self.valid_metrics.add(self.summed_loss(logits, y), logits, y)
        else:
            self.segments.add(logits, y, number)

    def on_validation_epoch_end(self) -> None:
        """Log `valid/loss` and the validation metrics for callbacks."""
        if self.segments is not None:
            logits, y = self.segments.of_tracks()
            self.valid_metrics.add(self.summed_loss(logits, y), logits, y)
        self.log_dict(self.valid_metrics.scores("valid", self.device), logger=False)

    def on_train_epoch_end(self) -> None:
        """Log the epoch and step the scheduler; callbacks write checkpoints afterwards."""
        logged = self.trainer.callback_metrics.items()
        valid = {name: float(value) for name, value in logged if name.startswith("valid/")}
        train = self.train_metrics.scores("train", self.device)
        self.log("train/loss", train["train/loss"], logger=False)  # for callbacks that monitor it
        self.log_epoch(self.current_epoch, {**train, **valid, "lr": float(self.train_metrics.lr), **self.speed()})
        if not np.isfinite(train["train/loss"]):
            raise FloatingPointError(
                f"the training loss is {train['train/loss']} in epoch {self.current_epoch}: lower optimizer.lr"
            )
        scheduler: Any = self.lr_schedulers()
        if scheduler is not None and not self.step_scheduler_per_batch:
            if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
                scheduler.step({**train, **valid}[self.plan.monitor])
            else:
                scheduler.step()

    def speed(self) -> dict[str, float]:
        """Training clips per second, and the share of training time spent waiting for them; empty for a table."""
        loader: Any = self.trainer.train_dataloader.loader  # type: ignore[union-attr]
        if not hasattr(loader, "waited"):
            return {}
        waited, loader.waited = loader.waited, 0.0
        seconds = self.training_seconds
        return {"speed/clips_per_second": self.train_metrics.tracks / seconds, "speed/waiting_share": waited / seconds}


def crop_logits(
    network: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, is_multi: bool = False
) -> torch.Tensor:
    """Logits of the mean probabilities over the crops of each track.

    Args:
        network: maps clips (B, n) to logits (B, C).
        x: (B, crops, n), or one clip per track (B, n).
        is_multi: whether the probabilities are those of tags, the sigmoids of the logits.

    Returns:
        (B, C) float32; its softmax, or sigmoid, gives the mean probabilities.
    """
    x = int16_to_float(x)
    clips = x if x.ndim == 2 else x.flatten(0, 1)
    logits = network(clips).float()
    if is_multi:
        crops = logits.unflatten(0, x.shape[:2]) if x.ndim == 3 else logits[:, None]
        return torch.logsumexp(F.logsigmoid(crops), 1) - torch.logsumexp(F.logsigmoid(-crops), 1)
    log_probability = torch.log_softmax(logits, 1)
    if x.ndim == 2:
        return log_probability
    return torch.logsumexp(log_probability.unflatten(0, x.shape[:2]), 1) - math.log(x.shape[1])
