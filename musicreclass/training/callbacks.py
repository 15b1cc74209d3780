"""Lightning callbacks that adapt a fit to the machine, and the measurement of the micro-batch."""

from __future__ import annotations

import logging
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback

from musicreclass.data.sampling import Batch
from musicreclass.errors import ConfigError, Problem
from musicreclass.hardware.profile import AUTOCAST, Profile
from musicreclass.storage.damage import is_out_of_memory
from musicreclass.training.distributed import world_size
from musicreclass.training.memory import has_batch_statistics, out_of_memory_line, release_memory
from musicreclass.training.memory_probe import MeasuredSize, SizeSearch, make_meter
from musicreclass.training.module import GenreModule
from musicreclass.training.optimizers import make_optimizer

log = logging.getLogger("musicreclass")


class MeasureMicroBatch(Callback):
    """Sets the micro-batch to what fits, before the first step and whenever an epoch unfreezes more weights.

    Weights, buffers and random states are restored after the measurement.

    Args:
        profile: precision, and how much memory to leave unused.

    Attributes:
        results: one per measurement.
    """

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.results: list[MeasuredSize] = []
        self.trainable = 0

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: list[Batch], batch_idx: int
    ) -> None:
        """Measure with the first effective batch of an epoch, which is already on the device."""
        if batch_idx:
            return
        assert isinstance(pl_module, GenreModule)
        trainable = sum(p.numel() for p in pl_module.network.parameters() if p.requires_grad)
        if trainable <= self.trainable:
            return
        self.trainable = trainable
        shard_size = -(-pl_module.plan.batch_size // world_size())
        x, y, draw = (t[:shard_size] for t in batch[0])
        result = measure_micro_batch(pl_module, (x, y, draw), self.profile)
        self.results.append(result)
        size = shard_size if len(y) < shard_size and result.size == len(y) else result.size
        log.info("micro-batch: %d of %d tracks at once; %s", min(size, shard_size), shard_size, result)
        current = pl_module.micro_batches.size
        micro_batch = even_micro_batch(shard_size, size if current is None else min(size, current))
        if micro_batch is not None and has_batch_statistics(pl_module.network):
            log.warning("batch statistics use %d tracks, not the whole batch of %d", micro_batch, shard_size)
        pl_module.micro_batches.set(micro_batch)


def even_micro_batch(batch_size: int, limit: int) -> int | None:
    """The micro-batch that splits a batch into the fewest parts of nearly equal size up to a limit; None for one part."""
    return None if limit >= batch_size else -(-batch_size // -(-batch_size // limit))


def measure_micro_batch(module: GenreModule, batch: Batch, profile: Profile, limit: int | None = None) -> MeasuredSize:
    """Measure how many tracks fit through a training step of a network at once.

    Args:
        module: on its device.
        batch: an effective batch on the device.
        profile: precision, and how much memory to leave unused.
        limit: largest number of tracks to try, for which those of the batch are repeated; None for the size of the batch.

    Raises:
        ConfigError: if a single track does not fit.
    """
    device = next(module.network.parameters()).device
    meter = make_meter(device, profile.unified)
    saved = {name: value.cpu().clone() for name, value in module.network.state_dict().items()}
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            step = TrialStep(module, batch, profile.precision)
            return SizeSearch(step, meter, limit or len(batch[1]), profile.memory_margin).largest()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        batch_size = module.plan.batch_size
        message = out_of_memory_line(batch_size, error)
        raise ConfigError([Problem(message, "out_of_memory", "trainer.batch_size", batch_size)]) from error
    finally:
        module.network.zero_grad()
        with torch.no_grad():
            state = module.network.state_dict()
            for name, value in saved.items():
                state[name].copy_(value)
        if device.type == "cuda":
            release_memory()


class TrialStep:
    """Training steps of any size, with an optimizer that is used for nothing else.

    Args:
        module: the network to train.
        batch: an effective batch to take tracks from.
        precision: in Lightning's notation.
    """

    def __init__(self, module: GenreModule, batch: Batch, precision: str) -> None:
        self.module, self.precision = module, precision
        # As in training, the batch is augmented as a whole, and stays in memory while its micro-batches are computed.
        self.batch = batch if module.augment is None else module.augment_batch(*batch)
        self.optimizer = make_optimizer(module.plan.optimizer, module.parameter_groups())

    def __call__(self, size: int) -> None:
        """Run forward and backward pass and the optimizer with this many tracks."""
        self.optimizer.zero_grad()
        x, target, keys = (t[:size] if size <= len(t) else repeat_to(t, size) for t in self.batch)
        dtype: Any = AUTOCAST.get(self.precision)
        with torch.autocast(x.device.type, dtype, enabled=dtype is not None):
            loss, _ = self.module.forward_loss(x, target, keys)
        (loss / size).backward()
        self.optimizer.step()


def repeat_to(t: torch.Tensor, size: int) -> torch.Tensor:
    """A tensor with its entries repeated up to a length."""
    return t[torch.arange(size, device=t.device) % len(t)]


class EmptyCache(Callback):
    """Returns memory that torch has cached to the system, on machines where the processor could use it.

    Args:
        every: loader items between two calls.
    """

    def __init__(self, every: int) -> None:
        self.every = every

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """See `EmptyCache`."""
        if (batch_idx + 1) % self.every == 0 and torch.cuda.is_available():
            torch.cuda.empty_cache()
