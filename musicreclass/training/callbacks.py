"""What a fit does for the machine's sake, beside training."""

from __future__ import annotations

import logging
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback

from musicreclass.config.messages import one_line
from musicreclass.errors import ConfigError
from musicreclass.hardware.profile import Profile
from musicreclass.training.distributed import world
from musicreclass.training.memory import has_batch_statistics, is_out_of_memory, release_memory
from musicreclass.training.memory_probe import Measured, Meter, largest, meter
from musicreclass.training.module import Batch, GenreModule
from musicreclass.training.optimizers import make_optimizer

log = logging.getLogger("musicreclass")
TYPES = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


class MeasureMicroBatch(Callback):
    """Sets the micro-batch by what fits, ahead of the first step, and again when an epoch begins that tunes more weights.

    Nothing of it is left: weights, buffers and random states are put back.

    Args:
        profile: the precision, and how much memory to leave.
        found: takes what was measured, for provenance.
    """

    def __init__(self, profile: Profile, found: list[Measured]) -> None:
        self.profile, self.found = profile, found
        self.tuned = 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        """Measure with the first batch, which is on the device by now."""
        if batch_idx:
            return
        assert isinstance(pl_module, GenreModule)
        tuned = sum(p.numel() for p in pl_module.network.parameters() if p.requires_grad)
        if tuned <= self.tuned:
            return
        self.tuned = tuned
        whole = -(-pl_module.plan.batch_size // world())
        found = measured(pl_module, tuple(t[:whole] for t in batch), self.profile)  # type: ignore[arg-type]
        self.found.append(found)
        size = whole if len(batch[1]) < whole and found.size == len(batch[1]) else found.size
        log.info("micro-batch: %d of %d tracks at once; %s", min(size, whole), whole, found)
        before = pl_module.micro_batches.size
        part = even(whole, size if before is None else min(size, before))
        if part is not None and has_batch_statistics(pl_module.network):
            log.warning("batch statistics are of %d tracks, not of the whole batch of %d", part, whole)
        pl_module.micro_batches.set(part)


def even(whole: int, size: int) -> int | None:
    """The micro-batch by which a batch falls into parts of nearly one size, none larger than what fits; None for one part."""
    return None if size >= whole else -(-whole // -(-whole // size))


def measured(module: GenreModule, batch: Batch, profile: Profile, most: int | None = None) -> Measured:
    """How many tracks of a batch fit through a network's training step at once.

    Args:
        module: on its device.
        batch: a whole effective batch, on the device.
        profile: the precision, and how much memory to leave.
        most: tracks to try at most; by default those of the batch. More than it has are made from it.

    Raises:
        ConfigError: if not even one fits.
    """
    device = next(module.network.parameters()).device
    gauge: Meter = meter(device, profile.unified)
    kept = {name: value.cpu().clone() for name, value in module.network.state_dict().items()}
    most = most or len(batch[1])
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            return largest(TrialStep(module, batch, profile.precision), gauge, most, profile.memory_margin)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        told = f"a training step is too much for the memory here ({one_line(error)[:160]})"
        raise ConfigError(
            [f"trainer.batch_size={module.plan.batch_size}: {told}; choose a smaller network, or shorter clips"]
        ) from error
    finally:
        module.network.zero_grad()
        with torch.no_grad():
            state = module.network.state_dict()
            for name, value in kept.items():
                state[name].copy_(value)
        if device.type == "cuda":
            release_memory()


class TrialStep:
    """A real training step, with an optimizer of its own.

    Args:
        module: whose network to train.
        batch: to take tracks from.
        precision: as Lightning names it.
    """

    def __init__(self, module: GenreModule, batch: Batch, precision: str) -> None:
        self.module, self.precision = module, precision
        x, y, draw = batch  # augmented as a whole, as in training, and there while parts of it pass through
        self.batch = (x, y, draw) if module.augment is None else module.augmented(x, y, draw)
        self.optimizer = make_optimizer(module.plan.optimizer, module.groups())

    def __call__(self, size: int) -> None:
        """Forward, backward and an optimizer's step with so many tracks."""
        self.optimizer.zero_grad()
        x, target, keys = (t[:size] if size <= len(t) else repeated(t, size) for t in self.batch)
        kind: Any = TYPES.get(self.precision)
        with torch.autocast(x.device.type, kind, enabled=kind is not None):
            loss, _ = self.module.forward_loss(x, target, keys)
        (loss / size).backward()
        self.optimizer.step()


def repeated(t: torch.Tensor, size: int) -> torch.Tensor:
    """The first `size` entries of a tensor that is repeated as often as that needs."""
    return t[torch.arange(size, device=t.device) % len(t)]


class EmptyCache(Callback):
    """Gives memory that torch keeps back to the system, where the processor could use it.

    Args:
        every: so many batches.
    """

    def __init__(self, every: int) -> None:
        self.every = every

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Give it back."""
        if (batch_idx + 1) % self.every == 0 and torch.cuda.is_available():
            torch.cuda.empty_cache()
