"""How many tracks fit through a network at once: measured with real training steps at small sizes, fitted, verified.

A step's memory grows linearly with its tracks: weights, gradients and the optimizer's states, then so much for each. What
is measured is what a step takes at its worst over what was in use before the first one.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import sleep

import numpy as np
import torch

from musicreclass.hardware.machine import ROOT, available_memory, text
from musicreclass.training.memory import is_out_of_memory, release_memory

SIZES = (2, 4, 8)  # tracks; not 1, of which batch statistics cannot be had
TRIES = 6  # at verifying
CLOSE = 0.95  # of what cannot be exceeded: not worth another try
PAGE = 4096


class Meter(ABC):
    """Measures memory.

    Attributes:
        sure: the share of the free memory up to which the fitted line is believed without a step to verify it.
    """

    sure = 0.0

    @abstractmethod
    def free(self) -> int:
        """Bytes that steps may take, all that the first of them took included."""

    @abstractmethod
    def peak(self, step: Callable[[], None]) -> int:
        """Bytes that a step took at its worst, over what was in use when this meter was made."""


class CudaMeter(Meter):
    """Of a CUDA GPU: what torch's allocator holds at its worst, its gaps included, for these cannot be used either.

    Args:
        device: which.
        unified: whether it shares the processor's memory; then what that can still give counts, since the driver does
            not know of memory that the system would free.
    """

    def __init__(self, device: torch.device, unified: bool = False, root: Path = ROOT) -> None:
        release_memory()
        self.device, self.unified, self.root = device, unified, root
        self.base = torch.cuda.memory_reserved(device)

    def free(self) -> int:
        """See `Meter`."""
        release_memory()
        room = available_memory(self.root) if self.unified else torch.cuda.mem_get_info(self.device)[0]
        return room + torch.cuda.memory_reserved(self.device) - self.base

    def peak(self, step: Callable[[], None]) -> int:
        """See `Meter`."""
        release_memory()
        torch.cuda.reset_peak_memory_stats(self.device)
        step()
        torch.cuda.synchronize(self.device)
        return torch.cuda.max_memory_reserved(self.device) - self.base


class RamMeter(Meter):
    """Of a CPU: the process's resident memory, looked at every millisecond while a step runs.

    That counts what libraries take beside tensors. What an earlier, smaller step has left in the process is used again by
    the next, so the peak over the beginning is that step's own need.
    """

    sure = 0.5  # a step on a CPU takes its time, and memory that is overrun here costs speed before it costs the run

    def __init__(self, root: Path = ROOT) -> None:
        self.root = root
        self.base = self.resident()

    def resident(self) -> int:
        """Bytes of RAM that the process holds."""
        words = text(self.root / "proc" / "self" / "statm").split()
        return int(words[1]) * PAGE if len(words) > 1 else 0

    def free(self) -> int:
        """See `Meter`."""
        return available_memory(self.root) + self.resident() - self.base

    def peak(self, step: Callable[[], None]) -> int:
        """See `Meter`."""
        seen = [self.resident()]
        done = threading.Event()

        def look() -> None:
            while not done.is_set():
                seen.append(self.resident())
                sleep(0.001)

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            step()
        finally:
            done.set()
            thread.join()
        return max(*seen, self.resident()) - self.base


def meter(device: torch.device, unified: bool = False) -> Meter:
    """What measures the memory that a device computes in."""
    return CudaMeter(device, unified) if device.type == "cuda" else RamMeter()


@dataclass(frozen=True)
class Measured:
    """What came of measuring.

    Attributes:
        size: tracks that fit at once.
        verified: whether a step of that size was run.
        per_track: bytes.
        fixed: bytes of weights, gradients and the like.
        budget: bytes that were to be had, the margin left out.
    """

    size: int
    verified: bool
    per_track: int
    fixed: int
    budget: int

    def told(self) -> dict[str, int | bool]:
        """As provenance.json has it."""
        mib = {f"{name}_mib": getattr(self, name) // 2**20 for name in ("fixed", "budget")}
        return {"size": self.size, "verified": self.verified, "per_track_kib": self.per_track // 1024, **mib}

    def __str__(self) -> str:
        parts = f"{self.fixed / 2**20:.0f} MiB and {self.per_track / 2**20:.2f} MiB for each track"
        return f"a step takes {parts} of {self.budget / 2**20:.0f} MiB that may be used"


def largest(step: Callable[[int], None], gauge: Meter, most: int, margin: float) -> Measured:
    """The largest number of tracks whose training step leaves a margin of the memory that is free now.

    Args:
        step: runs one of a size.
        gauge: made ahead of the first step.
        most: tracks there can be at once.
        margin: the share of the free memory to leave.

    Raises:
        MemoryError: if not even one track fits.
    """
    budget = int(gauge.free() * (1 - margin))
    needs: dict[int, int] = {}  # bytes by tracks
    too_many = most + 1

    def fits(size: int) -> bool:
        """Try a size; what is known of sizes is noted."""
        nonlocal too_many
        try:
            needs[size] = gauge.peak(lambda: step(size))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        if size not in needs:  # not in the handler, whose traceback holds on to memory
            release_memory()
        if needs.get(size, budget + 1) > budget:
            too_many = size
            return False
        return True

    best = 0
    for size in [n for n in SIZES if n < most] or [most]:
        if not fits(size):
            break
        best = size
    if best == 0:
        if too_many <= 1 or not fits(1):
            raise MemoryError(f"not even one track fits in {budget // 2**20} MiB")
        best = 1
    for _ in range(TRIES):
        most_left = too_many - 1
        size = min(reach(needs, budget, most), most_left)
        if size == most_left < most and most_left + 1 not in needs:  # too much, without a figure to draw a line by
            size = (best + most_left + 1) // 2
        if size <= best or best >= CLOSE * most_left:
            break
        fixed, per_track = line(needs)
        if fixed + size * per_track <= gauge.sure * budget:
            return Measured(size, False, max(0, int(per_track)), max(0, int(fixed)), budget)
        if fits(size):
            best = size
    fixed, per_track = line(needs)
    return Measured(best, True, max(0, int(per_track)), max(0, int(fixed)), budget)


def reach(needs: dict[int, int], budget: int, most: int) -> int:
    """The size at which memory comes up to the budget: by the line through all small sizes, then by the two sizes next to it."""
    within, over = ([n for n in sorted(needs) if (needs[n] > budget) is beyond] for beyond in (False, True))
    near = [*within[-1:], *over[:1]] if over else within[-2:]
    fixed, per_track = line({n: needs[n] for n in near} if within[-1] > SIZES[-1] or over else needs)
    return most if per_track <= 0 else min(most, int((budget - fixed) / per_track))


def line(needs: dict[int, int]) -> tuple[float, float]:
    """Bytes that do not depend on tracks, and bytes for each of them."""
    sizes = sorted(needs)
    if len(sizes) < 2:
        return 0.0, needs[sizes[0]] / sizes[0] if sizes else 0.0
    slope, fixed = np.polyfit(sizes, [needs[n] for n in sizes], 1)
    return float(fixed), float(slope)
