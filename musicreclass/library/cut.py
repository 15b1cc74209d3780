"""Cuts tracks out of disc images, as FLAC with the same samples. The image is only read."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from musicreclass.data.audio.suffixes import CONVERTED
from musicreclass.library.names import safe_name
from musicreclass.library.transfer import digest
from musicreclass.storage.file_parts import file_of, span_of

SUBTYPES = ("PCM_S8", "PCM_16", "PCM_24")  # that FLAC stores unchanged
CONTAINERS = ("WAV", "WAVEX", "RF64", "W64", "FLAC", "AIFF", "CAF", "AU")  # containers without loss
BLOCK = 1 << 18  # samples


def name_of_cut(path: Path, row: dict[str, Any]) -> str:
    """The name of a track's file: `01 - Artist - Title.flac`, as far as the table states them."""
    number = str(row.get("track") or "").partition(".")[0]
    texts = [str(row.get(name) or "").strip() for name in ("artist", "title")]
    if not texts[1]:
        texts = [file_of(path).stem]
    number = number.zfill(2) if number.isdecimal() else f"{(span_of(path) or (0.0,))[0]:.0f} s"
    return safe_name(" - ".join([number, *filter(None, texts)])) + ".flac"


def tags_of_cut(row: dict[str, Any]) -> dict[str, str]:
    """The tags of a track's file, as far as the table states them."""
    columns = {"title": "title", "artist": "artist", "album": "album", "tracknumber": "track"}
    return {name: str(row[column]) for name, column in columns.items() if row.get(column)}


def cut(path: Path, scratch: Path, tags: dict[str, str]) -> str:
    """Write a track as FLAC, write it to the disk, and compare its samples with those of the image.

    Args:
        path: of the part.
        scratch: replaced if it exists.
        tags: `title`, `artist`, `album`, `tracknumber`.

    Returns:
        the SHA-256 of the file.

    Raises:
        OSError: if either cannot be read or written, or the samples cannot be stored as FLAC; the scratch file was removed.
    """
    scratch.unlink(missing_ok=True)
    if file_of(path).suffix.lower() in CONVERTED:
        raise OSError(errno.ENOTSUP, "its image can only be decoded by ffmpeg; convert it to FLAC first", str(path))
    try:
        with sound_errors(path), soundfile.SoundFile(os.fsencode(file_of(path))) as image:
            if image.format not in CONTAINERS or image.subtype not in SUBTYPES:
                raise OSError(errno.ENOTSUP, "its image has no samples that FLAC stores unchanged", str(path))
            options = {"samplerate": image.samplerate, "channels": image.channels, "subtype": image.subtype}
            with soundfile.SoundFile(os.fsencode(scratch), "x", format="FLAC", **options) as file:
                for name, text in tags.items():
                    setattr(file, name, text)
                for block in samples(image, *bounds(path, image)):
                    file.write(block)
        with scratch.open("rb") as written:
            os.fsync(written.fileno())
        if not has_samples_of(scratch, path):
            raise OSError(errno.EIO, "the cut track differs from the image", str(path))
        return digest(scratch, fresh=True)
    except BaseException:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise


@contextmanager
def sound_errors(path: Path) -> Iterator[None]:
    """Turn errors of libsndfile into those of the file."""
    try:
        yield
    except soundfile.LibsndfileError as error:
        raise OSError(errno.EIO, f"cannot be decoded or written ({error.error_string})", str(path)) from error


def bounds(path: Path, image: soundfile.SoundFile) -> tuple[int, int]:
    """The first sample of a part, and the one after its last."""
    start, stop = span_of(path) or (0.0, image.frames / image.samplerate)
    return round(start * image.samplerate), min(round(stop * image.samplerate), image.frames)


def samples(file: soundfile.SoundFile, start: int, stop: int) -> Iterator[np.ndarray]:
    """Blocks of the samples between two positions, int32 (n, channels)."""
    file.seek(start)
    while start < stop:
        block = file.read(min(BLOCK, stop - start), dtype="int32", always_2d=True)
        if not len(block):
            raise OSError(errno.EIO, "ends early", str(file.name))
        start += len(block)
        yield block


def has_samples_of(file: Path, path: Path) -> bool:
    """Whether a file has exactly the samples of a part.

    Raises:
        OSError: if either cannot be read.
    """
    try:
        track = soundfile.SoundFile(os.fsencode(file))
    except soundfile.LibsndfileError:
        return False  # another file
    with sound_errors(path), track, soundfile.SoundFile(os.fsencode(file_of(path))) as image:
        start, stop = bounds(path, image)
        if (track.frames, track.samplerate, track.channels) != (stop - start, image.samplerate, image.channels):
            return False
        pairs = zip(samples(image, start, stop), samples(track, 0, track.frames), strict=True)
        return all(np.array_equal(one, other) for one, other in pairs)
