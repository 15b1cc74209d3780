"""The lengths of many recordings, and which are bad: examined once, and stored."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from musicreclass.data.audio import decoding, ffmpeg
from musicreclass.data.audio.header import BadAudioError
from musicreclass.data.audio.suffixes import CONVERTED
from musicreclass.data.parallel import in_parallel, show_progress
from musicreclass.errors import DataError
from musicreclass.plurals import counted
from musicreclass.storage.atomic import replacing, write_json
from musicreclass.storage.file_parts import file_of
from musicreclass.storage.store import Store, common_folder
from musicreclass.storage.versions import FileVersion, files_digest, raise_if_changed

VERSION = 2  # of the files here and in waveform_store; decoding.VERSION is that of the samples
LENGTHS, BAD = "lengths.npy", "bad.json"
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


def store_key(paths: Sequence[Path], sample_rate: int, key: str | None) -> dict[str, Any]:
    """Everything that the result depends on. Includes the readers, suffixes and file permissions, so that installing, renaming
    or granting them causes another attempt."""
    files = [file_of(path) for path in paths]
    suffixes = [file.suffix.lower() for file in files]
    uses_ffmpeg = any(suffix in CONVERTED for suffix in suffixes)
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


def stored_entry(
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
        return measure_lengths(paths, sample_rate, workers, missing, current)

    def build(folder: Path) -> None:
        save_lengths(folder, *measure_lengths(paths, sample_rate, workers, missing, current))

    return read_lengths(stored_entry("recordings", store, paths, store_key(paths, sample_rate, key), build))


def measure_lengths(
    paths: Sequence[Path],
    sample_rate: int,
    workers: int | None,
    missing: Collection[int],
    versions: Sequence[FileVersion | None],
) -> tuple[np.ndarray, dict[int, str]]:
    """As `examine_all`, without a store."""

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
    with show_progress(f"examining {counted(len(paths), 'recording')}", len(paths)) as advance, closing(results):
        for i, result in results:
            if isinstance(result, str):
                bad[i] = result
            else:
                lengths[i] = result
            advance(1)
    return lengths, dict(sorted(bad.items()))


def save_lengths(folder: Path, lengths: np.ndarray, bad: dict[int, str]) -> None:
    """Write what `read_lengths` reads."""
    with replacing(folder / LENGTHS) as scratch, scratch.open("wb") as file:
        np.save(file, lengths)
    write_json(folder / BAD, bad)


def read_lengths(folder: Path) -> tuple[np.ndarray, dict[int, str]]:
    """The contents of an entry of the store, as `examine_all` returns them."""
    lengths = np.load(folder / LENGTHS)
    bad = {int(i): str(reason) for i, reason in json.loads((folder / BAD).read_text(encoding="utf-8")).items()}
    lengths[list(bad)] = 0
    return lengths, bad
