"""Crops of many recordings: decoded each time, or from one file that was decoded once. Both give the same samples."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from musicreclass.data import audio, ffmpeg
from musicreclass.data.cache import Store, room
from musicreclass.data.header import BadAudioError
from musicreclass.errors import DataError
from musicreclass.files import replacing, write_json

T = TypeVar("T")

VERSION = 1  # of the files here, beside audio.VERSION of what is in them
SAVED = 2.0  # seconds of work at most that a killed build loses
SAMPLES, LENGTHS, BAD, DONE = "samples.i16", "lengths.npy", "bad.json", "done.u8"
BYTES = 2  # of a sample


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
        lengths, bad = _load(folder)
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

    return _load(store.entry("recordings", _key(paths, sample_rate, key), build))


def _examine_all(paths: Sequence[Path], sample_rate: int, workers: int | None) -> tuple[np.ndarray, dict[int, str]]:
    def look(i: int) -> int | str:
        try:
            return audio.examine(paths[i], sample_rate)
        except BadAudioError as error:
            refuse_passing(error)
            return error.reason

    lengths, bad = np.zeros(len(paths), np.int64), {}
    looked = _in_parallel(look, range(len(paths)), workers)
    with _progress(f"looking at {len(paths):,} recordings", len(paths)) as tell, closing(looked):
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
    lengths, bad = np.load(folder / LENGTHS), _load(folder)[1]
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
        decoded = _in_parallel(decode, left, workers, stop)
        with _progress(f"{words} ({_size(free)} free)", len(left)) as tell, closing(decoded):
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


def _load(folder: Path) -> tuple[np.ndarray, dict[int, str]]:
    lengths = np.load(folder / LENGTHS)
    bad = {int(i): str(reason) for i, reason in json.loads((folder / BAD).read_text(encoding="utf-8")).items()}
    lengths[list(bad)] = 0
    return lengths, bad


def _in_parallel(
    function: Callable[[int], T], numbers: Iterable[int], workers: int | None, stop: threading.Event | None = None
) -> Generator[tuple[int, T], None, None]:
    """A function of each number with its result, as they come; threads do, for decoding and resampling let others run.

    Leaving the loop early waits for what has begun, which `stop` may shorten, and begins nothing more.
    """
    workers = workers or len(os.sched_getaffinity(0))
    waiting: dict[Future[T], int] = {}
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        try:
            for i in numbers:
                waiting[pool.submit(function, i)] = i
                if len(waiting) >= 4 * workers:
                    for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                        yield waiting.pop(future), future.result()
            while waiting:
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    yield waiting.pop(future), future.result()
        finally:
            if stop is not None:
                stop.set()
            for future in waiting:
                future.cancel()


@contextmanager
def _progress(words: str, total: int) -> Iterator[Callable[[int], object]]:
    """Tell how far something is: a bar on a terminal, else a line when it begins and one when it ends."""
    console = Console(stderr=True)
    if not total:
        yield lambda n: None
    elif console.is_terminal:
        console.print(words, highlight=False, markup=False, soft_wrap=True)
        columns = (MofNCompleteColumn(), BarColumn(40), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True, refresh_per_second=4) as bar:
            task = bar.add_task("", total=total)
            yield lambda n: bar.advance(task, n)
    else:
        began = time.monotonic()
        print(words, file=sys.stderr, flush=True)
        yield lambda n: None
        print(f"done in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
