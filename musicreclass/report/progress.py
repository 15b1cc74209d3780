"""A line on the terminal that tells how far a fit has come and what it has reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from musicreclass.classifiers.base import LogEpoch

SHOWN = ("valid/loss", "valid/accuracy", "valid/macro_f1")


class Status(ProgressColumn):
    """What a function says at the moment, drawn again with the bar.

    Args:
        status: the function.
    """

    def __init__(self, status: Callable[[], str]) -> None:
        super().__init__()
        self.status = status

    def render(self, task: Task) -> Text:
        """As rich calls it."""
        return Text(self.status(), "dim")


@contextmanager
def progress_bar(
    total: int | None, unit: str, log_epoch: LogEpoch, status: Callable[[], str] = str
) -> Iterator[LogEpoch]:
    """Draw a bar over the epochs or rounds that a fit logs; nothing where there is no terminal.

    Args:
        total: how many there will be at most, if that is known.
        unit: what they are called.
        log_epoch: also told everything that the bar is told.
        status: says in a few words how the machine is doing.

    Yields:
        what to call instead of `log_epoch`.
    """
    console = Console()
    if not console.is_terminal:
        yield log_epoch
        return
    columns = (
        TextColumn(unit),
        MofNCompleteColumn(),
        BarColumn(24),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
        Status(status),
    )
    with Progress(*columns, console=console, transient=True, refresh_per_second=4) as bar:
        task = bar.add_task("", total=total)

        def log(epoch: int, values: dict[str, float]) -> None:
            log_epoch(epoch, values)
            told = "  ".join(f"{name} {values[name]:.3f}" for name in SHOWN if name in values)
            bar.update(task, completed=epoch + 1, description=told)

        yield log
