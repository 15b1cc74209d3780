"""Crops of many recordings: decoded each time, or from one file that was decoded once. Both give the same samples."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from musicreclass.data.audio import decoding as audio
from musicreclass.data.waveform_store import BYTES, LENGTHS, SAMPLES, decode_all, examine_all, read_lengths
from musicreclass.errors import DataError
from musicreclass.storage.store import Store


class Waveforms(ABC):
    """Any number of recordings at one sample rate, to cut from; safe to use from many threads and processes.

    Attributes:
        sample_rate: of every recording.
        lengths: in samples, int64 (n,); 0 for a file that cannot be read.
        bad: why a recording cannot be used, in a few words, by its number.
    """

    def __init__(self, sample_rate: int, lengths: np.ndarray, bad: dict[int, str]) -> None:
        self.sample_rate = sample_rate
        self.lengths = lengths
        self.bad = bad

    def __len__(self) -> int:
        return len(self.lengths)

    def crop(self, i: int, start: int, n: int) -> np.ndarray:
        """Samples `start` to `start + n` of recording `i`, int16 (n,).

        Raises:
            ValueError: if the recording has no such part.
            DataError: if the file is gone or has changed.
        """
        if not 0 <= start <= start + n <= self.lengths[i]:
            raise ValueError(f"recording {i}: no samples {start} to {start + n}, it has {self.lengths[i]}")
        return self._crop(i, start, n)

    @abstractmethod
    def _crop(self, i: int, start: int, n: int) -> np.ndarray:
        """What `crop` gives, of a part that is there."""


class Decoded(Waveforms):
    """Decodes what is asked for, each time.

    Args:
        paths: one file per recording.
        sample_rate, lengths, bad: as `examine_all` finds them.
    """

    def __init__(self, paths: Sequence[Path], sample_rate: int, lengths: np.ndarray, bad: dict[int, str]) -> None:
        super().__init__(sample_rate, lengths, bad)
        self.paths = list(paths)
        self.stamps = [stamp(path) for path in paths]

    def _crop(self, i: int, start: int, n: int) -> np.ndarray:
        if stamp(self.paths[i]) != self.stamps[i]:
            raise DataError(f"{self.paths[i]}: is gone or has changed since this run looked at it; start again")
        return audio.gathered(self.paths[i], self.sample_rate, start, start + n)


class Cached(Waveforms):
    """Reads from an entry of the store that `decode_all` has made.

    The file is read, not mapped: as fast, and a process does not seem to grow by all that it has touched.
    """

    def __init__(self, folder: Path, sample_rate: int) -> None:
        lengths, bad = read_lengths(folder)
        super().__init__(sample_rate, lengths, bad)
        self.path = folder / SAMPLES
        self.offsets = np.concatenate([[0], np.cumsum(np.load(folder / LENGTHS))])
        self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)

    def _crop(self, i: int, start: int, n: int) -> np.ndarray:
        out = np.empty(n, "<i2")
        left, at = out.data.cast("B"), BYTES * int(self.offsets[i] + start)
        while len(left):
            got = os.preadv(self._file, [left], at)
            if not got:
                raise DataError(f"{self.path}: shorter than it was; remove its folder, and it is made again")
            left, at = left[got:], at + got
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
    shortest: float = 0.0,
) -> Waveforms:
    """The recordings, ready to cut from; their files are looked at, or decoded, the first time only.

    Args:
        paths: one file per recording.
        sample_rate: of the result.
        store: keeps what was found out, and the samples with `cache`.
        cache: whether to decode everything once, ahead.
        key: a digest of the files' contents in their order; by default of their paths, sizes and times.
        workers: threads; by default one for each processor.
        shortest: seconds that a recording must have; shorter ones are among the bad, `too short`, but can be cut from.

    Raises:
        DataError: if the store has no room for the samples, or cannot be written.
    """
    waveforms: Waveforms
    if cache:
        waveforms = Cached(decode_all(paths, sample_rate, store, key, workers), sample_rate)
    else:
        waveforms = Decoded(paths, sample_rate, *examine_all(paths, sample_rate, workers, store, key))
    for i in np.flatnonzero(waveforms.lengths < shortest * sample_rate).tolist():
        waveforms.bad.setdefault(i, "too short")
    return waveforms


def stamp(path: Path) -> tuple[int, int] | None:
    """Size and time of a file, or None if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
