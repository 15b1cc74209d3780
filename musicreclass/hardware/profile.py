"""The hardware profile: what a run may use of the machine it is on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch

PREFETCH = 3  # batches that are prepared while the network computes
AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}  # by precision


@dataclass(frozen=True)
class Profile:
    """A resolved hardware profile: how a run uses the machine. It never changes what the run computes.

    Results of two profiles differ only in the order of floating-point sums, and in what depends on the micro-batch: batch
    statistics, and dropout masks, which are drawn for each forward pass (compiled networks draw others). identity.json has the
    micro-batch.

    Attributes:
        accelerator: `cpu`, `cuda` or `mps`, as in Lightning.
        devices: GPUs, or processes on a CPU, that train one network on each machine.
        nodes: machines.
        strategy: `single` for one process, or `ddp`.
        precision: as in Lightning; 32-true if a profile, rather than the user, chose one that the machine lacks.
        threads: CPU threads.
        workers: threads that decode audio.
        prefetch: batches of audio that are prepared ahead.
        pin_memory: whether these batches are in page-locked memory, which a GPU reads by itself.
        channels_last: whether convolutions keep their channels innermost in memory.
        tf32: whether a CUDA GPU may round float32 to TF32 in multiplications.
        compile: whether networks are compiled with torch.compile.
        micro_batch: tracks per forward pass; None for a whole batch; `auto` to measure it.
        memory_margin: share of the free memory that a measured micro-batch leaves unused.
        gpu_share: share of a CUDA GPU's memory that this process may allocate, or None for all of it.
        empty_cache_every: batches after which unused GPU memory is released, or None.
        monitor_interval: seconds between two readings of the sensors, or None.
        unified: whether GPU and CPU share one memory.
        kind: of machine, as in `Machine`.
        why: a line for each setting with the reason for its value.
        warnings: what was requested and is not available.
    """

    accelerator: str
    devices: int
    nodes: int
    strategy: str
    precision: str
    threads: int
    workers: int
    prefetch: int
    pin_memory: bool
    channels_last: bool
    tf32: bool
    compile: bool
    micro_batch: int | str | None
    memory_margin: float
    gpu_share: float | None
    empty_cache_every: int | None
    monitor_interval: float | None
    unified: bool
    kind: str
    why: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def apply(self) -> None:
        """Set torch's threads, TF32 and memory limit for this process. A task calls this once."""
        torch.set_num_threads(self.threads)
        if self.accelerator == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.tf32
            if self.gpu_share:
                torch.cuda.set_per_process_memory_fraction(self.gpu_share)

    @property
    def device(self) -> torch.device:
        """Where networks compute."""
        return torch.device(self.accelerator)

    @property
    def processes(self) -> int:
        """How many processes train one network."""
        return self.devices * self.nodes

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for provenance.json."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def gib(size: int) -> str:
    """Bytes as text."""
    return f"{size / 2**30:.1f} GiB"


@contextmanager
def without_tf32() -> Iterator[None]:
    """Multiply float32 exactly on CUDA GPUs, whatever the hardware profile has set."""
    backends: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    try:
        for backend in backends:
            backend.allow_tf32 = False
        yield
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed
