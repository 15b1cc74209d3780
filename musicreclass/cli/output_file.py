"""A file that a command was asked for with `--output`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from musicreclass.cli.terminal import say
from musicreclass.storage.writing import writing


def write_output(file: Path, write: Callable[[Path], None]) -> None:
    """Write a file and print its path.

    Args:
        file: the path, as typed.
        write: writes it.

    Raises:
        UserError: if it cannot be written.
    """
    with writing(file, "--output"):
        write(file)
    hint = "; open it in a browser" if file.suffix.lower() in (".html", ".htm") else ""
    say(f"wrote {file}{hint}")
