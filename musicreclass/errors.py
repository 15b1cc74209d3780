"""Errors a user can act on. Each becomes one line on the terminal that names the thing and the remedy."""

from __future__ import annotations


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
