"""Errors a user can act on. Each becomes one line on the terminal that names the thing and the remedy."""

from __future__ import annotations

from pathlib import Path


class UserError(Exception):
    """Something the user can mend: shown as one line, without a traceback, exit code 2."""


class ConfigError(UserError):
    """Every problem found in a configuration, one line each.

    Args:
        problems: the lines, in the order in which the user wrote what they are about.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class DataError(UserError):
    """Data that cannot be used as it is: unreadable, inconsistent, or too little of it."""


class DatasetNotFoundError(DataError):
    """A dataset is not where it was looked for; the message names the place and how to give another."""


class RunError(UserError):
    """A run folder that is missing, incomplete, foreign, or cannot be written."""


class WeightsError(UserError):
    """Pretrained weights that are missing, damaged, or of another network."""


class Terminated(KeyboardInterrupt):
    """The system asked the process to end, by SIGTERM or SIGHUP, as a cluster does before it starts a job elsewhere."""


class RunFailedError(Exception):
    """A run that broke while it trained or was scored; exit code 1.

    Attributes:
        folder: the run folder, whose run.log holds the traceback.
    """

    def __init__(self, folder: Path, error: BaseException) -> None:
        words = " ".join(str(error).split())[:200]
        super().__init__(f"{type(error).__name__}: {words} (the traceback is in {folder / 'run.log'})")
        self.folder = folder
