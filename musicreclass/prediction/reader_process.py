"""A process that reads recordings, so that a file that crashes or hangs a decoder or an extractor ends this process only."""

from __future__ import annotations

import faulthandler
import os
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from musicreclass.errors import DataError

STOP_SIGNALS = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
)  # reach the whole process group, and are handled by the parent


class ReaderDied(Exception):
    """The process was killed while it read a recording."""


class ReaderProcess:
    """A fork of this process that calls a function with one path after the other.

    A fork has all modules and filter banks at once, where a new process imports them for seconds. As in the workers of a DataLoader,
    torch uses one thread there, since the threads of its pool do not survive a fork; and CUDA cannot be used.

    Args:
        read: what to call; its result is pickled.
        others: running processes; their pipes must not stay open in this one, or they would not end with the parent.

    Raises:
        DataError: if no process can be started.
    """

    def __init__(self, read: Callable[[Path], Any], others: Iterable[ReaderProcess] = ()) -> None:
        self.connection, connection = Pipe()
        unused = [self.connection, *(other.connection for other in others)]
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # until the process handles them
        try:
            self.pid = os.fork()
            if not self.pid:
                serve(read, connection, unused, mask)
        except OSError as error:
            self.connection.close()
            line = f"no process to read recordings can be started: {error.strerror}; close other programs"
            raise DataError(line, "process_limit", "fork") from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            connection.close()

    def read(self, path: Path) -> Any:
        """The result for a path.

        Raises:
            EOFError: if the process ended.
        """
        try:
            self.connection.send(path)
            return self.connection.recv()
        except OSError as error:
            raise EOFError from error

    def kill(self) -> None:
        """End the process without waiting for it."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def end(self) -> int:
        """End the process, if it has not ended before; returns the number of the signal that ended it, 0 if it exited."""
        self.kill()
        self.connection.close()
        try:
            status = os.waitpid(self.pid, 0)[1]
        except ChildProcessError:  # the program reaps all its children
            return 0
        return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def serve(read: Callable[[Path], Any], connection: Connection, unused: list[Connection], mask: set[int]) -> None:
    """Answer each path until the parent closes the pipe; never returns."""
    try:
        for other in unused:
            other.close()
        faulthandler.disable()  # the parent reports a crash
        for number in STOP_SIGNALS:
            signal.signal(number, lambda *_: None)  # unlike SIG_IGN, not inherited by ffmpeg
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        use_one_thread()
        while True:
            connection.send(read(connection.recv()))
    finally:
        os._exit(1)


def use_one_thread() -> None:
    """Use one thread for tensor operations and matrix products, whose last bits depend on the number of threads."""
    import torch

    from musicreclass.features.workers import limit_blas

    torch.set_num_threads(1)
    limit_blas()


def set_time_limit(seconds: float) -> None:
    """End this process by SIGALRM after some time, even in native code; 0 removes the limit."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
