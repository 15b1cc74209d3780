"""Where a sweep's jobs run, and what a job may use of a machine that it shares with others."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from musicreclass.hardware.machine import cores


def take_share(cfg: DictConfig, launcher: DictConfig) -> None:
    """Give a job of a parallel launcher its share of the machine, where the configuration leaves it open.

    Args:
        cfg: the job's configuration; its `hardware` node is filled in.
        launcher: Hydra's node for the launcher.
    """
    threads = share_of_threads(launcher)
    for name, value in (("threads", threads), ("workers", threads), ("gpu_share", share_of_gpu(launcher))):
        if value is not None and OmegaConf.select(cfg, f"hardware.{name}") in (None, "auto"):
            OmegaConf.update(cfg, f"hardware.{name}", value)


def share_of_threads(launcher: Any) -> int | None:
    """The threads of one job; None: as many as its process may use, alone there or put there by a queue."""
    if launcher.get("n_jobs") is not None:
        return max(1, cores()[0] // side_by_side(launcher))
    if "ray" in launcher:
        return max(1, int(launcher.ray.remote.get("num_cpus") or 1))
    return launcher.get("cpus_per_task")


def share_of_gpu(launcher: Any) -> float | None:
    """The part of a GPU's memory that one job may allocate; None: all of it."""
    if launcher.get("n_jobs") is not None:
        return 1 / side_by_side(launcher)
    if "ray" in launcher and 0 < float(launcher.ray.remote.get("num_gpus") or 0) < 1:
        return float(launcher.ray.remote.num_gpus)
    return None


def side_by_side(launcher: Any) -> int:
    """How many jobs joblib runs at once; negative numbers count down from the number of cores."""
    wanted = int(launcher.n_jobs)
    return wanted if wanted > 0 else max(1, cores()[0] + 1 + wanted)
