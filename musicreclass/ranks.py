"""Several processes that train one network, as their environment tells it, before any of them knows the others.

Lightning launches one process for each device, by the same command; Slurm's srun and torchrun launch them themselves. The
first one, of rank 0, has the run folder; the others train along.
"""

from __future__ import annotations

import os
from typing import Any

OURS = "MUSICRECLASS_LAUNCH"
LAUNCHES = (  # variables that tell one launch from another
    ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_ADDR", "MASTER_PORT"),
    ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT"),
)


def rank() -> int:
    """This process's number among those of its launch; 0 for the first, or the only one."""
    return next((int(os.environ[name]) for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID") if name in os.environ), 0)


def processes(config: dict[str, Any]) -> int:
    """How many train one network."""
    return int(config["hardware"]["devices"]) * int(config["hardware"]["nodes"])


def trains_along(config: dict[str, Any]) -> bool:
    """Whether this process is not the first of several: it writes and says nothing."""
    return processes(config) > 1 and rank() > 0


def launch_id() -> str:
    """What all processes of one launch have in common, and no others."""
    for names in LAUNCHES:
        if OURS not in os.environ and names[0] in os.environ:
            return "-".join(os.environ.get(name, "") for name in names)
    return os.environ.setdefault(OURS, f"{os.getpid()}-{os.urandom(4).hex()}")  # Lightning's children inherit it
