"""What happens when a training step runs out of memory: it is done again, in smaller parts."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

log = logging.getLogger("musicreclass")
T = TypeVar("T")
SAID = (  # by what fails to get memory, other than torch.OutOfMemoryError
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "alloc_failed",  # cuBLAS and cuDNN
    "nvmapmemalloc",  # a Jetson
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in SAID)


def release_memory() -> None:
    """Give back what nothing holds any more."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def has_batch_statistics(network: nn.Module) -> bool:
    """Whether a network normalises by what a forward pass holds, so that the micro-batch is part of what it learns."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


class StepState:
    """What a forward pass changes, as it was: random states, and the network's buffers (running batch statistics).

    Weights change only once all gradients are there, so a step that fails ahead of that needs nothing more.

    Args:
        network: whose buffers to keep; all are kept, since one's own network may change any of them.
    """

    def __init__(self, network: nn.Module) -> None:
        self.buffers = list(network.buffers())
        self.kept = [buffer.clone() for buffer in self.buffers]
        self.devices = {b.device for b in [*self.buffers, *network.parameters()] if b.device.type == "cuda"}
        self.save()

    @torch.no_grad()
    def save(self) -> None:
        """Take the state as it is now; cheap enough for every step."""
        if self.buffers:
            torch._foreach_copy_(self.kept, self.buffers)
        self.random = torch.get_rng_state()
        self.random_on = {device: torch.cuda.get_rng_state(device) for device in self.devices}

    @torch.no_grad()
    def restore(self) -> None:
        """Put everything back."""
        if self.buffers:
            torch._foreach_copy_(self.buffers, self.kept)
        torch.set_rng_state(self.random)
        for device, state in self.random_on.items():
            torch.cuda.set_rng_state(state, device)


class MicroBatches:
    """How many tracks go through a network at once, and what is done when they are too many.

    Args:
        size: tracks per forward pass, or None for a whole batch.
        changed: told of every new size.
    """

    def __init__(self, size: int | None = None, changed: Callable[[int | None], None] = lambda size: None) -> None:
        self.size, self.changed = size, changed

    def set(self, size: int | None) -> None:
        """Take another size from here on."""
        self.size = size
        self.changed(size)

    def attempt(self, whole: int, work: Callable[[int], T], restore: Callable[[], None]) -> T:
        """Do something with a batch in parts, in parts of half the size as often as memory does not suffice.

        Args:
            whole: tracks in the batch.
            work: does it from the beginning, given the size of a part.
            restore: undoes what a failed attempt has done.

        Raises:
            RuntimeError: of torch's, if not even one track fits, and all that have nothing to do with memory.
        """
        while True:
            size = min(self.size or whole, whole)
            try:
                return work(size)
            except (MemoryError, RuntimeError) as error:
                if size == 1 or not is_out_of_memory(error):
                    raise
                told = " ".join(str(error).split())[:160]
            restore()  # not in the handler, where the error's traceback holds on to all that the attempt has made
            release_memory()
            log.warning("out of memory with %d tracks at once, on with %d: %s", size, size // 2, told)
            self.set(size // 2)
