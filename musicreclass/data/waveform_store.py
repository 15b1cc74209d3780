"""Examines and decodes many recordings once, and keeps the results in the store."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from musicreclass.data.audio import decoding, ffmpeg
from musicreclass.data.audio.header import BadAudioError
from musicreclass.data.parallel import in_parallel, show_progress
from musicreclass.errors import DataError
from musicreclass.storage.atomic import replacing, write_json
from musicreclass.storage.file_parts import file_of
from musicreclass.storage.store import Store, common_folder, room
from musicreclass.storage.versions import FileVersion, files_digest, raise_if_changed

VERSION = 2  # of the files here; decoding.VERSION is that of the samples in them
FLUSH_INTERVAL = 2.0  # seconds; a killed build loses no more work than this
SAMPLES, LENGTHS, BAD, DONE = "samples.i16", "lengths.npy", "bad.json", "done.u8"
BYTES_PER_SAMPLE = 2
FULL_SCALE, SILENCE = 32767, 3  # of int16; -80 dB
CLIPPED_FRACTION = 0.01  # of the samples at full scale
MARKS = {"": 1, "silent": 2, "clipped": 3}  # of finished recordings, in DONE
MISSING = "no such file"  # the `BadAudioError.reason`


def raise_if_transient(error: BadAudioError) -> None:
    """Abort if a file became unavailable during the run, as when a drive disconnects, so that this is not stored.

    Raises:
        DataError: if so.
    """
    file = file_of(error.path)
    removed = error.reason == MISSING and not file.is_symlink()
    if removed or (error.reason == "cannot be read" and os.access(file, os.R_OK)):
        raise DataError(
            f"{error}: the file became unavailable during this run. Nothing was stored: reconnect its drive and start again",
            kind="file_unavailable",
            key=error.path,
        )


def _store_key(paths: Sequence[Path], sample_rate: int, key: str | None) -> dict[str, Any]:
    """Everything that the result depends on. Includes the readers, suffixes and file permissions, so that installing, renaming
    or granting them causes another attempt."""
    files = [file_of(path) for path in paths]
    suffixes = [file.suffix.lower() for file in files]
    uses_ffmpeg = any(suffix in ffmpeg.CONVERTED for suffix in suffixes)
    command = ffmpeg.find_ffmpeg() if uses_ffmpeg else None
    unreadable = [i for i, file in enumerate(files) if not os.access(file, os.R_OK) and os.path.exists(file)]
    return {
        "files": key or files_digest(paths),
        "count": len(paths),
        "sample_rate": sample_rate,
        "version": [VERSION, decoding.VERSION],
        "suffixes": hashlib.sha256("\0".join(suffixes).encode("utf-8", "surrogateescape")).hexdigest(),
        "readers": [soundfile.__libsndfile_version__, *([ffmpeg.ffmpeg_version(command)] if command else [])],
        "without": ["ffmpeg"] * (uses_ffmpeg and command is None) + unreadable,
    }


def _entry(
    kind: str, store: Store, paths: Sequence[Path], key: dict[str, Any], build: Callable[[Path], None], **options: Any
) -> Path:
    """The entry of the store; built again if ffmpeg was installed after it was found missing."""
    options["source"] = common_folder(paths)
    folder = store.entry(kind, key, build, **options)
    if "needs ffmpeg" not in read_lengths(folder)[1].values():
        return folder
    command = ffmpeg.find_ffmpeg()
    if command is None:
        return folder
    return store.entry(kind, {**key, "with": ffmpeg.ffmpeg_version(command)}, build, **options)


def examine_all(
    paths: Sequence[Path],
    sample_rate: int,
    workers: int | None = None,
    store: Store | None = None,
    key: str | None = None,
    missing: Collection[int] = (),
    versions: Sequence[FileVersion | None] | None = None,
) -> tuple[np.ndarray, dict[int, str]]:
    """Examine many files: their lengths, and which are bad.

    Args:
        paths: the files.
        sample_rate: of the lengths.
        workers: threads; by default one per processor.
        store: stores the result, if given.
        key: as in `open_waveforms`.
        missing: the indices of files that did not exist when the run started, which are bad; any other file that does
            not exist has become unavailable, which is an error.
        versions: those of the files for which `key` was computed; by default those that they have now.

    Returns:
        lengths in samples, int64 (n,), 0 for a bad file; and `BadAudioError.reason` of each bad file, by its index.

    Raises:
        DataError: if a file has changed meanwhile; nothing is stored.
    """
    current = [FileVersion.of(path) for path in paths] if versions is None else versions
    if store is None:
        return _examine_all(paths, sample_rate, workers, missing, current)

    def build(folder: Path) -> None:
        _save(folder, *_examine_all(paths, sample_rate, workers, missing, current))

    return read_lengths(_entry("recordings", store, paths, _store_key(paths, sample_rate, key), build))


def _examine_all(
    paths: Sequence[Path],
    sample_rate: int,
    workers: int | None,
    missing: Collection[int],
    versions: Sequence[FileVersion | None],
) -> tuple[np.ndarray, dict[int, str]]:
    def length_or_reason(i: int) -> int | str:
        if i in missing:
            return MISSING
        result: int | str
        try:
            result = decoding.examine(paths[i], sample_rate)
        except BadAudioError as error:
            raise_if_transient(error)
            result = error.reason
        raise_if_changed(paths[i], versions[i])
        return result

    lengths, bad = np.zeros(len(paths), np.int64), {}
    results = in_parallel(length_or_reason, range(len(paths)), workers)
    with show_progress(f"examining {len(paths):,} recordings", len(paths)) as advance, closing(results):
        for i, result in results:
            if isinstance(result, str):
                bad[i] = result
            else:
                lengths[i] = result
            advance(1)
    return lengths, dict(sorted(bad.items()))


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

    return _entry("waveforms", store, paths, _store_key(paths, sample_rate, key), build, is_resumable=_has_finished)


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
        _save(folder, *_examine_all(paths, sample_rate, workers, missing, versions))
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
            f"decoding {len(unfinished):,} recordings at {sample_rate:,} Hz, once: {_size(needed)} in {store.root} "
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
    _save(folder, lengths, dict(sorted(bad.items())))


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


def _save(folder: Path, lengths: np.ndarray, bad: dict[int, str]) -> None:
    with replacing(folder / LENGTHS) as scratch, scratch.open("wb") as file:
        np.save(file, lengths)
    write_json(folder / BAD, bad)


def read_levels(folder: Path) -> dict[int, str]:
    """Which decoded recordings of an entry are `silent` or `clipped`, by their index."""
    marks = np.frombuffer((folder / DONE).read_bytes(), np.uint8)
    return {int(i): level for level, mark in MARKS.items() if level for i in np.flatnonzero(marks == mark)}


def read_lengths(folder: Path) -> tuple[np.ndarray, dict[int, str]]:
    """The contents of an entry of the store, as `examine_all` returns them."""
    lengths = np.load(folder / LENGTHS)
    bad = {int(i): str(reason) for i, reason in json.loads((folder / BAD).read_text(encoding="utf-8")).items()}
    lengths[list(bad)] = 0
    return lengths, bad
