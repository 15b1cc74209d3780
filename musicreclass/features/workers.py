"""Runs extractors over recordings: in this process, in threads, in processes, or on a Ray cluster."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Generator, Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import BrokenProcessPool
from threadpoolctl import threadpool_limits

from musicreclass.config.messages import brief
from musicreclass.config.working_directory import allow_import
from musicreclass.data.audio.header import BadAudioError
from musicreclass.data.recording_lengths import raise_if_transient
from musicreclass.errors import DataError, UserError, notices
from musicreclass.features.parts import Rejection
from musicreclass.plurals import counted
from musicreclass.storage.versions import FileVersion, raise_if_changed

CHUNK = 16  # recordings per process and chunk with a back end that returns results only together
RESTARTS = 3  # after a process died: of all processes, or on Ray of this one
RAY_CPUS = (
    0.5  # per worker, so that those of a lost node find room on others; Ray fills nodes by half before it uses the next
)
T = TypeVar("T")
Jobs = dict[int, tuple[Path, FileVersion | None]]  # the path and version of each row's file
Outcome = np.ndarray | Rejection | UserError  # the vector; the reason and detail of a bad file; any other error
Results = Generator[tuple[int, Outcome], None, None]


class Extracts(Protocol):
    """What is needed of an `Extractor`."""

    parallel: str

    def extract(self, path: Path) -> np.ndarray:
        """The features of a recording."""


def in_processes(extractor: Extracts, jobs: Jobs, workers: int) -> Results:
    """Extract the features of recordings in parallel; yields each row with its outcome, in order of completion.

    Matrix products use one thread, since their last bits depend on the number of threads.

    Args:
        extractor: with the back end of joblib to use.
        jobs: the path and version of each row's file.
        workers: processes or threads at once.

    Raises:
        DataError: if worker processes died repeatedly.
    """
    backend, workers = "sequential" if workers == 1 else extractor.parallel, min(workers, max(1, len(jobs)))
    if backend in ("threading", "sequential"):
        calls = [delayed(outcome_of)(extractor.extract, row, *job) for row, job in jobs.items()]
        with threadpool_limits(limits=1, user_api="blas"):
            yield from Parallel(workers, backend=backend, batch_size=1, return_as="generator_unordered")(calls)
        return
    call = partial(delayed(outcome_in_worker), pickle.dumps(extractor), type(extractor).__module__)
    if backend == "loky":
        yield from in_loky(call, jobs, workers)
    elif backend == "ray":
        yield from on_ray(call, jobs, workers)
    else:
        yield from in_chunks((call(row, *job) for row, job in jobs.items()), workers, backend)


def in_loky(call: Callable[..., Any], jobs: Jobs, workers: int) -> Results:
    """Extract in processes; if one dies, those recordings that are not finished are extracted in half as many new ones."""
    left = dict(jobs)
    try:
        for restart in range(RESTARTS + 1):
            calls = [call(row, *job) for row, job in left.items()]
            try:
                for row, outcome in Parallel(workers, "loky", batch_size=1, return_as="generator_unordered")(calls):
                    del left[row]
                    yield row, outcome
                return
            except BrokenProcessPool as error:
                if restart == RESTARTS:
                    raise worker_died(left, error) from error
            workers = max(2, workers // 2)
            notices.warning(
                f"a process died, possibly for lack of memory: {counted(len(left), 'recording is', 'recordings are')} left, {workers} at once"
            )
    finally:
        get_reusable_executor().shutdown(kill_workers=True)  # training needs their memory


def on_ray(call: Callable[..., Any], jobs: Jobs, workers: int) -> Results:
    """Extract on a Ray cluster, or on this machine if there is none; Ray restarts workers that die, and repeats their calls."""
    import ray  # type: ignore[import-not-found, unused-ignore]
    from ray.util.joblib.ray_backend import RayBackend  # type: ignore[import-not-found, unused-ignore]

    if starts_ray := not ray.is_initialized():
        ray.init(logging_level="ERROR", log_to_driver=False)
    workers = max(1, min(workers, int(ray.cluster_resources().get("CPU", 1))))
    options = {"num_cpus": RAY_CPUS, "max_restarts": RESTARTS, "max_task_retries": -1}
    calls = [call(row, path.absolute(), version) for row, (path, version) in jobs.items()]
    left = dict(jobs)
    try:
        for row, outcome in in_chunks(calls, workers, RayBackend(ray_remote_args=options)):
            del left[row]
            yield row, outcome
    except ray.exceptions.RayError as error:
        raise worker_died(left, error) from error
    finally:
        if starts_ray:
            ray.shutdown()


def in_chunks(calls: Iterable[Any], workers: int, backend: Any) -> Results:
    """Run calls with a back end of joblib that returns results only together."""
    calls = list(calls)
    with Parallel(workers, backend=backend, batch_size=1) as pool:
        for start in range(0, len(calls), CHUNK * workers):
            yield from pool(calls[start : start + CHUNK * workers])


def worker_died(left: Jobs, error: Exception) -> DataError:
    """The error after the last restart."""
    path = next(iter(left.values()))[0]
    line = (
        f"processes died {RESTARTS + 1} times ({type(error).__name__}), for lack of memory or at a damaged recording: "
        f"{counted(len(left), 'recording is', 'recordings are')} left, the first of them {path}. The others are stored; continue with data.workers=1"
    )
    return DataError(line, "worker_died", path)


@cache
def limit_blas() -> None:
    """Use one thread for each matrix product in this process from now on."""
    threadpool_limits(limits=1, user_api="blas")


@cache
def unpickled(extractor: bytes, module: str) -> Extracts:
    """An extractor in another process, also one of a module in the working directory."""
    allow_import(module.partition(".")[0])
    return pickle.loads(extractor)


def outcome_in_worker(
    extractor: bytes, module: str, row: int, path: Path, version: FileVersion | None
) -> tuple[int, Outcome]:
    """As `outcome_of`, in a process that does nothing else."""
    limit_blas()
    return outcome_of(unpickled(extractor, module).extract, row, path, version)


def outcome_of(
    extract: Callable[[Path], T], row: int, path: Path, version: FileVersion | None
) -> tuple[int, T | Rejection | UserError]:
    """The outcome of one recording; errors are returned, so that each back end passes them on unchanged."""
    outcome: T | Rejection | UserError
    try:
        outcome = extract_unchanged(extract, path, version)
    except UserError as error:
        outcome = error
    except Exception as error:
        line = f"{path}: the extractor failed ({type(error).__name__}: {brief(error)})"
        outcome = DataError(line, "extractor_failed", path)
    return row, outcome


def extract_unchanged(extract: Callable[[Path], T], path: Path, version: FileVersion | None) -> T | Rejection:
    """The features of a recording, or why it is a bad file.

    Raises:
        DataError: if the file has changed since it was found, or became unavailable.
    """
    raise_if_changed(path, version)
    try:
        vector = extract(path)
    except BadAudioError as error:
        raise_if_transient(error)
        raise_if_changed(path, version)
        return error.reason, error.detail
    raise_if_changed(path, version)
    return vector
