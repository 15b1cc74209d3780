"""A console for progress bars and tables: it replaces control characters, and output that cannot be written raises no error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from musicreclass.errors import printable


class SafeConsole(Console):
    """A console on stdout or stderr. Colours of the project are readable on light and dark backgrounds: `dark_orange3`, `green4`, red.

    Args:
        stderr: whether to write to stderr.
    """

    def __init__(self, stderr: bool = False) -> None:
        stream = sys.stderr if stderr else sys.stdout
        stream = getattr(stream, "rich_proxied_file", stream)  # while another bar is drawn
        self.stream = None if stream is None else SafeStream(stream)
        super().__init__(file=cast(Any, self.stream), highlight=False)

    @property
    def failure(self) -> OSError | ValueError | None:
        """The first error of writing, or None."""
        return None if self.stream is None else self.stream.failure

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """See `rich.console.Console`."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                text = "\n".join(map(printable, segment.text.split("\n")))
                yield Segment(text, segment.style)

    def print_line(self, text: str) -> None:
        """Print a line of plain text without wrapping."""
        self.print(text, markup=False, emoji=False, soft_wrap=True)


class SafeStream:
    """A text stream that keeps the first error of writing instead of raising it: a closed terminal, a full disk, a closed pipe.

    Args:
        stream: the stream to write to.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.failure: OSError | ValueError | None = None

    def write(self, text: str) -> int:
        """See `io.TextIOBase`."""
        try:
            self._stream.write(text)
        except (OSError, ValueError) as error:
            self.failure = self.failure or error
        return len(text)

    def flush(self) -> None:
        """See `io.TextIOBase`."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self.failure = self.failure or error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
