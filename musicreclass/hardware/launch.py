"""Several processes that train one network, as their environment tells it, before any of them knows the others.

Lightning launches one process for each device, by the same command; Slurm's srun and torchrun launch them themselves. The
first one, of rank 0, has the run folder; the others train along.
"""

from __future__ import annotations

import os
from typing import Any

OURS = "MUSICRECLASS_LAUNCH"
TORCHRUN = ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_ADDR", "MASTER_PORT")  # tell launches apart
SLURM = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT")
LIGHTNING = (
    "LOCAL_RANK",
    "NODE_RANK",
    "WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    OURS,
)  # what its launch leaves behind


def launcher() -> tuple[str, ...]:
    """The variables of what has launched this process from outside, found as Lightning finds it; none if nothing has."""
    if TORCHRUN[0] in os.environ:
        return TORCHRUN
    by_srun = "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")
    return SLURM if by_srun else ()


def rank(config: dict[str, Any]) -> int:
    """This process's number among those of its launch; 0 for the first, or the only one."""
    here = os.environ
    by = launcher()
    if by:
        return int(here["RANK" if by is TORCHRUN else "SLURM_PROCID"])
    return int(here.get("NODE_RANK", 0)) * int(config["hardware"]["devices"]) + int(here.get("LOCAL_RANK", 0))


def processes(config: dict[str, Any]) -> int:
    """How many train one network."""
    return int(config["hardware"]["devices"]) * int(config["hardware"]["nodes"])


def is_worker_rank(config: dict[str, Any]) -> bool:
    """Whether this process is not the first of several: it writes and says nothing."""
    return processes(config) > 1 and rank(config) > 0


def launch_id() -> str:
    """What all processes of one launch have in common; another launch may have the same, if it is over."""
    by = launcher()
    if by:
        return "-".join(os.environ.get(name, "") for name in by)
    return os.environ.setdefault(OURS, f"{os.getpid()}-{os.urandom(4).hex()}")  # Lightning's children inherit it
