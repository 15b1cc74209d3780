"""Several processes that train one network, from their environment variables, before they are connected.

Lightning launches one process for each device with the same command; Slurm's srun and torchrun launch them themselves. The
process of rank 0 owns the run folder; the others are workers.
"""

from __future__ import annotations

import os

from musicreclass.config.settings.machine import HardwareSettings

LAUNCH_ID = "MUSICRECLASS_LAUNCH"  # set by this package where no launcher sets an id
TORCHRUN = ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_ADDR", "MASTER_PORT")  # identify a launch
SLURM = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT")  # identify a launch
LIGHTNING = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", LAUNCH_ID)  # set by its launch


def launcher() -> tuple[str, ...]:
    """The variables that identify the launch by torchrun or srun, detected as Lightning does; empty without either."""
    if TORCHRUN[0] in os.environ:
        return TORCHRUN
    by_srun = "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")
    return SLURM if by_srun else ()


def launch_rank(hardware: HardwareSettings) -> int:
    """This process's rank in its launch; 0 for a single process."""
    variables = launcher()
    if variables:
        return int(os.environ["RANK" if variables is TORCHRUN else "SLURM_PROCID"])
    node_rank, local_rank = int(os.environ.get("NODE_RANK", 0)), int(os.environ.get("LOCAL_RANK", 0))
    return node_rank * hardware.devices + local_rank


def processes(hardware: HardwareSettings) -> int:
    """How many processes train one network."""
    return hardware.devices * hardware.nodes


def is_worker_rank(hardware: HardwareSettings) -> bool:
    """Whether this process is one of several and not of rank 0: it writes and prints nothing."""
    return processes(hardware) > 1 and launch_rank(hardware) > 0


def launch_id() -> str:
    """An id that all processes of one launch share; a later launch may have the same one."""
    variables = launcher()
    if variables:
        return "-".join(os.environ.get(name, "") for name in variables)
    return os.environ.setdefault(LAUNCH_ID, f"{os.getpid()}-{os.urandom(4).hex()}")  # Lightning's children inherit it
