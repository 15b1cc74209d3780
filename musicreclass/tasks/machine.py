"""How a task uses the machine that it runs on: the resolved hardware profile, applied to this process."""

from __future__ import annotations

import os
from typing import TypeVar

from musicreclass.config.settings.features import FMA518Settings
from musicreclass.config.settings.machine import HardwareSettings
from musicreclass.config.settings.tasks import Settings, TrainSettings
from musicreclass.errors import ConfigError, Problem, notices
from musicreclass.hardware.launch import is_worker_rank, launcher
from musicreclass.hardware.profile import Profile
from musicreclass.hardware.resolution import resolve_profile

S = TypeVar("S", bound=Settings)


def use_machine(settings: S) -> tuple[S, Profile]:
    """Resolve the hardware profile, apply it to this process, and warn about what the machine lacks.

    Returns:
        the settings with the precision that the machine allows, and the profile.

    Raises:
        ConfigError: for what was set explicitly and is not available.
    """
    explicit = settings.trainer.precision != "auto"
    precision = settings.trainer.precision if explicit else settings.hardware.precision
    if not computes_in_precision(settings):
        precision, explicit = "32-true", False
    profile = resolve_profile(settings.hardware, precision, explicit)
    profile.apply()
    if not is_worker_rank(settings.hardware):
        warn(profile.warnings)
    return settings.with_precision(profile.precision), profile


def computes_in_precision(settings: Settings) -> bool:
    """Whether there is a network or an encoder, which `trainer.precision` applies to."""
    trains_network = isinstance(settings, TrainSettings) and not settings.model.is_estimator
    return trains_network or any(not isinstance(part, FMA518Settings) for part in settings.features.sources().values())


def for_one_process(settings: S) -> S:
    """Settings for one process that does not train, without what the machine of the training may have had and this one lacks."""
    hardware: HardwareSettings = settings.hardware
    accelerator = "cpu" if hardware.accelerator == "cpu" else "auto"
    changes = {"kind": None, "accelerator": accelerator, "devices": 1, "nodes": 1, "strategy": "auto",
               "pin_memory": "auto", "compile": False}  # fmt: skip
    trainer = settings.trainer.model_copy(update={"precision": "auto"})
    return settings.model_copy(update={"hardware": hardware.model_copy(update=changes), "trainer": trainer})


def check_launcher(profile: Profile) -> None:
    """Make sure that a launcher starts the processes of other machines.

    Raises:
        ConfigError: if none does.
    """
    if profile.nodes > 1 and not launcher() and "MASTER_ADDR" not in os.environ:
        line = f"hardware.nodes={profile.nodes}: no launcher has started the processes: use srun or torchrun"
        raise ConfigError([Problem(line, "no_launcher", "hardware.nodes", profile.nodes)])


def warn(lines: list[str] | tuple[str, ...]) -> None:
    """Show warnings to the user."""
    for line in lines:
        notices.warning("%s", line)
