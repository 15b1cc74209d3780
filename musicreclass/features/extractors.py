"""Features that are computed from the file of a recording, without a network: decode, extract, forget."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from musicreclass.data.audio import decoding
from musicreclass.data.parallel import show_progress
from musicreclass.data.recordings import AudioData
from musicreclass.errors import DataError, UserError
from musicreclass.features.parts import Part, Rejected, save_vectors
from musicreclass.features.workers import Jobs, Results, in_processes
from musicreclass.plurals import counted

ALONE_SECONDS = 1800.0  # of audio that one process extracts before others have started, in about 8 s
CPU = torch.device("cpu")


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

    def warm_up(self) -> None:  # noqa: B027  (optional)
        """Load and compile what all recordings need; called before a process is forked, so that the forks have it."""

    @abstractmethod
    def extract(self, path: Path) -> np.ndarray:
        """The features of a recording, (D,), finite; called in several processes at once, which `predict` forks: they cannot use CUDA.

        Raises:
            BadAudioError: if the recording cannot be used; it is counted as a bad file.
        """

    def extract_all(self, jobs: Jobs, workers: int, seconds: float, device: torch.device) -> Results:
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
        message = f"{name}: {counted(len(self.columns), 'feature')} of {counted(len(rows), 'recording')}, once: stored in {folder}"
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
            line = f"{path}: the extractor returned {vector.shape} values, possibly NaN; {counted(len(self.columns), 'finite value is', 'finite values are')} needed"
            raise DataError(line, "invalid_features", path)
        return vector[None]
