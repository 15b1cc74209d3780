"""The argument parser of tasks that take paths rather than configuration."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from musicreclass.cli.terminal import FAILURES, say
from musicreclass.errors import UserError


class Options(argparse.ArgumentParser):
    """An argument parser that reports errors as one line."""

    def error(self, message: str) -> NoReturn:
        """Raise an error for invalid arguments."""
        task = self.prog.removeprefix("musicreclass ")
        raise UserError(f"{task}: {message}; see {self.prog} --help", "invalid_arguments", task)

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """End the process after the help; the exit code is 1 if it could not be printed."""
        super().exit(status or (1 if FAILURES else 0), message)

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print the help as all other output is printed, which never fails."""
        if message:
            say(message.removesuffix("\n"), error=file is sys.stderr)


def user_path(text: str) -> Path:
    """A path as typed; `~` is the home folder, which shells do not expand in quotes or after an equals sign."""
    return Path(os.path.expanduser(text))


def runs_and_overrides(arguments: list[str]) -> tuple[list[Path], list[str]]:
    """The run folders, each once, and the overrides, which have an equals sign and are no folder."""
    overrides = [text for text in arguments if "=" in text and not user_path(text).is_dir()]
    return list(dict.fromkeys(user_path(text) for text in arguments if text not in overrides)), overrides
