"""What a run may use of the machine it is on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Profile:
    """A resolved hardware profile; nothing in it changes a result.

    Attributes:
        accelerator: as Lightning names it.
        threads: for computing on the CPU.
        micro_batch: tracks per forward pass, or None for a whole batch.
    """

    accelerator: str
    threads: int
    micro_batch: int | None

    @classmethod
    def of(cls, node: dict[str, Any]) -> Profile:
        """The profile of conf/hardware/ on this machine, applied to torch's threads."""
        threads = node["threads"] or len(os.sched_getaffinity(0))
        torch.set_num_threads(threads)
        return cls(node["accelerator"], threads, node["micro_batch"])
