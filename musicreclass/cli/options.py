"""The argument parser of tasks that take paths rather than configuration."""

from __future__ import annotations

import argparse
from typing import NoReturn

from musicreclass.errors import UserError


class Options(argparse.ArgumentParser):
    """An argument parser that reports errors as one line."""

    def error(self, message: str) -> NoReturn:
        """Raise an error for invalid arguments."""
        task = self.prog.removeprefix("musicreclass ")
        raise UserError(f"{task}: {message}; see {self.prog} --help", "invalid_arguments", task)
