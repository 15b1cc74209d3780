"""Reads recordings ahead of the models, in threads or processes."""

from __future__ import annotations

import pickle
import signal
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, Protocol

from musicreclass.config.messages import brief
from musicreclass.config.working_directory import allow_import
from musicreclass.data.audio import decoding
from musicreclass.data.audio.ffmpeg import converted_once
from musicreclass.data.audio.header import REMEDIES, BadAudioError
from musicreclass.errors import UserError
from musicreclass.features.workers import limit_blas
from musicreclass.prediction.readers import FeatureReader, Reader, Shared
from musicreclass.storage.versions import FileVersion, raise_if_changed

AHEAD = 2  # recordings per worker that are read ahead of the models
FEW = 24  # recordings that are read by threads: processes take seconds to start
MILLISECONDS = 1000  # per second: the rate at which durations are rounded


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


def read_all(readers: list[Reader], paths: Sequence[Path], workers: int) -> Generator[Reading, None, None]:
    """Read recordings in parallel, in order of completion; at most `AHEAD` per worker wait for the caller.

    A recording whose process crashes, or is killed for lack of memory, gets a reading with an error.

    Args:
        readers: what to read of each.
        paths: of the files.
        workers: threads or processes.
    """
    with reading_pool(readers, len(paths), workers) as pool:
        pending: dict[Future[Reading], Path] = {}
        try:
            for path in paths:
                pending[pool.submit(path)] = path
                if len(pending) >= AHEAD * workers:
                    yield from collect(pool, pending)
            while pending:
                yield from collect(pool, pending)
        finally:
            for future in pending:
                future.cancel()


def collect(pool: Pool, pending: dict[Future[Reading], Path]) -> Iterator[Reading]:
    """Wait for at least one recording and take what is finished out of `pending`.

    After a crash, which ends all processes, the recordings in work are read again one by one, to find the one that causes it.
    """
    interrupted = []
    finished = wait(pending, return_when=FIRST_COMPLETED).done
    while finished:
        for future in finished:
            path = pending.pop(future)
            if isinstance(future.exception(), BrokenProcessPool):
                interrupted.append(path)
            else:
                yield future.result()
        finished = wait(pending).done if interrupted else set()
    for path in interrupted:
        yield pool.read_alone(path)


class Pool(Protocol):
    """Reads recordings in parallel."""

    def submit(self, path: Path) -> Future[Reading]:
        """Start to read a recording."""

    def read_alone(self, path: Path) -> Reading:
        """Read a recording while no other is read."""


class ThreadPool:
    """Reads recordings in threads.

    Args:
        readers: what to read of each.
        threads: that read.
    """

    def __init__(self, readers: Sequence[Reader], threads: ThreadPoolExecutor) -> None:
        self.threads, self.read_alone = threads, partial(read_file, readers)

    def submit(self, path: Path) -> Future[Reading]:
        """See `Pool`."""
        return self.threads.submit(self.read_alone, path)


class ProcessPool:
    """Reads recordings in processes, which are started again after a crash.

    Args:
        readers: what to read of each.
        workers: number of processes.
    """

    def __init__(self, readers: Sequence[Reader], workers: int) -> None:
        modules = tuple({type(reader.extractor).__module__ for reader in readers if isinstance(reader, FeatureReader)})
        self.read = partial(read_file_in_process, pickle.dumps(readers), modules)
        self.workers = workers

    def submit(self, path: Path) -> Future[Reading]:
        """See `Pool`."""
        try:
            return self.start(self.workers, path)
        except BrokenProcessPool:  # an idle process was killed
            return self.start(self.workers, path)

    def read_alone(self, path: Path) -> Reading:
        """See `Pool`; a crash is the error of the recording."""
        started = time.monotonic()
        try:
            return self.start(1, path).result()
        except BrokenProcessPool:
            line = f"{path}: cannot be read (the process that read it crashed, or was killed for lack of memory)"
            return Reading(path, {}, None, time.monotonic() - started, line)

    def start(self, workers: int, path: Path) -> Future[Reading]:
        """Start to read a recording in one of some processes.

        New processes inherit a mask without SIGINT: Ctrl-C in a terminal reaches them too, and only this process must handle it.
        """
        executor = self.processes(workers)
        resource_tracker.ensure_running()  # otherwise the first process starts it, which would unblock SIGINT
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            reading: Future[Reading] = executor.submit(self.read, path)
            return reading
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    @staticmethod
    def processes(workers: int) -> Any:
        """The running processes, or new ones if these have crashed or their number differs."""
        from joblib.externals.loky import get_reusable_executor

        return get_reusable_executor(workers)

    def close(self) -> None:
        """End all processes."""
        self.processes(self.workers).shutdown(kill_workers=True)


@contextmanager
def reading_pool(readers: list[Reader], count: int, workers: int) -> Iterator[Pool]:
    """Threads or processes that read; extractors use processes if that pays."""
    if not any(isinstance(reader, FeatureReader) for reader in readers) or count <= FEW or workers == 1:
        with ThreadPoolExecutor(workers, thread_name_prefix="read") as threads:
            yield ThreadPool(readers, threads)
        return
    processes = ProcessPool(readers, workers)
    try:
        yield processes
    finally:
        processes.close()


def read_file(readers: Sequence[Reader], path: Path) -> Reading:
    """Read a recording; what is wrong with the file becomes the error of the reading."""
    started, version = time.monotonic(), FileVersion.of(path)
    values: dict[str, Any] = {}
    shared: Shared = {}
    try:
        with converted_once(path):
            duration = decoding.probe(path, MILLISECONDS) / MILLISECONDS
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
    return Reading(path, values, duration, time.monotonic() - started)


@cache
def unpickled(readers: bytes, modules: tuple[str, ...]) -> list[Reader]:
    """Readers in another process, also those whose extractor is of a module in the working directory."""
    for module in modules:
        allow_import(module.partition(".")[0])
    return pickle.loads(readers)


def read_file_in_process(readers: bytes, modules: tuple[str, ...], path: Path) -> Reading:
    """As `read_file`, in a process that does nothing else."""
    limit_blas()
    return read_file(unpickled(readers, modules), path)
