"""Runs a function over many items in threads, and shows progress."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from musicreclass.output import SafeConsole

T = TypeVar("T")
REPORT_INTERVAL = 60.0  # seconds between lines of progress without a terminal


def in_parallel(
    function: Callable[[int], T], numbers: Iterable[int], workers: int | None, stop: threading.Event | None = None
) -> Generator[tuple[int, T], None, None]:
    """Yield each number with its result, in order of completion. Threads suffice: decoding and resampling release the GIL.

    Args:
        function: called with each number.
        numbers: its arguments.
        workers: threads; by default one per processor.
        stop: set when the loop is left early, so that running calls can return sooner; they are waited for, and no
            further ones start.
    """
    workers = workers or len(os.sched_getaffinity(0))
    pending: dict[Future[T], int] = {}
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        try:
            for i in numbers:
                pending[pool.submit(function, i)] = i
                if len(pending) >= 4 * workers:
                    for future in wait(pending, return_when=FIRST_COMPLETED).done:
                        yield pending.pop(future), future.result()
            while pending:
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    yield pending.pop(future), future.result()
        finally:
            if stop is not None:
                stop.set()
            for future in pending:
                future.cancel()


@contextmanager
def show_progress(message: str, total: int, unit: str = "") -> Iterator[Callable[[int], object]]:
    """Show progress on stderr: a bar on a terminal, else one line at the start and one at the end.

    Args:
        message: the line above the bar.
        total: the number of items.
        unit: `B` for bytes; empty for anything else.

    Yields:
        a function that advances it by n items.
    """
    console = SafeConsole(stderr=True)
    if not total:
        yield lambda n: None
    elif console.is_terminal:
        console.print_line(message)
        counter = DownloadColumn() if unit == "B" else MofNCompleteColumn()
        columns = (counter, BarColumn(30), TextColumn("{task.fields[rate]}"), TimeElapsedColumn(),
                   TextColumn("left"), TimeRemainingColumn())  # fmt: skip
        with Progress(*columns, console=console, transient=True, refresh_per_second=4) as bar:
            task, meter = bar.add_task("", total=total, rate=""), Meter(total, unit)

            def advance(n: int) -> None:
                meter.advance(n)
                bar.update(task, advance=n, rate=meter.rate_text())

            yield advance
    else:
        console.print_line(message)
        meter = Meter(total, unit)

        def log(n: int) -> None:
            if meter.advance(n):
                console.print_line(meter.text())

        yield log
        console.print_line(f"done in {meter.seconds():.0f} s, {meter.rate_text()}")


class Meter:
    """Counts finished items, their rate, and the time left.

    Args:
        total: the number of items.
        unit: as in `show_progress`.
    """

    def __init__(self, total: int, unit: str = "") -> None:
        self.total, self.unit, self.done = total, unit, 0
        self.start = self.reported = time.monotonic()

    def advance(self, n: int) -> bool:
        """Count items; whether `REPORT_INTERVAL` has passed since this last returned True."""
        self.done += n
        now = time.monotonic()
        is_due = now - self.reported > REPORT_INTERVAL
        self.reported = now if is_due else self.reported
        return is_due

    def seconds(self) -> float:
        """The time since the start."""
        return time.monotonic() - self.start

    def rate_text(self) -> str:
        """Items per second."""
        rate = self.done / max(self.seconds(), 1e-3)
        if self.unit == "B":
            return f"{decimal(int(rate))}/s"
        return f"{rate:,.0f}/s" if rate >= 100 else f"{rate:.3g}/s"

    def text(self) -> str:
        """How many items are finished, their rate, and the time left."""
        left = self.seconds() * (self.total - self.done) / max(1, self.done)
        done, total = (decimal(n) if self.unit == "B" else f"{n:,}" for n in (self.done, self.total))
        return f"{done} of {total}, {self.rate_text()}, {left / 60:.0f} min left"
