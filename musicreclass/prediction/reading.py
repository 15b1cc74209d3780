"""Reads recordings ahead of the models, in threads or processes."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

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

    Args:
        readers: what to read of each.
        paths: of the files.
        workers: threads or processes.
    """
    with reading_pool(readers, len(paths), workers) as (pool, read):
        pending: set[Future[Reading]] = set()
        try:
            for path in paths:
                pending.add(pool.submit(read, path))
                if len(pending) >= AHEAD * workers:
                    finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in finished)
            while pending:
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in finished)
        finally:
            for future in pending:
                future.cancel()


@contextmanager
def reading_pool(
    readers: list[Reader], count: int, workers: int
) -> Iterator[tuple[Executor, Callable[[Path], Reading]]]:
    """Threads or processes that read, and the function of a path that they call; extractors use processes if that pays."""
    extractors = [reader.extractor for reader in readers if isinstance(reader, FeatureReader)]
    if not extractors or count <= FEW or workers == 1:
        with ThreadPoolExecutor(workers, thread_name_prefix="read") as threads:
            yield threads, partial(read_file, readers)
        return
    from joblib.externals.loky import get_reusable_executor

    modules = tuple({type(extractor).__module__ for extractor in extractors})
    processes = get_reusable_executor(workers)
    try:
        yield processes, partial(read_file_in_process, pickle.dumps(readers), modules)
    finally:
        processes.shutdown(kill_workers=True)


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
    except Exception as error:
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
