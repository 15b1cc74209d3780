"""Printing for the terminal. Names of files, classes and settings may contain control characters, which are replaced."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from musicreclass.errors import printable

if TYPE_CHECKING:
    from rich.console import RenderableType


def say(text: str, error: bool = False) -> None:
    """Print lines of text as they are, without wrapping.

    Args:
        text: lines of text.
        error: whether to print to stderr.
    """
    print("\n".join(map(printable, text.split("\n"))), file=sys.stderr if error else sys.stdout, flush=True)


def show(content: RenderableType) -> None:
    """Print a table or styled text."""
    from rich.console import Console, ConsoleOptions
    from rich.segment import Segment

    class SafeConsole(Console):
        """Replaces control characters in everything that it renders."""

        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
            for segment in super().render(renderable, options):
                if segment.control or segment.text.isprintable():
                    yield segment
                else:
                    text = "\n".join(map(printable, segment.text.split("\n")))
                    yield Segment(text, segment.style)

    SafeConsole(highlight=False).print(content, soft_wrap=False)
