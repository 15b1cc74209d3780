"""Signals that ask the process to stop."""

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
        The names of the signals received so far.
    """
    received: list[str] = []

    def stop(number: int, _: Any) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one must not interrupt the shutdown
        received.append(signal.Signals(number).name)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number in (signal.SIGTERM, signal.SIGHUP):
        if previous[number] is signal.SIG_DFL:
            signal.signal(number, stop)
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
