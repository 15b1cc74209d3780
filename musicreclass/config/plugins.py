"""The optional packages that launchers and sweepers of Hydra, loggers and encoders need."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from musicreclass.errors import Problem


@dataclass(frozen=True)
class Plugin:
    """An optional package.

    Attributes:
        module: the module that must be installed.
        extra: the extra of this project that installs it, or empty.
        install: the command that installs it alone.
    """

    module: str
    extra: str
    install: str

    def remedy(self) -> str:
        """How to install it."""
        from_checkout = f"pip install -c constraints.txt -e '.[{self.extra}]' in the project's folder"
        return f"{from_checkout} or {self.install}" if self.extra else self.install


PLUGINS = {  # by the start of the option's name
    "joblib": Plugin("hydra_plugins.hydra_joblib_launcher", "sweep", "pip install hydra-joblib-launcher"),
    "submitit": Plugin("hydra_plugins.hydra_submitit_launcher", "slurm", "pip install hydra-submitit-launcher"),
    "ray": Plugin(
        "hydra_plugins.hydra_ray_launcher", "", "pip install ray && pip install --no-deps hydra-ray-launcher"
    ),
    "tpe": Plugin("optuna", "sweep", "pip install optuna"),
}

LOGGERS = {  # by the name of the class
    "MLFlowLogger": Plugin("mlflow", "mlflow", "pip install mlflow-skinny sqlalchemy alembic"),
    "WandbLogger": Plugin("wandb", "wandb", "pip install wandb"),
}

TRANSFORMERS = Plugin("transformers", "encoders", "pip install 'transformers>=4.57,<6'")
PEFT = Plugin("peft", "encoders", "pip install 'peft>=0.18,<0.22'")


def missing_peft(trainable: str) -> Problem | None:
    """The problem of `model.trainable=lora` without peft."""
    if trainable != "lora" or is_installed(PEFT.module):
        return None
    message = f"model.trainable=lora: peft is not installed: {PEFT.remedy()}"
    return Problem(message, "missing_plugin", "model.trainable", "lora", PEFT.remedy())


def missing_logger(name: str, target: str) -> Problem | None:
    """The problem of a logger with a package that is not installed; None if it is installed or not known here.

    Args:
        name: its key in `logger`.
        target: its class.
    """
    plugin = LOGGERS.get(target.rpartition(".")[2])
    if plugin is None or is_installed(plugin.module):
        return None
    message = f"logger={name}: {plugin.module} is not installed: {plugin.remedy()}"
    return Problem(message, "missing_plugin", f"logger.{name}", target, plugin.remedy())


def missing_plugin(group: str, option: str, chosen_by: str = "") -> Problem | None:
    """The problem of a launcher or sweeper that is not installed; None if it is installed or not known here.

    Args:
        group: `hydra/launcher` or `hydra/sweeper`.
        option: the chosen one.
        chosen_by: `GROUP=OPTION` of the file that chose it; empty if the command line did.
    """
    plugin = next((plugin for name, plugin in PLUGINS.items() if option.startswith(name)), None)
    if plugin is None or is_installed(plugin.module):
        return None
    name = chosen_by or f"{group}={option}"
    message = f"{name}: {plugin.module.rpartition('.')[2]} is not installed: {plugin.remedy()}"
    return Problem(message, "missing_plugin", name.partition("=")[0], option, plugin.remedy())


def is_installed(module: str) -> bool:
    """Whether a module is installed; it is not imported."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its package is not installed either
        return False
