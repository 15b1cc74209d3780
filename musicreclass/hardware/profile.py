"""What a run may use of the machine it is on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch

from musicreclass.errors import ConfigError


@dataclass(frozen=True)
class Profile:
    """A resolved hardware profile: how a run uses the machine, apart from what it computes.

    Results agree between profiles but for the order of floating-point sums, and for what `micro_batch` divides: batch
    statistics, and dropout masks, which are drawn for each forward pass. identity.json says which micro-batch it was.

    Attributes:
        accelerator: as Lightning names it.
        threads: for computing on the CPU.
        micro_batch: tracks per forward pass, or None for a whole batch.
        compile: whether networks are compiled with torch.compile.
        channels_last: whether convolutions keep their channels innermost in memory.
    """

    accelerator: str
    threads: int
    micro_batch: int | None
    compile: bool
    channels_last: bool

    @classmethod
    def of(cls, node: dict[str, Any]) -> Profile:
        """The profile of conf/hardware/ on this machine, applied to torch's threads."""
        wanted = node["accelerator"]
        there = {"gpu": torch.cuda.is_available() or torch.backends.mps.is_available(), "cuda": torch.cuda.is_available(),
                 "mps": torch.backends.mps.is_available()}  # fmt: skip
        if not there.get(wanted, True):
            raise ConfigError(
                [f"hardware.accelerator={wanted}: torch {torch.__version__} sees none here; choose auto or cpu"]
            )
        threads = node["threads"] or len(os.sched_getaffinity(0))
        torch.set_num_threads(threads)
        if node.get("gpu_share") and wanted not in ("cpu", "mps") and torch.cuda.is_available():
            torch.cuda.set_per_process_memory_fraction(node["gpu_share"])
        return cls(node["accelerator"], threads, node["micro_batch"], node["compile"], node["channels_last"])

    @property
    def device(self) -> torch.device:
        """Where networks work outside of a Trainer."""
        if self.accelerator == "cpu":
            return torch.device("cpu")
        if torch.cuda.is_available() and self.accelerator != "mps":
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
