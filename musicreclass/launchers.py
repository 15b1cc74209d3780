"""Where a sweep's jobs run, and what a job may use of a machine that it shares with others."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from omegaconf import DictConfig, OmegaConf

from musicreclass.hardware.machine import cores

PLUGINS = {  # by the beginning of an option's name: the module, and how it is installed
    "joblib": ("hydra_joblib_launcher", "pip install hydra-joblib-launcher"),
    "submitit": ("hydra_submitit_launcher", "pip install hydra-submitit-launcher"),
    "ray": ("hydra_ray_launcher", "pip install ray && pip install --no-deps hydra-ray-launcher"),
    "tpe": ("hydra_optuna_sweeper", "pip install hydra-optuna-sweeper 'sqlalchemy<2'"),
    "optuna": ("hydra_optuna_sweeper", "pip install hydra-optuna-sweeper 'sqlalchemy<2'"),
}
EXTRAS = {"hydra_joblib_launcher": "sweep", "hydra_submitit_launcher": "slurm", "hydra_optuna_sweeper": "sweep"}


def missing_plugin(part: str, option: str) -> str | None:
    """What to install for one of Hydra's launchers or sweepers, in a line; None if it is there, or unknown.

    Args:
        part: `hydra/launcher` or `hydra/sweeper`.
        option: which one.
    """
    module, remedy = next((found for name, found in PLUGINS.items() if option.startswith(name)), ("", ""))
    if not module or is_installed(module):
        return None
    extra = (
        f"pip install -c constraints.txt -e '.[{EXTRAS[module]}]' in the project's folder" if module in EXTRAS else ""
    )
    return f"{part}={option}: its plugin is not installed: {' or '.join(filter(None, (extra, remedy)))}"


def is_installed(module: str) -> bool:
    """Whether one of Hydra's plugins is there."""
    try:
        return find_spec(f"hydra_plugins.{module}") is not None
    except ModuleNotFoundError:  # not a single plugin is
        return False


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
