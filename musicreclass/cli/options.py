"""Options of the tasks that take paths rather than configuration."""

from __future__ import annotations

import argparse
from typing import NoReturn

from musicreclass.errors import UserError


class Options(argparse.ArgumentParser):
    """An argument parser whose complaints are one line like all others."""

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments."""
        raise UserError(f"{self.prog.removeprefix('musicreclass ')}: {message}; {self.prog} --help shows how")
