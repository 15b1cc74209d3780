"""Provenance: versions, hardware, command and timing of a run."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from musicreclass.config.locations import PACKAGE
from musicreclass.version import __version__

LIBRARIES = (  # whose versions a result may depend on
    "torch",
    "pytorch-lightning",
    "hydra-core",
    "scikit-learn",
    "xgboost",
    "xgboost-cpu",
    "numpy",
    "pandas",
    "librosa",
)


def provenance(stopwatch: Stopwatch, notes: dict[str, Any]) -> dict[str, Any]:
    """The content of provenance.json.

    Args:
        stopwatch: the cost of all sessions of the run.
        notes: from the run, such as counts of dropped tracks.

    Returns:
        Package and library versions, git commit, hardware, command line, seconds, peak memory in MiB, and the notes.
    """
    return {
        "versions": {"musicreclass": __version__, "python": platform.python_version(), **versions()},
        "git": git_commit(),
        "hardware": hardware(),
        "command": sys.argv,
        **stopwatch.cost(),
        **notes,
    }


def versions() -> dict[str, str]:
    """The installed versions of the libraries that a result may depend on."""
    installed = {}
    for name in LIBRARIES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def git_commit() -> dict[str, Any] | None:
    """The commit that this package runs from, and whether its files have changed since; None outside a checkout."""
    if not (PACKAGE.parent / ".git").exists():
        return None
    try:
        outputs = [
            subprocess.run(
                ["git", "-C", str(PACKAGE.parent), *arguments], capture_output=True, text=True, timeout=10, check=True
            ).stdout.strip()
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": outputs[0], "changed": bool(outputs[1])}


def hardware() -> dict[str, Any]:
    """The machine: platform, processor, cores, memory, and the GPU if torch can use one."""
    import torch

    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "memory_mib": pages * size // 2**20,
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
    }


class Stopwatch:
    """Seconds by phase and peak memory of a run, over all of its sessions.

    Attributes:
        seconds: by phase, without the time since the last `cost` of one that is not over.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since: dict[str, float] = {}  # when the time of the phases that are not over was last added
        self._earlier_peak = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the block's time to a phase."""
        self._since[name] = time.perf_counter()
        try:
            yield
        finally:
            self._update(name)
            del self._since[name]

    def _update(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since[name]
        self._since[name] = now

    def cost(self) -> dict[str, Any]:
        """`seconds` by phase, up to now, and `peak_memory_mib`."""
        for name in self._since:
            self._update(name)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            "peak_memory_mib": round(max(peak, self._earlier_peak)),
        }

    def add(self, cost: dict[str, Any]) -> None:
        """Add what `cost` returned in earlier sessions."""
        for name, value in cost.get("seconds", {}).items():
            self.seconds[name] = self.seconds.get(name, 0.0) + value
        self._earlier_peak = max(self._earlier_peak, cost.get("peak_memory_mib", 0.0))
