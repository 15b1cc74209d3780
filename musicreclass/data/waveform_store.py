"""Examining and decoding many recordings, once: what was found out is kept in the store."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from musicreclass.data.audio import decoding as audio
from musicreclass.data.audio import ffmpeg
from musicreclass.data.audio.header import BadAudioError
from musicreclass.data.parallel import in_parallel, show_progress
from musicreclass.errors import DataError
from musicreclass.storage.atomic import replacing, write_json
from musicreclass.storage.store import Store, room

VERSION = 1  # of the files here, beside audio.VERSION of what is in them
SAVED = 2.0  # seconds of work at most that a killed build loses
SAMPLES, LENGTHS, BAD, DONE = "samples.i16", "lengths.npy", "bad.json", "done.u8"
BYTES = 2  # of a sample


def refuse_passing(error: BadAudioError) -> None:
    """Let nothing be kept of files that are away for the moment, as when a drive drops out.

    Raises:
        DataError: if that is why a file is bad.
    """
    away = error.reason == "no such file" and not error.path.is_symlink()
    if away or (error.reason == "cannot be read" and os.access(error.path, os.R_OK)):
        raise DataError(f"{error}: it was there a moment ago; is its drive still there? Nothing was kept: start again")


def stamps(paths: Sequence[Path]) -> str:
    """A digest of the paths, sizes and times of files."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            stat = path.stat()
            known = f"{stat.st_size}\0{stat.st_mtime_ns}"
        except OSError as error:
            known = str(error.errno)
        digest.update(os.fsencode(path) + f"\0{known}\0".encode())
    return digest.hexdigest()


def _key(paths: Sequence[Path], sample_rate: int, key: str | None) -> dict[str, Any]:
    """All that decides what is found out about files. What new rights or an ffmpeg would mend is tried again."""
    have_ffmpeg = not any(path.suffix.lower() in ffmpeg.CONVERTED for path in paths) or ffmpeg.find_ffmpeg() is not None
    closed = [i for i, path in enumerate(paths) if not os.access(path, os.R_OK) and os.path.exists(path)]
    return {
        "files": key or stamps(paths),
        "count": len(paths),
        "sample_rate": sample_rate,
        "version": [VERSION, audio.VERSION],
        "without": ["ffmpeg"] * (not have_ffmpeg) + closed,
    }


def examine_all(
    paths: Sequence[Path],
    sample_rate: int,
    workers: int | None = None,
    store: Store | None = None,
    key: str | None = None,
) -> tuple[np.ndarray, dict[int, str]]:
    """Length and soundness of many files.

    Args:
        paths: the files.
        sample_rate: what the lengths count in.
        workers: threads; by default one for each processor.
        store: remembers the result, if given.
        key: as in `open_waveforms`.

    Returns:
        lengths in samples, int64 (n,), 0 for a bad file; and the bad ones by number, each with `BadAudioError.reason`.
    """
    if store is None:
        return _examine_all(paths, sample_rate, workers)

    def build(folder: Path) -> None:
        _save(folder, *_examine_all(paths, sample_rate, workers))

    return read_lengths(store.entry("recordings", _key(paths, sample_rate, key), build))


def _examine_all(paths: Sequence[Path], sample_rate: int, workers: int | None) -> tuple[np.ndarray, dict[int, str]]:
    def look(i: int) -> int | str:
        try:
            return audio.examine(paths[i], sample_rate)
        except BadAudioError as error:
            refuse_passing(error)
            return error.reason

    lengths, bad = np.zeros(len(paths), np.int64), {}
    looked = in_parallel(look, range(len(paths)), workers)
    with show_progress(f"looking at {len(paths):,} recordings", len(paths)) as tell, closing(looked):
        for i, found in looked:
            if isinstance(found, str):
                bad[i] = found
            else:
                lengths[i] = found
            tell(1)
    return lengths, dict(sorted(bad.items()))


def decode_all(
    paths: Sequence[Path], sample_rate: int, store: Store, key: str | None = None, workers: int | None = None
) -> Path:
    """Decode every recording into one file of the store, unless it is there; a build that was stopped goes on.

    Returns:
        the entry: `samples.i16` holds all recordings, little-endian int16, one behind the other as in `paths`,
        `lengths.npy` how many samples it holds of each, `bad.json` the reasons of those that turned out bad.

    Raises:
        DataError: if there is no room, or the store cannot be written.
    """

    def build(folder: Path) -> None:
        _decode_all(paths, sample_rate, store, folder, workers)

    return store.entry("waveforms", _key(paths, sample_rate, key), build)


def _decode_all(paths: Sequence[Path], sample_rate: int, store: Store, folder: Path, workers: int | None) -> None:
    if not (folder / BAD).is_file():
        _save(folder, *_examine_all(paths, sample_rate, workers))
    lengths, bad = np.load(folder / LENGTHS), read_lengths(folder)[1]
    offsets = np.concatenate([[0], np.cumsum(lengths)]) * BYTES
    file = os.open(folder / SAMPLES, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    done = os.open(folder / DONE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    stop = threading.Event()

    def decode(i: int) -> str | None:
        try:
            for at, piece in audio.pieces(paths[i], sample_rate, 0, int(lengths[i])):
                if stop.is_set():
                    return None
                _write(file, piece.astype("<i2", copy=False).data.cast("B"), int(offsets[i]) + BYTES * at)
        except BadAudioError as error:
            refuse_passing(error)
            return error.reason  # it has changed since it was looked at
        return None

    finished: list[int] = []

    def save() -> None:
        os.fdatasync(file)  # the samples first: what is marked as done is done, even after a power cut
        for i in finished:
            os.pwrite(done, b"\1", i)
        finished.clear()

    try:
        os.ftruncate(done, len(paths))
        marks = np.frombuffer(os.pread(done, len(paths), 0), np.uint8)
        left = [i for i in range(len(paths)) if lengths[i] and not marks[i]]
        need, free = int(lengths[left].sum()) * BYTES / 2**20, room(store.root)
        if need > free:
            raise DataError(
                f"{store.root}: the decoded audio needs {_size(need)} and {_size(free)} are free: make room, choose "
                "another folder with paths.cache=DIR, or decode every time anew with data.cache=none"
            )
        os.ftruncate(file, int(offsets[-1]))
        words = f"decoding {len(left):,} recordings at {sample_rate:,} Hz, once: {_size(need)} in {store.root}"
        saved = time.monotonic()
        decoded = in_parallel(decode, left, workers, stop)
        with show_progress(f"{words} ({_size(free)} free)", len(left)) as tell, closing(decoded):
            for i, reason in decoded:
                if reason is None:
                    finished.append(i)
                else:
                    bad[i] = reason
                if time.monotonic() - saved > SAVED:
                    save()
                    saved = time.monotonic()
                tell(1)
        save()
    except BaseException as error:
        if getattr(error, "errno", None) not in (errno.ENOSPC, errno.EDQUOT):
            save()
        raise
    finally:
        os.close(file)
        os.close(done)
    _save(folder, lengths, dict(sorted(bad.items())))


def _size(mib: float) -> str:
    return f"{mib / 1024:.1f} GiB" if mib >= 1024 else f"{mib:.0f} MiB"


def _write(file: int, left: memoryview, at: int) -> None:
    while len(left):
        put = os.pwrite(file, left, at)
        left, at = left[put:], at + put


def _save(folder: Path, lengths: np.ndarray, bad: dict[int, str]) -> None:
    with replacing(folder / LENGTHS) as scratch, scratch.open("wb") as file:
        np.save(file, lengths)
    write_json(folder / BAD, bad)


def read_lengths(folder: Path) -> tuple[np.ndarray, dict[int, str]]:
    """What an entry of the store holds, as `examine_all` returns it."""
    lengths = np.load(folder / LENGTHS)
    bad = {int(i): str(reason) for i, reason in json.loads((folder / BAD).read_text(encoding="utf-8")).items()}
    lengths[list(bad)] = 0
    return lengths, bad
