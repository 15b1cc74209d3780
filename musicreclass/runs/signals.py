"""Signals that ask the process to end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stoppable() -> Iterator[list[str]]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does, unless they are ignored, as under nohup.

    Yields:
        the names of the signals that came.
    """
    came: list[str] = []

    def stop(number: int, _: Any) -> None:
        signal.signal(number, signal.SIG_IGN)  # the second must not disturb what the first set off
        came.append(signal.Signals(number).name)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number in (signal.SIGTERM, signal.SIGHUP):
        if before[number] is signal.SIG_DFL:
            signal.signal(number, stop)
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
