"""Decodes many recordings once, into one file of the store."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Collection, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from musicreclass.data.audio import decoding
from musicreclass.data.audio.header import BadAudioError
from musicreclass.data.parallel import in_parallel, show_progress
from musicreclass.data.recording_lengths import (
    BAD,
    LENGTHS,
    measure_lengths,
    raise_if_transient,
    read_lengths,
    save_lengths,
    store_key,
    stored_entry,
)
from musicreclass.errors import DataError
from musicreclass.plurals import counted
from musicreclass.storage.store import Store, room
from musicreclass.storage.versions import FileVersion, raise_if_changed

FLUSH_INTERVAL = 2.0  # seconds; a killed build loses no more work than this
SAMPLES, DONE = "samples.i16", "done.u8"
BYTES_PER_SAMPLE = 2
FULL_SCALE, SILENCE = 32767, 3  # of int16; -80 dB
CLIPPED_FRACTION = 0.01  # of the samples at full scale
MARKS = {"": 1, "silent": 2, "clipped": 3}  # of finished recordings, in DONE


def decode_all(
    paths: Sequence[Path],
    sample_rate: int,
    store: Store,
    key: str | None = None,
    workers: int | None = None,
    missing: Collection[int] = (),
    versions: Sequence[FileVersion | None] | None = None,
) -> Path:
    """Decode every recording into one file of the store, unless stored already; an interrupted build is resumed.

    Returns:
        the entry: `samples.i16` contains all recordings as little-endian int16, concatenated in the order of `paths`,
        `lengths.npy` the number of samples of each, `bad.json` the reasons of bad files.

    Raises:
        DataError: if the disk has too little space, the store cannot be written, or a file has changed meanwhile.
    """
    current = [FileVersion.of(path) for path in paths] if versions is None else versions

    def build(folder: Path) -> None:
        _decode_all(paths, sample_rate, store, folder, workers, missing, current)

    return stored_entry(
        "waveforms", store, paths, store_key(paths, sample_rate, key), build, is_resumable=_has_finished
    )


def _has_finished(folder: Path) -> bool:
    """Whether the folder of an interrupted build contains a recording that need not be decoded again."""
    marks = folder / DONE
    return marks.is_file() and any(marks.read_bytes())


def _decode_all(
    paths: Sequence[Path],
    sample_rate: int,
    store: Store,
    folder: Path,
    workers: int | None,
    missing: Collection[int],
    versions: Sequence[FileVersion | None],
) -> None:
    if not (folder / BAD).is_file():
        save_lengths(folder, *measure_lengths(paths, sample_rate, workers, missing, versions))
    lengths, bad = np.load(folder / LENGTHS), read_lengths(folder)[1]
    samples = _SampleFile(folder, lengths)
    try:
        unfinished = samples.unfinished()
        needed, free = int(lengths[unfinished].sum()) * BYTES_PER_SAMPLE / 2**20, room(store.root)
        if needed > free:
            raise DataError(
                f"{store.root}: the decoded audio needs {_size(needed)}, but only {_size(free)} are free: free some space, "
                "choose another folder with paths.cache=DIR, or decode on each access with data.cache=none",
                kind="no_space",
                key=store.root,
            )
        samples.allocate()
        message = (
            f"decoding {counted(len(unfinished), 'recording')} at {sample_rate:,} Hz, once: {_size(needed)} in {store.root} "
            f"({_size(free)} free)"
        )
        bad |= _decode_unfinished(paths, sample_rate, samples, unfinished, workers, message, versions)
        samples.flush()
    except BaseException as error:
        if getattr(error, "errno", None) not in (errno.ENOSPC, errno.EDQUOT):
            samples.flush()
        raise
    finally:
        samples.close()
    save_lengths(folder, lengths, dict(sorted(bad.items())))


def _decode_unfinished(
    paths: Sequence[Path],
    sample_rate: int,
    samples: _SampleFile,
    unfinished: list[int],
    workers: int | None,
    message: str,
    versions: Sequence[FileVersion | None],
) -> dict[int, str]:
    """Decode the unfinished recordings into the file; returns the reasons of those that turned out bad."""
    stop = threading.Event()

    def decode_recording(i: int) -> str | None:
        peak = clipped = 0
        try:
            for start, piece in decoding.decode_blocks(paths[i], sample_rate, 0, int(samples.lengths[i])):
                if stop.is_set():
                    return None
                samples.write(i, start, piece)
                peak = max(peak, int(piece.max(initial=0)), -int(piece.min(initial=0)))
                if peak >= FULL_SCALE:
                    clipped += int(np.count_nonzero((piece >= FULL_SCALE) | (piece <= -FULL_SCALE)))
        except BadAudioError as error:
            raise_if_transient(error)
            raise_if_changed(paths[i], versions[i])
            return error.reason  # the end of the file is damaged, or it changed before this run
        raise_if_changed(paths[i], versions[i])
        if peak <= SILENCE:
            samples.levels[i] = "silent"
        elif clipped > CLIPPED_FRACTION * samples.lengths[i]:
            samples.levels[i] = "clipped"
        return None

    bad = {}
    flushed = time.monotonic()
    results = in_parallel(decode_recording, unfinished, workers, stop)
    with show_progress(message, len(unfinished)) as advance, closing(results):
        for i, reason in results:
            if reason is None:
                samples.finished.append(i)
            else:
                bad[i] = reason
            if time.monotonic() - flushed > FLUSH_INTERVAL:
                samples.flush()
                flushed = time.monotonic()
            advance(1)
    return bad


class _SampleFile:
    """`samples.i16` while it is written, and `done.u8`: one byte per recording, one of `MARKS` once its samples are on
    disk.

    Attributes:
        lengths: samples of each recording, int64 (n,).
        finished: recordings that are written but not yet marked as such.
        levels: `silent` or `clipped`, by recording; others are neither.
    """

    def __init__(self, folder: Path, lengths: np.ndarray) -> None:
        self.lengths = lengths
        self.finished: list[int] = []
        self.levels: dict[int, str] = {}
        self._offsets = np.concatenate([[0], np.cumsum(lengths)]) * BYTES_PER_SAMPLE
        self._file = os.open(folder / SAMPLES, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._marks = os.open(folder / DONE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def unfinished(self) -> list[int]:
        """The recordings that are not bad and not marked as finished."""
        n = len(self.lengths)
        os.ftruncate(self._marks, n)
        marks = np.frombuffer(os.pread(self._marks, n, 0), np.uint8)
        return [i for i in range(n) if self.lengths[i] and not marks[i]]

    def allocate(self) -> None:
        """Give the file its final size."""
        os.ftruncate(self._file, int(self._offsets[-1]))

    def write(self, i: int, start: int, piece: np.ndarray) -> None:
        """Write int16 (m,) at sample `start` of recording `i`."""
        remaining = piece.astype("<i2", copy=False).data.cast("B")
        at = int(self._offsets[i]) + BYTES_PER_SAMPLE * start
        while len(remaining):
            written = os.pwrite(self._file, remaining, at)
            remaining, at = remaining[written:], at + written

    def flush(self) -> None:
        """Mark the finished recordings, after their samples are on disk, so that marks are correct after a power cut."""
        os.fdatasync(self._file)
        for i in self.finished:
            os.pwrite(self._marks, bytes([MARKS[self.levels.get(i, "")]]), i)
        self.finished.clear()

    def close(self) -> None:
        os.close(self._file)
        os.close(self._marks)


def _size(mib: float) -> str:
    return f"{mib / 1024:.1f} GiB" if mib >= 1024 else f"{mib:.0f} MiB"


def read_levels(folder: Path) -> dict[int, str]:
    """Which decoded recordings of an entry are `silent` or `clipped`, by their index."""
    marks = np.frombuffer((folder / DONE).read_bytes(), np.uint8)
    return {int(i): level for level, mark in MARKS.items() if level for i in np.flatnonzero(marks == mark)}
