"""A file that a command was asked for with `--output`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from musicreclass.cli.terminal import say
from musicreclass.errors import UserError


def write_output(file: Path, write: Callable[[Path], None]) -> None:
    """Write a file and print its path.

    Args:
        file: the path, as typed.
        write: writes it.

    Raises:
        UserError: if it cannot be written.
    """
    try:
        write(file.expanduser())
    except OSError as error:
        message = f"--output {file}: cannot be written ({error.strerror})"
        raise UserError(message, "unwritable", "--output", str(file)) from error
    hint = "; open it in a browser" if file.suffix.lower() in (".html", ".htm") else ""
    say(f"wrote {file}{hint}")
