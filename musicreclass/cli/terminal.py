"""Printing for the terminal. Names of files, classes and settings may contain control characters, which are replaced.

Output that cannot be written never ends a task: a closed pipe (`| head`) is silent, any other error is printed once to stderr and
makes the exit code 1.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from musicreclass.errors import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

MIN_TEXT = 20  # columns of text in narrow terminals
FAILURES: list[str] = []  # errors of writing to stdout in this process


def say(text: str, error: bool = False) -> None:
    """Print lines of text as they are, without wrapping.

    Args:
        text: lines of text.
        error: whether to print to stderr.
    """
    lines = "\n".join(map(printable, text.split("\n")))
    _write(lambda: print(lines, file=sys.stderr if error else sys.stdout, flush=True), error)


def show(content: RenderableType) -> None:
    """Print a table or styled text."""
    from musicreclass.output import SafeConsole

    def write() -> None:
        console = SafeConsole()
        console.print(content)
        if console.failure is not None:
            raise console.failure

    _write(write)


def two_columns(term: str, text: str, column: int) -> list[str]:
    """Lines of help that fit into the terminal, or into 80 columns: a term, and text that begins at a column, wrapped.

    Words are not broken. A term that reaches the column has a line for itself.
    """
    width = max(shutil.get_terminal_size().columns - column, MIN_TEXT)
    wrapped = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    first = [] if not wrapped or len(term) + 4 > column else [f"  {term}".ljust(column) + wrapped.pop(0)]
    return [*(first or [f"  {term}"]), *(" " * column + line for line in wrapped)]


def _write(write: Callable[[], None], error: bool = False) -> None:
    try:
        write()
    except OSError as failure:
        stream = sys.stderr if error else sys.stdout
        with suppress(OSError, ValueError):  # from now on, what is written there is lost
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
        if not (error or isinstance(failure, BrokenPipeError)):
            FAILURES.append(str(failure.strerror))
            say(f"musicreclass: the output cannot be written ({failure.strerror})", error=True)
