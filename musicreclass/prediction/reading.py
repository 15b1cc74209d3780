"""Reads recordings ahead of the models, in processes."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from musicreclass.config.messages import brief
from musicreclass.data.audio import decoding, ffmpeg
from musicreclass.data.audio.ffmpeg import converted_once
from musicreclass.data.audio.header import REMEDIES, BadAudioError
from musicreclass.data.audio.suffixes import CONVERTED
from musicreclass.errors import UserError
from musicreclass.prediction.reader_process import ReaderDied, ReaderProcess, set_time_limit
from musicreclass.prediction.readers import Reader, Shared
from musicreclass.storage.versions import FileVersion, raise_if_changed

AHEAD = 2  # recordings per worker that are read ahead of the models
MILLISECONDS = 1000  # per second: the rate at which durations are rounded
TIME_LIMIT = 300.0  # seconds in which a recording must be opened, and then read, whatever its duration
SLOWEST = 2.0  # seconds per second of a longer recording


@dataclass
class Reading:
    """What was read of a recording.

    Attributes:
        path: of the file.
        values: by the key of the reader; empty after an error.
        duration, seconds, error: as in `Label`.
    """

    path: Path
    values: dict[str, Any]
    duration: float | None
    seconds: float
    error: str = ""


def read_all(
    readers: list[Reader],
    paths: Sequence[Path],
    workers: int,
    time_limit: float = TIME_LIMIT,
    min_seconds: float = 0.0,
) -> Generator[Reading, None, None]:
    """Read recordings in parallel, in order of completion; at most `AHEAD` per worker wait for the caller.

    A recording whose process crashes, is killed for lack of memory or exceeds the time limit gets a reading with an error.

    Args:
        readers: what to read of each.
        paths: of the files.
        workers: processes.
        time_limit: in seconds, as `TIME_LIMIT`.
        min_seconds: a shorter recording gets a reading with an error.
    """
    for reader in readers:
        reader.warm_up()
    pool = ReaderPool(partial(read_file, readers, time_limit, min_seconds), time_limit)
    with ThreadPoolExecutor(workers, thread_name_prefix="read") as threads:
        pending: dict[Future[Reading], Path] = {}
        try:
            for path in paths:
                pending[threads.submit(pool.read, path)] = path
                if len(pending) >= AHEAD * workers:
                    yield from collect(pool, pending)
            while pending:
                yield from collect(pool, pending)
        finally:
            for future in pending:
                future.cancel()
            pool.close()


def collect(pool: ReaderPool, pending: dict[Future[Reading], Path]) -> Iterator[Reading]:
    """Wait for at least one recording and take what is finished out of `pending`.

    A recording whose process was killed, possibly because others needed the memory, is read again while no other is.
    """
    killed = []
    finished = wait(pending, return_when=FIRST_COMPLETED).done
    while finished:
        for future in finished:
            path = pending.pop(future)
            if isinstance(future.exception(), ReaderDied):
                killed.append(path)
            else:
                yield future.result()
        finished = wait(pending).done if killed else set()
    for path in killed:
        yield pool.read(path, again=True)


class ReaderPool:
    """Processes that read, as many as there are threads in `read` at once; one that ends is replaced.

    Args:
        read_file: what they call with each path.
        time_limit: for messages.
    """

    def __init__(self, read_file: Callable[[Path], Reading], time_limit: float) -> None:
        self.read_file, self.time_limit = read_file, time_limit
        self.lock, self.is_closed = threading.Lock(), False
        self.running: list[ReaderProcess] = []
        self.idle: list[ReaderProcess] = []

    def read(self, path: Path, again: bool = False) -> Reading:
        """Read a recording.

        Args:
            path: of the file.
            again: whether its process was killed before, so that this is an error of the recording.

        Raises:
            ReaderDied: if the process was killed, or the pool was closed.
        """
        started = time.monotonic()
        with self.lock:
            if self.is_closed:
                raise ReaderDied
            if not self.idle:
                self.running.append(ReaderProcess(self.read_file, self.running))
                self.idle.append(self.running[-1])
            process = self.idle.pop()
        try:
            reading: Reading = process.read(path)
        except EOFError:
            with self.lock:
                self.running.remove(process)
            number = process.end()
            if self.is_closed or (number == signal.SIGKILL and not again):
                raise ReaderDied from None
            return Reading(path, {}, None, time.monotonic() - started, self.message(path, number))
        with self.lock:
            self.idle.append(process)
        return reading

    def message(self, path: Path, number: int) -> str:
        """The error of a recording whose process was ended by a signal, or exited (0)."""
        if number == signal.SIGALRM:
            return (
                f"{path}: cannot be read (took more than {self.time_limit:.4g} s, and {SLOWEST:.0f} times its duration; if that "
                "is too short, set --time-limit)"
            )
        if number == signal.SIGKILL:
            return f"{path}: cannot be read (the process that read it was killed, possibly for lack of memory)"
        cause = f" by {signal.Signals(number).name}" if number else ""
        return f"{path}: cannot be read (the process that read it crashed{cause})"

    def close(self) -> None:
        """End all processes; a thread in `read` gets a `ReaderDied`."""
        with self.lock:
            self.is_closed = True
            for process in self.running:
                process.kill()
            for process in self.idle:
                process.end()


def read_file(readers: Sequence[Reader], time_limit: float, min_seconds: float, path: Path) -> Reading:
    """Read a recording in a process that does nothing else; what is wrong with the file becomes the error of the reading."""
    started, version = time.monotonic(), FileVersion.of(path)
    values: dict[str, Any] = {}
    shared: Shared = {}
    is_converted = path.suffix.lower() in CONVERTED  # as a whole, before the duration is known
    try:
        set_time_limit(time_limit + (ffmpeg.TIME_LIMIT if is_converted else 0))
        with converted_once(path):
            duration = decoding.probe(path, MILLISECONDS, min_seconds) / MILLISECONDS
            set_time_limit(max(time_limit, SLOWEST * duration))
            for reader in readers:
                values[reader.key] = reader.read(path, shared)
        raise_if_changed(path, version, change_time=False)
    except BadAudioError as error:
        remedy = "" if error.detail else REMEDIES.get(error.reason, "")
        message = f"{error}; {remedy}" if remedy else str(error)
        return Reading(path, {}, None, time.monotonic() - started, message)
    except UserError as error:
        return Reading(path, {}, None, time.monotonic() - started, str(error))
    except (Exception, SystemExit) as error:  # a library that an extractor calls may exit
        message = f"{path}: cannot be read ({type(error).__name__}: {brief(error)})"
        return Reading(path, {}, None, time.monotonic() - started, message)
    finally:
        set_time_limit(0)
    return Reading(path, values, duration, time.monotonic() - started)
