"""Under what circumstances a result came about."""

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

WATCHED = (
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


def provenance(seconds: dict[str, float], notes: dict[str, Any]) -> dict[str, Any]:
    """What provenance.json holds.

    Args:
        seconds: time by phase.
        notes: what the run itself has to say, such as counts of dropped tracks.

    Returns:
        package and library versions, git commit, hardware, command line, seconds, peak memory in MiB, and the notes.
    """
    return {
        "versions": {"musicreclass": __version__, "python": platform.python_version(), **versions()},
        "git": git_commit(),
        "hardware": hardware(),
        "command": sys.argv,
        "seconds": seconds,
        "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        **notes,
    }


def versions() -> dict[str, str]:
    """The installed versions of the libraries that a result may depend on."""
    found = {}
    for name in WATCHED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> dict[str, Any] | None:
    """The commit this package was run from, and whether it was changed since; None outside a checkout."""
    if not (PACKAGE.parent / ".git").exists():
        return None
    try:
        told = [
            subprocess.run(
                ["git", "-C", str(PACKAGE.parent), *words], capture_output=True, text=True, timeout=10, check=True
            )
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": told[0].stdout.strip(), "changed": bool(told[1].stdout.strip())}


def hardware() -> dict[str, Any]:
    """The machine: platform, processor, cores, memory, and the GPU where torch sees one."""
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
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the block's time to a phase."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 3)
