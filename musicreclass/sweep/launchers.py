"""What a job may use of a machine that it shares with other jobs, by launcher."""

from __future__ import annotations

from typing import Any

from musicreclass.config.settings.machine import HardwareSettings
from musicreclass.hardware.machine import cores


def with_share(hardware: HardwareSettings, launcher: Any) -> HardwareSettings:
    """Settings that limit a job to its share of the machine, where they do not set a limit.

    Args:
        hardware: of the job.
        launcher: Hydra's node of the launcher.
    """
    threads = threads_per_job(launcher)
    limits = {"threads": threads, "workers": threads, "gpu_share": gpu_memory_per_job(launcher)}
    changes = {
        name: limit for name, limit in limits.items() if limit is not None and getattr(hardware, name) in (None, "auto")
    }
    return hardware.model_copy(update=changes)


def threads_per_job(launcher: Any) -> int | None:
    """The threads of one job; None for all that its process may use, as when it runs alone or a queue limits it."""
    if launcher.get("n_jobs") is not None:
        return max(1, cores()[0] // parallel_jobs(launcher))
    if "ray" in launcher:
        return max(1, int(launcher.ray.remote.get("num_cpus") or 1))
    return launcher.get("cpus_per_task")


def gpu_memory_per_job(launcher: Any) -> float | None:
    """The fraction of a GPU's memory that one job may allocate; None for all of it."""
    if launcher.get("n_jobs") is not None:
        return 1 / parallel_jobs(launcher)
    if "ray" in launcher and 0 < float(launcher.ray.remote.get("num_gpus") or 0) < 1:
        return float(launcher.ray.remote.num_gpus)
    return None


def parallel_jobs(launcher: Any) -> int:
    """How many jobs joblib runs at once; a negative number counts down from the number of cores."""
    n_jobs = int(launcher.n_jobs)
    return n_jobs if n_jobs > 0 else max(1, cores()[0] + 1 + n_jobs)
