"""Micro-batches, and recovery from an out-of-memory error in the middle of a training step."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from musicreclass.storage.damage import is_out_of_memory

log = logging.getLogger("musicreclass")
T = TypeVar("T")


def release_memory() -> None:
    """Return unused memory to the device."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def out_of_memory_line(batch_size: int, error: BaseException) -> str:
    """The line for the user about a training step that does not fit in memory, however small its parts are."""
    reason = " ".join(str(error).split())[:80]
    remedy = "choose a smaller trainer.batch_size, shorter clips or a smaller network"
    return f"trainer.batch_size={batch_size}: a training step does not fit in memory ({reason}); {remedy}"


def has_batch_statistics(network: nn.Module) -> bool:
    """Whether a network contains batch normalisation, so that the size of the micro-batch changes what it learns."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


class StepState:
    """A snapshot of what a forward pass changes: random states, and buffers such as running batch statistics.

    Weights change only after all gradients of a step are complete, so a step that fails earlier needs no more to be repeated.
    Saving it costs less than timings of a step vary: 1 % of the step of an MLP, nothing measurable for a CNN
    (benchmarks/monitor_cost.py).

    Args:
        network: all of its buffers are saved, since a user's network may change any of them.
    """

    def __init__(self, network: nn.Module) -> None:
        self.buffers = list(network.buffers())
        self.saved = [buffer.clone() for buffer in self.buffers]
        self.devices = {b.device for b in [*self.buffers, *network.parameters()] if b.device.type == "cuda"}
        self.save()

    @torch.no_grad()
    def save(self) -> None:
        """Overwrite the snapshot by the current state."""
        if self.buffers:
            torch._foreach_copy_(self.saved, self.buffers)
        self.random = torch.get_rng_state()
        self.random_on = {device: torch.cuda.get_rng_state(device) for device in self.devices}

    @torch.no_grad()
    def restore(self) -> None:
        """Restore the snapshot."""
        if self.buffers:
            torch._foreach_copy_(self.buffers, self.saved)
        torch.set_rng_state(self.random)
        for device, state in self.random_on.items():
            torch.cuda.set_rng_state(state, device)


class MicroBatches:
    """Splits a batch into micro-batches that fit in memory, and halves them after an out-of-memory error.

    Lightning's accumulate_grad_batches is fixed before a fit starts, and counts what a loader yields: an out-of-memory error
    would end the run. Here only the failed step is repeated.

    Args:
        size: tracks per forward pass, or None for the whole batch.
        on_change: called with each new size.
    """

    def __init__(self, size: int | None = None, on_change: Callable[[int | None], None] = lambda size: None) -> None:
        self.size, self.on_change = size, on_change

    def set(self, size: int | None) -> None:
        """Use another size from now on."""
        self.size = size
        self.on_change(size)

    def run(self, total: int, step: Callable[[int], T], restore: Callable[[], None]) -> T:
        """Run a step, and repeat it with micro-batches of half the size as long as memory does not suffice.

        Args:
            total: tracks in the batch; or clips, windows.
            step: runs from the start, given the size of a micro-batch.
            restore: undoes a failed step.

        Raises:
            RuntimeError: of torch, if a single track does not fit, or for another reason than memory.
        """
        while True:
            size = min(self.size or total, total)
            try:
                return step(size)
            except (MemoryError, RuntimeError) as error:
                if size == 1 or not is_out_of_memory(error):
                    raise
                message = " ".join(str(error).split())[:160]
            # Outside the handler: the traceback of the error holds the tensors of the failed step.
            restore()
            release_memory()
            log.warning("out of memory with %d at once, continuing with %d: %s", size, size // 2, message)
            self.set(size // 2)
