"""Hydra plugins: which launchers and sweepers need which package."""

from __future__ import annotations

from importlib.util import find_spec

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
