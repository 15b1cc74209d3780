"""The progress bar of a fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from musicreclass.classifiers.base import LogEpoch
from musicreclass.evaluation.metric_names import METRIC_LABELS
from musicreclass.output import SafeConsole

PROGRESS_METRICS = {f"valid/{name}": label for name, label in {"loss": "loss", **METRIC_LABELS}.items()}
WIDE = 120  # columns of a terminal from which the bar is longer and the state of the machine is shown


class StatusColumn(ProgressColumn):
    """A text that is updated whenever the bar is drawn.

    Args:
        status: returns the text.
    """

    def __init__(self, status: Callable[[], str]) -> None:
        super().__init__()
        self.status = status

    def render(self, task: Task) -> Text:
        """The current text."""
        return Text(self.status(), "dim")


@contextmanager
def progress_bar(
    total: int | None, unit: str, log_epoch: LogEpoch, status: Callable[[], str] = str
) -> Iterator[LogEpoch]:
    """Draw a bar over the epochs or rounds that a fit logs; without a terminal, only log.

    Args:
        total: the maximum number of epochs or rounds, None if unknown.
        unit: `epoch` or `round`.
        log_epoch: called with the same arguments as the yielded function.
        status: returns a short text on the state of the machine.

    Yields:
        the function to call instead of `log_epoch`.
    """
    console = SafeConsole()
    if not console.is_terminal:
        yield log_epoch
        return
    wide = console.width >= WIDE
    columns = [
        TextColumn(unit),
        MofNCompleteColumn(),
        BarColumn(24 if wide else 6),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
        *([StatusColumn(status)] if wide else []),
    ]
    with Progress(*columns, console=console, transient=True, refresh_per_second=4) as bar:
        task = bar.add_task("", total=total)

        def log_and_advance(epoch: int, values: dict[str, float]) -> None:
            log_epoch(epoch, values)
            metrics = " ".join(
                f"{short} {values[name]:.3f}" for name, short in PROGRESS_METRICS.items() if name in values
            )
            bar.update(task, completed=epoch + 1, description=metrics)

        yield log_and_advance
