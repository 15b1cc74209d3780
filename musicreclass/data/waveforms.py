"""Crops of many recordings, decoded on each access or read from a decoded cache. Both give the same samples."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from musicreclass.data.audio import decoding
from musicreclass.data.recording_lengths import LENGTHS, examine_all, read_lengths
from musicreclass.data.waveform_store import BYTES_PER_SAMPLE, SAMPLES, decode_all, read_levels
from musicreclass.errors import DataError, notices
from musicreclass.storage.store import Store
from musicreclass.storage.versions import FileVersion, raise_if_changed


class Waveforms(ABC):
    """Recordings at one sample rate, from which crops are read; safe to use from several threads and processes.

    Attributes:
        sample_rate: of every recording.
        lengths: in samples, int64 (n,); 0 for a file that cannot be read.
        bad: `BadAudioError.reason` of each unusable recording, by its index.
        levels: recordings that are `silent` or `clipped`, by their index; known of cached ones only.
    """

    def __init__(self, sample_rate: int, lengths: np.ndarray, bad: dict[int, str]) -> None:
        self.sample_rate = sample_rate
        self.lengths = lengths
        self.bad = bad
        self.levels: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.lengths)

    def crop(self, i: int, start: int, n: int) -> np.ndarray:
        """Samples `start` to `start + n` of recording `i`, int16 (n,).

        Raises:
            ValueError: if the recording does not contain that part.
            DataError: if the file was removed or has changed.
        """
        if not 0 <= start <= start + n <= self.lengths[i]:
            raise ValueError(
                f"recording {i}: samples {start} to {start + n} are out of range; it has {self.lengths[i]}"
            )
        return self._crop(i, start, n)

    @abstractmethod
    def _crop(self, i: int, start: int, n: int) -> np.ndarray:
        """As `crop`, without checking the range."""


class Decoded(Waveforms):
    """Decodes each crop on access.

    Args:
        paths: one file per recording.
        sample_rate, lengths, bad: as `examine_all` returns them.
        versions: those of the files that were examined.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        sample_rate: int,
        lengths: np.ndarray,
        bad: dict[int, str],
        versions: Sequence[FileVersion | None],
    ) -> None:
        super().__init__(sample_rate, lengths, bad)
        self.paths = list(paths)
        self.versions = list(versions)

    def _crop(self, i: int, start: int, n: int) -> np.ndarray:
        path = self.paths[i]
        raise_if_changed(path, self.versions[i], change_time=False)
        samples = decoding.decode_examined(path, self.sample_rate, start, start + n)
        raise_if_changed(path, self.versions[i], change_time=False)
        return samples


class Cached(Waveforms):
    """Reads crops from an entry of the store, built by `decode_all`.

    The file is read instead of memory-mapped: equally fast, and the pages read do not count as the process's memory.
    """

    def __init__(self, folder: Path, sample_rate: int) -> None:
        lengths, bad = read_lengths(folder)
        super().__init__(sample_rate, lengths, bad)
        self.levels = read_levels(folder)
        self.path = folder / SAMPLES
        self.offsets = np.concatenate([[0], np.cumsum(np.load(folder / LENGTHS))])
        self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)

    def _crop(self, i: int, start: int, n: int) -> np.ndarray:
        out = np.empty(n, "<i2")
        remaining, at = out.data.cast("B"), BYTES_PER_SAMPLE * int(self.offsets[i] + start)
        while len(remaining):
            count = os.preadv(self._file, [remaining], at)
            if not count:
                raise DataError(
                    f"{self.path}: the cached file was truncated; delete its folder to rebuild it",
                    kind="damaged_cache",
                    key=self.path,
                )
            remaining, at = remaining[count:], at + count
        return out

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_file"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _file=os.open(state["path"], os.O_RDONLY | os.O_CLOEXEC))

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)


def open_waveforms(
    paths: Sequence[Path],
    sample_rate: int,
    store: Store,
    cache: bool,
    key: str | None = None,
    workers: int | None = None,
    min_seconds: float = 0.0,
    missing: Collection[int] = (),
    versions: Sequence[FileVersion | None] | None = None,
) -> Waveforms:
    """Open recordings for reading crops; files are examined, or decoded, only the first time.

    Args:
        paths: one file per recording.
        sample_rate: of the result.
        store: where lengths and bad files are stored, and the samples with `cache`.
        cache: whether to decode everything once, in advance.
        key: a digest of the files' contents in their order; by default of their paths, sizes and modification times.
        workers: threads; by default one per processor.
        min_seconds: recordings shorter than this are bad, `too short`; crops of them can still be read.
        missing, versions: as in `examine_all`.

    Raises:
        DataError: if a file has changed meanwhile; with `cache`, if the store has too little space for the samples, or cannot
            be written.
    """
    waveforms: Waveforms
    if versions is None:
        versions = [FileVersion.of(path) for path in paths]
    if cache:
        waveforms = Cached(decode_all(paths, sample_rate, store, key, workers, missing, versions), sample_rate)
    else:
        lengths, bad = _examine(paths, sample_rate, workers, store, key, missing, versions)
        waveforms = Decoded(paths, sample_rate, lengths, bad, versions)
    for i in np.flatnonzero(waveforms.lengths < min_seconds * sample_rate).tolist():
        waveforms.bad.setdefault(i, "too short")
    return waveforms


def _examine(
    paths: Sequence[Path],
    sample_rate: int,
    workers: int | None,
    store: Store,
    key: str | None,
    missing: Collection[int],
    versions: Sequence[FileVersion | None],
) -> tuple[np.ndarray, dict[int, str]]:
    """As `examine_all`; a store that cannot be written is not needed."""
    try:
        return examine_all(paths, sample_rate, workers, store, key, missing, versions)
    except DataError as error:
        if error.kind not in ("unwritable", "no_space"):
            raise
        notices.warning("%s; the recordings will be examined again next time", error)
        return examine_all(paths, sample_rate, workers, missing=missing, versions=versions)
