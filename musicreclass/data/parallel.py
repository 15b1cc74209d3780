"""Runs a function over many items in threads, and shows progress."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from musicreclass.output import SafeConsole

T = TypeVar("T")


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
def show_progress(message: str, total: int) -> Iterator[Callable[[int], object]]:
    """Show progress on stderr: a bar on a terminal, else one line at the start and one at the end.

    Yields a function that advances it by n of `total` items.
    """
    console = SafeConsole(stderr=True)
    if not total:
        yield lambda n: None
    elif console.is_terminal:
        console.print_line(message)
        columns = (MofNCompleteColumn(), BarColumn(40), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True, refresh_per_second=4) as bar:
            task = bar.add_task("", total=total)
            yield lambda n: bar.advance(task, n)
    else:
        start = time.monotonic()
        console.print_line(message)
        yield lambda n: None
        console.print_line(f"done in {time.monotonic() - start:.0f} s")
