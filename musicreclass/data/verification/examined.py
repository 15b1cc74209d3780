"""Decodes every recording once, remembers the result by the file's content, and resumes where an earlier run ended."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import soundfile

from musicreclass.data.audio import decoding, ffmpeg
from musicreclass.data.audio.header import BadAudioError
from musicreclass.data.parallel import in_parallel, show_progress
from musicreclass.data.recording_lengths import MISSING, raise_if_transient
from musicreclass.data.verification import fingerprint
from musicreclass.plurals import counted
from musicreclass.storage.atomic import replacing, write_json
from musicreclass.storage.store import Store
from musicreclass.storage.versions import FileVersion, raise_if_changed

KIND = "examined"  # in the store
INTACT = "ok"
SILENT = "silent, or its channels cancel each other"
SILENCE = 1e-4  # of the peak; full scale is 1
TRANSIENT = ("needs ffmpeg", "cannot be read", MISSING)  # reasons that do not follow from the content
FLUSH_INTERVAL = 5.0  # seconds; a killed run loses no more work than this
SHA256_DIGITS = 64
MAX_SEGMENTS = 50  # files of results; more are merged


class Examined(NamedTuple):
    """What decoding a file showed.

    Attributes:
        status: `ok`, or `BadAudioError.reason`.
        detail: of the reason; `SILENT` for an intact recording without sound.
        seconds: the decoded length.
        fingerprint: see `fingerprint`; empty for a bad file.
    """

    status: str
    detail: str
    seconds: float
    fingerprint: np.ndarray


def examine(path: Path) -> Examined:
    """Decode a file completely and compute its fingerprint.

    Raises:
        DataError: if the file became unavailable meanwhile.
    """
    peak = 0.0

    def blocks(audio: decoding.NativeAudio) -> Iterator[np.ndarray]:
        nonlocal peak
        for block in audio.blocks():
            peak = max(peak, float(block.max(initial=0)), -float(block.min(initial=0)))
            yield block

    try:
        with decoding.NativeAudio.open(path) as audio:
            values = fingerprint.fingerprint(blocks(audio), audio.rate)
            return Examined(INTACT, SILENT if peak <= SILENCE else "", audio.frames / audio.rate, values)
    except BadAudioError as error:
        raise_if_transient(error)
        return Examined(error.reason, error.detail, 0.0, np.empty(0, np.uint32))


def examine_recordings(
    paths: Sequence[Path], checksums: Sequence[str | None], store: Store, workers: int | None = None
) -> list[Examined]:
    """Examine files in parallel, unless the store has the result of their content.

    Args:
        paths: the files.
        checksums: of their content; None for an unreadable file.
        store: remembers the results.
        workers: threads; by default one per processor.

    Raises:
        DataError: if a file changed meanwhile.
    """
    memory = _Memory(store)
    keys = [f"{checksum or path}{path.suffix.lower()}" for path, checksum in zip(paths, checksums, strict=True)]
    versions = [FileVersion.of(path) for path in paths]
    results = memory.load()
    first_row = {key: i for i, key in reversed(list(enumerate(keys)))}
    unfinished = sorted(i for key, i in first_row.items() if key not in results)
    stop = threading.Event()

    def examine_row(i: int) -> Examined | None:
        if stop.is_set():
            return None
        if versions[i] is None:
            return Examined(MISSING, "", 0.0, np.empty(0, np.uint32))
        result = examine(paths[i])
        raise_if_changed(paths[i], versions[i])
        return result

    text = f"verifying {len(unfinished):,} of {counted(len(paths), 'recording')}"
    stream = in_parallel(examine_row, unfinished, workers, stop)
    try:
        with show_progress(text, len(unfinished)) as advance, closing(stream):
            for i, result in stream:
                if result is not None:
                    results[keys[i]] = result
                    if checksums[i] is not None and result.status not in TRANSIENT:
                        memory.add(keys[i], result)
                advance(1)
    finally:
        memory.flush()
    memory.merge()
    return [results[key] for key in keys]


def stored_fingerprints(store: Store) -> dict[str, np.ndarray]:
    """The fingerprints of all intact recordings that were examined with a store, by the checksum of their files."""
    results = _Memory(store).load()
    return {key[:SHA256_DIGITS]: result.fingerprint for key, result in results.items() if result.status == INTACT}


class _Memory:
    """Results by content, in files of a folder of the store; those of other versions of the readers are in other folders."""

    def __init__(self, store: Store) -> None:
        command = ffmpeg.find_ffmpeg()
        readers = [soundfile.__libsndfile_version__, ffmpeg.ffmpeg_version(command) if command else ""]
        key = [fingerprint.VERSION, decoding.VERSION, *readers]
        self.folder = store.root / KIND / hashlib.sha256(repr(key).encode()).hexdigest()[:24]
        self._key = {"version": key}
        self._pending: dict[str, Examined] = {}
        self._flushed = time.monotonic()

    def load(self) -> dict[str, Examined]:
        """All results. A damaged file is ignored: its recordings are examined again."""
        results: dict[str, Examined] = {}
        for path in self._segments():
            with suppress(OSError, ValueError, KeyError):
                table = pd.read_parquet(path)
                prints = [np.frombuffer(content, "<u4") for content in table.fingerprint]
                rows = zip(table.status, table.detail, table.seconds, prints, strict=True)
                results |= {key: Examined(*row) for key, row in zip(table.key, rows, strict=True)}
        return results

    def add(self, key: str, result: Examined) -> None:
        """Remember a result, on disk within `FLUSH_INTERVAL`."""
        self._pending[key] = result
        if time.monotonic() - self._flushed > FLUSH_INTERVAL:
            self.flush()

    def flush(self) -> None:
        """Write the results since the last time; a store that cannot be written is not needed."""
        self._flushed = time.monotonic()
        if self._pending:
            with suppress(OSError):
                self._write(self._pending)
                self._pending = {}

    def merge(self) -> None:
        """Put the results of many files into one."""
        segments = self._segments()
        if len(segments) > MAX_SEGMENTS:
            with suppress(OSError):
                merged = self._write(self.load())
                for path in segments:
                    if path != merged:
                        path.unlink(missing_ok=True)

    def _segments(self) -> list[Path]:
        return sorted(self.folder.glob("*.parquet")) if self.folder.is_dir() else []

    def _write(self, results: dict[str, Examined]) -> Path:
        """A file of results, named by their keys, so that processes may write at the same time."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "entry.json").exists():
            source = "results of prepare verify=true, by content"
            write_json(self.folder / "entry.json", {"key": self._key, "files": {}, "source": source})
        table = pd.DataFrame([result._asdict() for result in results.values()])
        table["fingerprint"] = [bits.astype("<u4").tobytes() for bits in table.fingerprint]
        table.insert(0, "key", list(results))
        name = hashlib.sha256("\n".join(sorted(results)).encode("utf-8", "surrogateescape")).hexdigest()
        path = self.folder / f"{name[:24]}.parquet"
        with replacing(path) as scratch:
            table.to_parquet(scratch, index=False)
        return path
