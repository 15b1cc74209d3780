"""Features that are computed from the file of a recording, without a network: decode, extract, forget."""

from __future__ import annotations

import hashlib
import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import closing
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from threadpoolctl import threadpool_limits

from musicreclass.config.messages import brief
from musicreclass.config.working_directory import allow_import
from musicreclass.data.audio import decoding
from musicreclass.data.audio.header import BadAudioError
from musicreclass.data.parallel import show_progress
from musicreclass.data.recordings import AudioData
from musicreclass.data.waveform_store import raise_if_transient
from musicreclass.errors import DataError, UserError
from musicreclass.features.parts import Part, Rejected, save_vectors
from musicreclass.storage.versions import FileVersion, raise_if_changed

ALONE_SECONDS = 1800.0  # of audio that one process extracts before others have started, in about 8 s
CPU = torch.device("cpu")
CHUNK = 16  # recordings per process and chunk with a back end that returns results only together
Jobs = dict[int, tuple[Path, FileVersion | None]]  # the path and version of each row's file
Outcome = np.ndarray | tuple[str, str] | UserError  # the vector; the reason and detail of a bad file; any other error


T = TypeVar("T")


class Extractor(ABC):
    """Computes the features of a recording from its file. To add one, write a subclass and a YAML file.

    Attributes:
        columns: one name per feature.
        settings: plain values that the features depend on, with a version of the code.
        overlaps: as in `Encoder`; usually empty.
        parallel: joblib's back end: `loky` for processes, `threading`, or one that is registered with joblib.
    """

    columns: list[str]
    settings: dict[str, Any]
    overlaps: ClassVar[list[dict[str, str]]] = []
    parallel = "loky"

    @abstractmethod
    def extract(self, path: Path) -> np.ndarray:
        """The features of a recording, (D,), finite; called in several processes at once.

        Raises:
            BadAudioError: if the recording cannot be used; it is counted as a bad file.
        """

    def extract_all(
        self, jobs: Jobs, workers: int, seconds: float, device: torch.device
    ) -> Generator[tuple[int, Outcome], None, None]:
        """Extract the features of recordings; yields each row with its outcome, in order of completion.

        Args:
            jobs: the recordings.
            workers: processes or threads at once.
            seconds: of audio in all; up to `ALONE_SECONDS` are extracted in this process.
            device: of the hardware profile, for extractors that can use it.
        """
        return in_processes(self, jobs, 1 if seconds <= ALONE_SECONDS else workers)


class ExtractorPart(Part):
    """The features of an extractor.

    Args:
        extractor: computes them.
        code: a hash of the user's code that the extractor consists of; empty for one of this package.
        device: for extractors that can use it; never part of the key.
    """

    kind = "features"

    def __init__(self, extractor: Extractor, code: str = "", device: torch.device = CPU) -> None:
        self.extractor, self.code, self.device = extractor, code, device
        self.files: list[Path] = []
        self.columns, self.overlaps = list(extractor.columns), extractor.overlaps

    def fingerprint(self) -> str:
        """A hash of the class, its settings, columns and code."""
        kind = type(self.extractor)
        values = (kind.__module__, kind.__qualname__, sorted(self.extractor.settings.items()), self.columns, self.code)
        return hashlib.sha256("\0".join(map(str, values)).encode()).hexdigest()

    def key(self) -> str:
        """A hash of the fingerprint and the version of the decoder."""
        return hashlib.sha256(f"{self.fingerprint()}\0{decoding.VERSION}".encode()).hexdigest()[:24]

    def compute(self, source: AudioData, rows: list[int], folder: Path) -> Rejected:
        """Write the features of some tracks, computed by joblib; each is written as soon as it is finished."""
        checksums = source.tracks.checksum
        rows = list({checksums[row]: row for row in reversed(rows)}.values())[::-1]  # copies once
        jobs = {row: (Path(source.tracks.path[row]), source.versions[source.recording[row]]) for row in rows}
        rejected: Rejected = {}
        name = type(self.extractor).__name__
        message = f"{name}: {len(self.columns)} features of {len(rows):,} recordings, once: stored in {folder}"
        seconds = float(source.tracks.duration[rows].sum())
        outcomes = self.extractor.extract_all(jobs, source.workers, seconds, self.device)
        with show_progress(message, len(rows)) as advance, closing(outcomes):
            for row, outcome in outcomes:
                if isinstance(outcome, UserError):
                    raise outcome
                if isinstance(outcome, tuple):
                    rejected[row] = outcome
                else:
                    save_vectors(folder, checksums[row], self.checked(outcome, jobs[row][0]))
                advance(1)
        return rejected

    def checked(self, vector: np.ndarray, path: Path) -> np.ndarray:
        """A vector as float32 (1, D).

        Raises:
            DataError: if it has another shape, or is not finite.
        """
        vector = np.asarray(vector, np.float32)
        if vector.shape != (len(self.columns),) or not np.isfinite(vector).all():
            line = f"{path}: the extractor returned {vector.shape} values, possibly NaN; {len(self.columns)} finite values are needed"
            raise DataError(line, "invalid_features", path)
        return vector[None]


def in_processes(extractor: Extractor, jobs: Jobs, workers: int) -> Generator[tuple[int, Outcome], None, None]:
    """Extract the features of recordings in parallel; yields each row with its outcome, in order of completion.

    Matrix products use one thread, since their last bits depend on the number of threads.

    Args:
        extractor: with the back end of joblib to use.
        jobs: the path and version of each row's file.
        workers: processes or threads at once.
    """
    backend = "sequential" if workers == 1 else extractor.parallel
    if backend == "ray":
        from ray.util.joblib import register_ray  # type: ignore[import-not-found, unused-ignore]

        register_ray()
    in_this_process = backend in ("threading", "sequential")
    if in_this_process:
        calls = [delayed(outcome_of)(extractor.extract, row, *job) for row, job in jobs.items()]
    else:
        pickled, module = pickle.dumps(extractor), type(extractor).__module__
        calls = [delayed(outcome_in_worker)(pickled, module, row, *job) for row, job in jobs.items()]
    parallel = partial(Parallel, n_jobs=min(workers, max(1, len(calls))), backend=backend, batch_size=1)
    if in_this_process:
        with threadpool_limits(limits=1, user_api="blas"):
            yield from parallel(return_as="generator_unordered")(calls)
        return
    if backend == "loky":
        try:
            yield from parallel(return_as="generator_unordered")(calls)
        finally:
            get_reusable_executor().shutdown(kill_workers=True)  # training needs their memory
        return
    with parallel() as pool:
        size = CHUNK * pool.n_jobs
        for start in range(0, len(calls), size):
            yield from pool(calls[start : start + size])


@cache
def limit_blas() -> None:
    """Use one thread for each matrix product in this process from now on."""
    threadpool_limits(limits=1, user_api="blas")


@cache
def unpickled(extractor: bytes, module: str) -> Extractor:
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
) -> tuple[int, T | tuple[str, str] | UserError]:
    """The outcome of one recording; errors are returned, so that each back end passes them on unchanged."""
    outcome: T | tuple[str, str] | UserError
    try:
        outcome = extract_unchanged(extract, path, version)
    except UserError as error:
        outcome = error
    except Exception as error:
        line = f"{path}: the extractor failed ({type(error).__name__}: {brief(error)})"
        outcome = DataError(line, "extractor_failed", path)
    return row, outcome


def extract_unchanged(extract: Callable[[Path], T], path: Path, version: FileVersion | None) -> T | tuple[str, str]:
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
