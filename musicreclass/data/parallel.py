"""One thing done to many, in threads, while telling how far it is."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")


def in_parallel(
    function: Callable[[int], T], numbers: Iterable[int], workers: int | None, stop: threading.Event | None = None
) -> Generator[tuple[int, T], None, None]:
    """A function of each number with its result, as they come; threads do, for decoding and resampling let others run.

    Leaving the loop early waits for what has begun, which `stop` may shorten, and begins nothing more.
    """
    workers = workers or len(os.sched_getaffinity(0))
    waiting: dict[Future[T], int] = {}
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        try:
            for i in numbers:
                waiting[pool.submit(function, i)] = i
                if len(waiting) >= 4 * workers:
                    for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                        yield waiting.pop(future), future.result()
            while waiting:
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    yield waiting.pop(future), future.result()
        finally:
            if stop is not None:
                stop.set()
            for future in waiting:
                future.cancel()


@contextmanager
def show_progress(words: str, total: int) -> Iterator[Callable[[int], object]]:
    """Tell how far something is: a bar on a terminal, else a line when it begins and one when it ends."""
    console = Console(stderr=True)
    if not total:
        yield lambda n: None
    elif console.is_terminal:
        console.print(words, highlight=False, markup=False, soft_wrap=True)
        columns = (MofNCompleteColumn(), BarColumn(40), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True, refresh_per_second=4) as bar:
            task = bar.add_task("", total=total)
            yield lambda n: bar.advance(task, n)
    else:
        began = time.monotonic()
        print(words, file=sys.stderr, flush=True)
        yield lambda n: None
        print(f"done in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
