"""The run that settings describe: the finished one if there is one, trained otherwise.

A finished run is found without importing what trains.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from musicreclass.config.settings.data import SPLITS, TableFileSettings
from musicreclass.config.settings.tasks import Settings, TrainSettings
from musicreclass.errors import ConfigError, DatasetNotFoundError, Problem, WeightsError, notices
from musicreclass.hardware.launch import is_worker_rank
from musicreclass.runs.find import finished_run
from musicreclass.runs.folder import Run

if TYPE_CHECKING:
    from musicreclass.classifiers.base import LogEpoch

WEIGHTS_FILES = (".pth", ".pt", ".ckpt", ".safetensors")


class FinishedRun(NamedTuple):
    """A finished run, and whether it was trained by an earlier command."""

    run: Run
    trained_before: bool


def find_or_train(settings: TrainSettings, on_epoch: LogEpoch | None = None) -> FinishedRun:
    """The finished run of these settings, trained if there is none.

    Args:
        settings: checked.
        on_epoch: called after each epoch that is trained; what it raises ends the run.

    Raises:
        UserError: for data, weights or a model that cannot be used.
        RunFailedError: for a run that failed during training or scoring.
    """
    check_files(settings)
    run = finished_run(settings.with_precision(settings.hardware.precision))
    if run is not None:
        check_task(settings.task, any("per_tag" in run.metrics.get(split, {}) for split in SPLITS))
        result = FinishedRun(run, trained_before=True)
    else:
        from musicreclass.tasks.train import train

        result = train(settings, on_epoch)
    if result.trained_before and result.run.is_stale and not is_worker_rank(settings.hardware):
        notices.warning("%s: the code has changed since this run; force=true trains it again", result.run.folder)
    return result


def check_task(task: str, is_multi: bool) -> None:
    """Make sure that data has as many labels a track as `task` says.

    Raises:
        ConfigError: if it does not.
    """
    if task == "multi" and not is_multi:
        line = "task=multi: the data has one label a track; data.label_separator='|' reads several from a column of data=table or csv"
        raise ConfigError([Problem(line, "other_task", "task", task, "data.label_separator='|'")])
    if task == "single" and is_multi:
        line = "task=single: the data has several labels a track; use task=multi"
        raise ConfigError([Problem(line, "other_task", "task", task, "task=multi")])


def check_files(settings: Settings, is_trained: bool = False) -> None:
    """Make sure that the files that settings name exist, before anything is read.

    Args:
        settings: checked.
        is_trained: whether the model is trained already, so that it needs no pretrained weights.

    Raises:
        ConfigError: for a path that begins with ~ and a user without a home folder.
        DatasetNotFoundError: for a table.
        WeightsError: for a file of weights.
    """
    check_homes(settings.as_dict())
    for key, source in settings.data.sources().items() if settings.data is not None else ():
        path = source.path if isinstance(source, TableFileSettings) else None
        if path and not Path(path).expanduser().is_file():
            raise DatasetNotFoundError(
                f"{key}.path={path}: there is no such file", "file_not_found", f"{key}.path", path
            )
    for name, section in settings.weighted().items():
        weights = None if is_trained and name == "model" else section.checkpoint
        if str(weights).endswith(WEIGHTS_FILES) and not Path(str(weights)).expanduser().is_file():
            remedy = f"put the weights there, or set {name}.checkpoint=FILE or MUSICRECLASS_MODELS=FOLDER"
            line = f"{name}.checkpoint={weights}: there is no such file; {remedy}"
            raise WeightsError(line, "file_not_found", f"{name}.checkpoint", weights)


def check_homes(node: dict[str, Any], prefix: str = "") -> None:
    """Make sure that the home folder exists of each user that a setting names, as in ~name/music.

    Raises:
        ConfigError: if one does not.
    """
    for name, value in node.items():
        if isinstance(value, dict):
            check_homes(value, f"{prefix}{name}.")
        elif isinstance(value, str) and value.startswith("~") and os.path.expanduser(value) == value:
            key, user = f"{prefix}{name}", value.partition("/")[0]
            message = f"{key}={value}: {user} has no home folder on this machine; write the path in full"
            raise ConfigError([Problem(message, "invalid_value", key, value)])
