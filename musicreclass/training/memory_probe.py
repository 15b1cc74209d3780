"""Finds how many tracks a network trains at once in the memory of a device.

A step's memory grows linearly with its tracks: a fixed part for weights, gradients and optimizer states, and a part per track.
Training steps of a few tracks give a fitted line; larger steps then verify what it predicts.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import sleep

import numpy as np
import torch

from musicreclass.hardware.machine import ROOT, available_memory, read_text
from musicreclass.storage.damage import is_out_of_memory
from musicreclass.training.memory import release_memory

SIZES = (2, 4, 8)  # tracks; batch statistics need more than one
MAX_VERIFICATIONS = 6
CLOSE_ENOUGH = 0.95  # of the largest size that is still possible: not worth another step
SAMPLING_SECONDS = 0.001


class Meter(ABC):
    """Measures memory.

    Attributes:
        unverified_share: the fitted line is trusted without verification up to this share of the free memory.
    """

    unverified_share = 0.0

    @abstractmethod
    def free(self) -> int:
        """Bytes available to steps, including those that steps have allocated since this meter was made."""

    @abstractmethod
    def peak(self, step: Callable[[], None]) -> int:
        """Peak memory of a step in bytes, above the memory in use when this meter was made."""


class CudaMeter(Meter):
    """Memory that torch's allocator reserves on a CUDA GPU; unused gaps in it count, since nothing else can use them.

    Args:
        device: the GPU.
        unified: whether it shares the processor's memory. The system's available memory counts then, since the driver
            does not count memory that the system could reclaim.
        root: folder that contains proc/.
    """

    def __init__(self, device: torch.device, unified: bool = False, root: Path = ROOT) -> None:
        release_memory()
        self.device, self.unified, self.root = device, unified, root
        self.baseline = torch.cuda.memory_reserved(device)

    def free(self) -> int:
        """See `Meter`."""
        release_memory()
        available, total = torch.cuda.mem_get_info(self.device)
        if self.unified:
            available = available_memory(self.root)
        reserved = torch.cuda.memory_reserved(self.device)
        limit = int(torch.cuda.get_per_process_memory_fraction(self.device) * total)  # hardware.gpu_share
        return min(available + reserved, limit) - self.baseline

    def peak(self, step: Callable[[], None]) -> int:
        """See `Meter`."""
        release_memory()
        torch.cuda.reset_peak_memory_stats(self.device)
        step()
        torch.cuda.synchronize(self.device)
        return torch.cuda.max_memory_reserved(self.device) - self.baseline


class RamMeter(Meter):
    """Resident memory of the process, sampled every millisecond while a step runs; includes memory outside of tensors.

    Memory that a smaller step has left in the process is used again by the next one, so the peak above the baseline is the
    need of that step.
    """

    unverified_share = 0.5  # a large step is slow on a CPU, and exceeding memory slows the machine before it fails

    def __init__(self, root: Path = ROOT) -> None:
        self.root = root
        self.baseline = self.resident()

    def resident(self) -> int:
        """Resident memory of the process in bytes."""
        fields = read_text(self.root / "proc" / "self" / "statm").split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if len(fields) > 1 else 0

    def free(self) -> int:
        """See `Meter`."""
        return available_memory(self.root) + self.resident() - self.baseline

    def peak(self, step: Callable[[], None]) -> int:
        """See `Meter`."""
        samples = [self.resident()]
        done = threading.Event()

        def sample() -> None:
            while not done.is_set():
                samples.append(self.resident())
                sleep(SAMPLING_SECONDS)

        thread = threading.Thread(target=sample, daemon=True)
        thread.start()
        try:
            step()
        finally:
            done.set()
            thread.join()
        return max(*samples, self.resident()) - self.baseline


def make_meter(device: torch.device, unified: bool = False) -> Meter:
    """A meter for the memory of a device."""
    return CudaMeter(device, unified) if device.type == "cuda" else RamMeter()


@dataclass(frozen=True)
class MeasuredSize:
    """How many tracks fit at once.

    Attributes:
        size: tracks.
        verified: whether a step of that size was run, rather than estimated from smaller ones.
        per_track: bytes per track.
        fixed: bytes that do not depend on the number of tracks.
        budget: bytes that a step may use: the free memory without the margin.
    """

    size: int
    verified: bool
    per_track: int
    fixed: int
    budget: int

    def as_dict(self) -> dict[str, int | bool]:
        """For provenance.json."""
        mib = {f"{name}_mib": getattr(self, name) // 2**20 for name in ("fixed", "budget")}
        return {"size": self.size, "verified": self.verified, "per_track_kib": self.per_track // 1024, **mib}

    def __str__(self) -> str:
        need = f"{self.fixed / 2**20:.0f} MiB and {self.per_track / 2**20:.2f} MiB per track"
        return f"a step needs {need} of {self.budget / 2**20:.0f} MiB"


class SizeSearch:
    """Searches for the largest number of tracks whose training step fits in a budget.

    Args:
        step: runs a training step of a number of tracks.
        meter: made before the first step.
        limit: largest number of tracks to try.
        margin: share of the free memory to leave unused.

    Attributes:
        needs: measured bytes by number of tracks.
        too_many: smallest number of tracks that is known not to fit.
    """

    def __init__(self, step: Callable[[int], None], meter: Meter, limit: int, margin: float) -> None:
        self.step, self.meter, self.limit = step, meter, limit
        self.budget = int(meter.free() * (1 - margin))
        self.needs: dict[int, int] = {}
        self.too_many = limit + 1

    def largest(self) -> MeasuredSize:
        """The largest size that fits.

        Raises:
            MemoryError: if a single track does not fit.
        """
        best = self._largest_small()
        for _ in range(MAX_VERIFICATIONS):
            upper = self.too_many - 1
            size = min(self._predicted(), upper)
            if (
                size == upper < self.limit and upper + 1 not in self.needs
            ):  # a failed step gave no figure to fit a line to
                size = (best + upper + 1) // 2
            if size <= best or best >= CLOSE_ENOUGH * upper:
                break
            fixed, per_track = fit_line(self.needs)
            if fixed + size * per_track <= self.meter.unverified_share * self.budget:
                return self._result(size, verified=False)
            if self._fits(size):
                best = size
        return self._result(best, verified=True)

    def _largest_small(self) -> int:
        """The largest of a few small sizes that fits."""
        best = 0
        for size in [n for n in SIZES if n < self.limit] or [self.limit]:
            if not self._fits(size):
                break
            best = size
        if best == 0:
            if self.too_many <= 1 or not self._fits(1):
                raise MemoryError(f"a single track does not fit in {self.budget // 2**20} MiB")
            best = 1
        return best

    def _fits(self, size: int) -> bool:
        """Measure a step."""
        try:
            self.needs[size] = self.meter.peak(lambda: self.step(size))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        if size not in self.needs:  # outside the handler: the traceback of the error holds the tensors of the step
            release_memory()
        if self.needs.get(size, self.budget + 1) > self.budget:
            self.too_many = size
            return False
        return True

    def _predicted(self) -> int:
        """The size that would use the budget: by a line through all small sizes, then through the two nearest sizes."""
        within, over = (
            [n for n in sorted(self.needs) if (self.needs[n] > self.budget) is is_over] for is_over in (False, True)
        )
        nearest = [*within[-1:], *over[:1]] if over else within[-2:]
        use_nearest = within[-1] > SIZES[-1] or over
        fixed, per_track = fit_line({n: self.needs[n] for n in nearest} if use_nearest else self.needs)
        return self.limit if per_track <= 0 else min(self.limit, int((self.budget - fixed) / per_track))

    def _result(self, size: int, verified: bool) -> MeasuredSize:
        fixed, per_track = fit_line(self.needs)
        return MeasuredSize(size, verified, max(0, int(per_track)), max(0, int(fixed)), self.budget)


def fit_line(needs: dict[int, int]) -> tuple[float, float]:
    """Fixed bytes and bytes per track, fitted to measured bytes by number of tracks."""
    sizes = sorted(needs)
    if len(sizes) < 2:
        return 0.0, needs[sizes[0]] / sizes[0] if sizes else 0.0
    slope, intercept = np.polyfit(sizes, [needs[n] for n in sizes], 1)
    return float(intercept), float(slope)
