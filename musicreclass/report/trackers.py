"""Experiment trackers: Lightning's loggers for CSV files, MLflow and Weights & Biases, or any other logger, for every kind of model."""

from __future__ import annotations

import inspect
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from musicreclass.config.hydra_adapter import instantiate
from musicreclass.config.messages import brief
from musicreclass.config.settings.training import LoggerSettings, TrackerSettings
from musicreclass.config.targets import check_arguments, check_nested_targets, import_class
from musicreclass.errors import notices
from musicreclass.storage.atomic import write_json

if TYPE_CHECKING:
    from typing_extensions import Self

IDS = "trackers.json"  # in the run folder: the ids that trackers gave to the run, so that a resumed run continues them
ID_ARGUMENTS = {"MLFlowLogger": "run_id", "WandbLogger": "id"}
SUPPLIED = ("name", "run_name", "save_dir")  # arguments that are set if the class takes them and no file does
MLFLOW_URI = "MLFLOW_TRACKING_URI"
SQLITE = "sqlite:///"
QUIET = ("mlflow", "alembic", "pytorch_lightning.loggers")  # log to the terminal
ENVIRONMENT = {  # unless the user has set it
    "WANDB_SILENT": "true",
    "WANDB_CONSOLE": "off",  # would wrap the terminal that the progress bar is drawn on
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # the default of 7 takes minutes
    "GIT_PYTHON_REFRESH": "quiet",
}
log = logging.getLogger("musicreclass")


def check_trackers(settings: LoggerSettings) -> None:
    """Check the classes and arguments of trackers, before any data is read.

    Raises:
        ConfigError: if one cannot be imported, is no logger of Lightning, or does not take its arguments.
    """
    for name, section in settings.trackers().items():
        kind = logger_class(section, f"logger.{name}")
        arguments = section.arguments()
        check_arguments(kind, arguments, f"logger.{name}", supplied={*SUPPLIED} - arguments.keys())


def logger_class(section: TrackerSettings, key: str) -> type:
    """The class that a tracker's `_target_` names."""
    from pytorch_lightning.loggers import Logger

    def is_logger(kind: type) -> bool:
        return issubclass(kind, Logger)

    rule = "must be a subclass of pytorch_lightning.loggers.Logger"
    check_nested_targets(section.arguments(), key, is_logger, rule)
    return import_class(str(section.target), f"{key}._target_", is_logger, rule)


class Trackers:
    """The trackers of one run. As a context manager it marks the run as finished, failed or stopped in each of them.

    Args:
        settings: of `logger`.
        folder: the run folder.
        hyperparameters: plain values by name.
        rows: the epochs that a resumed run already has.
        resume: whether to continue the runs of an interrupted fit.
    """

    def __init__(
        self,
        settings: LoggerSettings,
        folder: Path,
        hyperparameters: dict[str, Any],
        rows: list[dict[str, float]],
        resume: bool,
    ) -> None:
        self.folder = folder
        ids = read_ids(folder) if resume else {}
        self.trackers = [Tracker(name, section, folder, ids.get(name)) for name, section in settings.trackers().items()]
        for tracker in self.trackers:
            tracker.add(
                lambda logger: logger.log_hyperparams({**hyperparameters, "run_folder": str(folder.absolute())})
            )
            if not tracker.continues:
                for row in rows:
                    tracker.log(int(row["epoch"]), row)
        ids = {tracker.name: tracker.id for tracker in self.trackers if tracker.id is not None}
        if ids:
            write_json(folder / IDS, ids)

    def log(self, epoch: int, values: dict[str, float]) -> None:
        """Log the values of an epoch or round."""
        for tracker in self.trackers:
            tracker.log(epoch, values)

    def finish(self, epoch: int, results: dict[str, float]) -> None:
        """Log the final metrics, and the figures of the run folder."""
        figures = sorted((self.folder / "figures").glob("*.png"))
        for tracker in self.trackers:
            tracker.failed = False  # the network may be back
            tracker.log(epoch, results)
            for figure in figures:
                tracker.add(lambda logger, figure=figure: log_figure(logger, figure))  # type: ignore[misc]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        status = "success" if kind is None else "failed" if issubclass(kind, Exception) else "KILLED"
        for tracker in self.trackers:
            tracker.add(lambda logger: close(logger, status))


class Tracker:
    """A logger of Lightning that cannot fail a run.

    If a call fails, a warning is printed once, and what was to be logged is kept until the end of the run, when it is tried again.

    Args:
        name: its key in `logger`.
        section: its class and arguments.
        folder: the run folder.
        known_id: the id that it gave to the interrupted run that is resumed.
    """

    def __init__(self, name: str, section: TrackerSettings, folder: Path, known_id: str | None) -> None:
        self.name, self.section, self.folder = name, section, folder
        self.logger: Any = None
        self.unsent: list[Callable[[Any], object]] = []
        self.failed = self.warned = False
        kind = str(section.target).rpartition(".")[2]
        self.id_arguments = {ID_ARGUMENTS[kind]: known_id} if known_id and kind in ID_ARGUMENTS else {}

    @property
    def continues(self) -> bool:
        """Whether it continues the run that an interrupted fit has logged."""
        return bool(self.id_arguments)

    @property
    def id(self) -> str | None:
        """The id that it has given to the run, if it can continue it; None before it was reached."""
        has_ids = type(self.logger).__name__ in ID_ARGUMENTS
        return str(self.logger.version) if has_ids and not self.failed else None

    def log(self, epoch: int, values: dict[str, float]) -> None:
        """Log values of an epoch or round."""
        self.add(lambda logger: logger.log_metrics({k: v for k, v in values.items() if k != "epoch"}, step=epoch))

    def add(self, call: Callable[[Any], object]) -> None:
        """Call a function with the logger, now or when the tracker can be reached again."""
        self.unsent.append(call)
        if not self.failed:
            self._send()

    def _send(self) -> None:
        try:
            if self.logger is None:
                self.logger = self._open()
            while self.unsent:
                self.unsent[0](self.logger)
                del self.unsent[0]
        except Exception as error:  # of any library: no tracker is worth a run
            self.failed = True
            log.warning("logger=%s failed", self.name, exc_info=True)
            if not self.warned:
                notices.warning(
                    "logger=%s: %s; the run continues, and logging is tried again at its end",
                    self.name,
                    brief(error),
                )
            self.warned = True

    def _open(self) -> Any:
        for variable, value in ENVIRONMENT.items():
            os.environ.setdefault(variable, value)
        kind = logger_class(self.section, f"logger.{self.name}")
        accepted = inspect.signature(kind).parameters
        supplied = {"name": self.folder.name, "run_name": self.folder.name, "save_dir": str(self.folder)}
        arguments = {name: value for name, value in supplied.items() if name in accepted}
        arguments |= local_paths(self.section.arguments()) | self.id_arguments
        uri = os.environ.get(MLFLOW_URI)
        logger = instantiate({"_target_": self.section.target, **arguments})
        experiment_of(logger)  # creates it
        if uri is None:  # MLflow sets it for its children, and the next run would read it as the user's
            os.environ.pop(MLFLOW_URI, None)
        for name in QUIET:
            logging.getLogger(name).setLevel(logging.ERROR)
        return logger


def local_paths(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments with absolute paths of local stores, of which the folders are created."""
    arguments = dict(arguments)
    uri = arguments.get("tracking_uri")
    if isinstance(uri, str) and uri.startswith(SQLITE):
        database = Path(uri.removeprefix(SQLITE)).expanduser().absolute()
        database.parent.mkdir(parents=True, exist_ok=True)
        arguments["tracking_uri"] = f"{SQLITE}{database}"
        if arguments.get("artifact_location") is None:
            arguments["artifact_location"] = (database.parent / "artifacts").as_uri()
    if isinstance(arguments.get("save_dir"), str):
        folder = Path(arguments["save_dir"]).expanduser().absolute()
        folder.mkdir(parents=True, exist_ok=True)
        arguments["save_dir"] = str(folder)
    return arguments


def experiment_of(logger: Any) -> Any:
    """The client of a tracker's own library; None if there is none."""
    return getattr(logger, "experiment", None)


def log_figure(logger: Any, figure: Path) -> None:
    """Log a figure where the tracker has a place for it: MLflow's artifacts, or images."""
    if hasattr(logger, "log_image"):
        logger.log_image(f"figures/{figure.stem}", [str(figure)])
    elif hasattr(experiment_of(logger), "log_artifact"):
        logger.experiment.log_artifact(logger.run_id, str(figure), "figures")


def close(logger: Any, status: str) -> None:
    """Mark a run as finished (`success`), `failed` or `KILLED`."""
    logger.finalize(status)
    if hasattr(experiment_of(logger), "finish"):  # Weights & Biases; otherwise the next run would continue this one
        logger.experiment.finish(exit_code=int(status != "success"))


def read_ids(folder: Path) -> dict[str, str]:
    """The ids of a run in its trackers by their names; empty if there are none."""
    try:
        ids = json.loads((folder / IDS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): str(value) for name, value in ids.items()} if isinstance(ids, dict) else {}
