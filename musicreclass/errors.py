"""Errors that a user can correct. The command line prints each as one line that names the thing, the fault and the remedy.

Each has a kind. These are shared by several modules, and a new error uses one of them if it fits:

    unknown_key, unknown_option, unknown_group    a name that does not exist; the suggestion is the nearest one
    invalid_value, missing_value                  a value that breaks its rule, or is required
    invalid_target, import_failed                 a `_target_` that is the wrong kind of class, or cannot be imported
    invalid_arguments                             arguments that a class rejects
    untrusted_module                              code that must be trusted explicitly
    file_not_found, missing_folder, missing_root  a path that does not exist
    unreadable, unwritable, no_space              a path that the system refuses to read or write
    empty_file, git_lfs_pointer, truncated        a file without its content
    damaged_file, wrong_checksum                  a file with damaged content
    unsupported_format, newer_format              a file that this version does not read
    input_mismatch, sample_rate_mismatch          parts of a configuration that do not fit each other

Other kinds name one fault of one module, such as `empty_split`. Notices are lines for the user that are no errors.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musicreclass.plurals import counted

notices = logging.getLogger("musicreclass.notices")  # lines for the user; the command line prints them to stderr


@dataclass(frozen=True)
class Problem:
    """One problem with the user's input.

    Attributes:
        message: the line to print.
        kind: the kind of problem, as `unknown_key`; stable, unlike the wording.
        key: where the problem is: a dotted key, a path, an option.
        value: the invalid value.
        suggestion: a valid name or value to use instead.
    """

    message: str
    kind: str = ""
    key: str = ""
    value: Any = None
    suggestion: str = ""

    def __str__(self) -> str:
        return self.message


class UserError(Exception):
    """An error that the user can correct: printed as one line without a traceback; exit code 2.

    Args:
        message: the line to print.
        kind, key, value, suggestion: as in `Problem`.

    Attributes:
        problems: the one problem; a `ConfigError` may have several.
    """

    def __init__(
        self, message: str, kind: str = "", key: str | Path = "", value: Any = None, suggestion: str = ""
    ) -> None:
        super().__init__(message)
        self.problems = [Problem(message, kind, str(key), value, suggestion)]

    @property
    def kind(self) -> str:
        """The kind of the first problem."""
        return self.problems[0].kind if self.problems else ""

    @property
    def key(self) -> str:
        """The key of the first problem."""
        return self.problems[0].key if self.problems else ""


class ConfigError(UserError):
    """Every problem of a configuration.

    Args:
        problems: in the order of the user's input; text is a problem without a kind.
    """

    def __init__(self, problems: Iterable[Problem | str]) -> None:
        as_problems = [problem if isinstance(problem, Problem) else Problem(problem) for problem in problems]
        super().__init__("\n".join(map(str, as_problems)))
        self.problems = as_problems


class DataError(UserError):
    """Data that cannot be used: unreadable, inconsistent or insufficient."""


class DatasetNotFoundError(DataError):
    """A dataset is not where it was expected; the message names the folder and how to choose another."""


class VerificationError(UserError):
    """Recordings were verified, and something is wrong with them or their splits; exit code 1.

    Args:
        message: the line to print.
        problems: each of them.
    """

    def __init__(self, message: str, problems: list[Problem]) -> None:
        super().__init__(message)
        self.problems = problems


class RunError(UserError):
    """A run folder that is missing, incomplete, not a run folder, or not writable."""


class WeightsError(UserError):
    """Pretrained weights that are missing, damaged, or of another network."""


class Stopped(KeyboardInterrupt):
    """A task was stopped: by the user with Ctrl-C, or by the system, as a cluster does before it moves a job.

    Args:
        outcome: what the same command does, for the message.
        signals: names of the signals received, other than SIGINT.
    """

    def __init__(
        self, outcome: str = "starts again, since there is no checkpoint yet", signals: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.outcome = outcome
        self.number = signal.Signals[signals[0]] if signals else signal.SIGINT


class RunFailedError(Exception):
    """A run that failed during training or scoring; exit code 1.

    Attributes:
        folder: the run folder; its run.log has the traceback.
    """

    def __init__(self, folder: Path, error: BaseException) -> None:
        message = " ".join(str(error).split())[:300]
        super().__init__(f"{type(error).__name__}: {message} (the traceback is in {folder / 'run.log'})")
        self.folder = folder


class TrialPruned(Exception):
    """A search stopped a run because its validation scores are below those of most earlier trials. This is not a failure.

    Args:
        epoch: the last epoch that was trained, from 0.

    Attributes:
        folder: the run folder; known once the run has ended.
    """

    def __init__(self, epoch: int) -> None:
        super().__init__(f"pruned after {counted(epoch + 1, 'epoch')}: its score is below the median of earlier trials")
        self.epoch = epoch
        self.folder: Path | None = None


def trust_remedy(module: str) -> str:
    """How to trust a module, on the command line and in Python."""
    return f"add --trust {module} (in Python trust=['{module}'])"


def printable(text: str) -> str:
    """Text without control characters, which could change what a terminal shows."""
    return "".join(c if c.isprintable() and not "\ud800" <= c <= "\udfff" else "�" for c in text)
