"""Decodes any recording, or a part of it, to mono int16 at a requested sample rate.

A recording is decoded in stretches of `BLOCKS_PER_STRETCH` blocks of `BLOCK_SECONDS`, always from the start of a
stretch: the file is opened anew and decoding starts shortly before it. Each block is resampled separately, with extra
samples on both sides that are then discarded. A crop thus costs the blocks that it overlaps and those between them and
the start of their stretch, and it equals the same slice of the whole recording bit for bit. This does not depend on
exact seeking: what libmpg123 decodes from a frame depends, in the last bit, on where decoding started. Only lossless
formats are decoded from the exact sample.

The decoded length is checked against the stated one. A file that ends within `TOLERANCE` of it (a wrong frame count,
encoder padding) is padded with silence; one that ends earlier is truncated. Ogg files, and MP3 streams without a length
frame, state no length: if truncated, they are shorter recordings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
import soxr

from musicreclass.data.audio.c_stderr import muted_c_stderr
from musicreclass.data.audio.ffmpeg import readable_file
from musicreclass.data.audio.header import (
    BadAudioError,
    Header,
    has_contiguous_frames,
    open_sound,
    raise_if_unreadable,
    read_header,
    size_and_times,
)
from musicreclass.storage.file_parts import file_of

VERSION = 1  # of the samples produced; part of the key of everything stored from them
BLOCK_SECONDS = 10
BLOCKS_PER_STRETCH = 3
MARGIN = 0.1  # minimum seconds on both sides of a block; longer than the resampler's filter


def probe(path: Path, sample_rate: int, min_seconds: float = 0.0) -> int:
    """The length that a file's header states, in samples at `sample_rate`.

    Args:
        path: the file.
        sample_rate: of the result.
        min_seconds: minimum duration of a recording.

    Raises:
        BadAudioError: if the file is not a recording, or too short.
    """
    with readable_file(path) as file:
        header = read_header(path, file)
    check_duration(path, header, min_seconds)
    return header.length(sample_rate)


def check_duration(path: Path, header: Header, min_seconds: float) -> None:
    """Make sure that a recording has a minimum duration by its header.

    Raises:
        BadAudioError: if it is shorter.
    """
    if header.frames < min_seconds * header.rate:
        raise BadAudioError(path, "too short", f"{header.frames / header.rate:.2f} s")


def examine(path: Path, sample_rate: int, min_seconds: float = 0.0) -> int:
    """As `probe`, after verifying that every part of the file can be decoded.

    PCM files, and MP3 files with contiguous frames, are verified by decoding their end, in a few milliseconds. Others
    are decoded completely.

    Args:
        path: the file.
        sample_rate: of the result.
        min_seconds: minimum duration of a recording.

    Raises:
        BadAudioError: if the file is not a recording, is truncated, or contains NaN or infinite samples.
    """
    with readable_file(path) as file:
        header = read_header(path, file)
        check_duration(path, header, min_seconds)
        if header.verify_end_only or (header.verify_end_only is None and has_contiguous_frames(path, file)):
            last = max(0, header.frames - header.tolerance - 1)
            decode_native(path, file, header, last, last, header.frames)
        else:
            blocks = _block_count(header, sample_rate)
            for first in range(0, blocks, BLOCKS_PER_STRETCH):
                span = _native_span(header, sample_rate, first, min(first + BLOCKS_PER_STRETCH, blocks))
                decode_native(path, file, header, *span)
        return header.length(sample_rate)


@lru_cache(maxsize=1 << 16)
def _examined_length(path: Path, sample_rate: int, size: int, mtime: int, ctime: int) -> int:
    return examine(path, sample_rate)


def decode(path: Path, sample_rate: int, start: int = 0, stop: int | None = None) -> np.ndarray:
    """A recording or a part of it: the mean of its channels, resampled.

    Args:
        path: the file.
        sample_rate: of the result, and of `start` and `stop`.
        start: the first sample.
        stop: the sample after the last; None for the end.

    Returns:
        int16 (stop - start,), clipped at full scale.

    Raises:
        BadAudioError: if any part of the recording is bad, even outside of the requested one.
        ValueError: if the recording does not contain the requested part.
    """
    complete = start == 0 and stop is None  # decoding everything verifies everything
    length = (
        probe(path, sample_rate)
        if complete
        else _examined_length(path, sample_rate, *size_and_times(path, file_of(path)))
    )
    stop = length if stop is None else stop
    if not 0 <= start <= stop <= length:
        raise ValueError(f"{path}: samples {start} to {stop} are out of range; it has {length}")
    return decode_examined(path, sample_rate, start, stop)


def decode_examined(path: Path, sample_rate: int, start: int, stop: int) -> np.ndarray:
    """As `decode`, of a file that was already examined."""
    pieces = [piece for _, piece in decode_blocks(path, sample_rate, start, stop)]
    return pieces[0].copy() if len(pieces) == 1 else np.concatenate([np.empty(0, np.int16), *pieces])


def decode_blocks(path: Path, sample_rate: int, start: int, stop: int) -> Iterator[tuple[int, np.ndarray]]:
    """As `decode_examined`, block by block: the first sample of each piece, and int16 (m,)."""
    if stop <= start:
        return
    size = BLOCK_SECONDS * sample_rate
    with readable_file(path) as file:
        header = read_header(path, file)
        blocks = _block_count(header, sample_rate)
        first, last = min(start // size, blocks - 1), min(-(-stop // size), blocks)
        for stretch in range(first // BLOCKS_PER_STRETCH, -(-last // BLOCKS_PER_STRETCH)):
            low, high = max(first, stretch * BLOCKS_PER_STRETCH), min(last, (stretch + 1) * BLOCKS_PER_STRETCH)
            span = _native_span(header, sample_rate, low, high)
            native = decode_native(path, file, header, *span)
            for number in range(low, high):
                block = _resampled_block(native, span[1], header, sample_rate, number)
                at = number * size
                yield max(start, at), block[max(0, start - at) : stop - at]


@dataclass(frozen=True)
class NativeAudio:
    """A recording at its own sample rate.

    Attributes:
        path: the user's path of the file.
        file: the file to open.
        header: of the file.
    """

    path: Path
    file: Path
    header: Header

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[NativeAudio]:
        """Open a file.

        Raises:
            BadAudioError: if it is not a recording.
        """
        with readable_file(path) as file:
            yield cls(path, file, read_header(path, file))

    @property
    def rate(self) -> int:
        """Samples per second."""
        return self.header.rate

    @property
    def frames(self) -> int:
        """The stated length in samples."""
        return self.header.frames

    def blocks(self) -> Iterator[np.ndarray]:
        """The mean of the channels as blocks of a stretch, float32 in [-1, 1].

        Raises:
            BadAudioError: if any part of the recording is bad.
        """
        step = BLOCK_SECONDS * BLOCKS_PER_STRETCH * self.rate
        for start in range(0, self.frames, step):
            yield decode_native(self.path, self.file, self.header, start, start, min(start + step, self.frames))


def _block_count(header: Header, sample_rate: int) -> int:
    """Number of blocks. The last may be up to a second longer, since clips of 30.003 s are common."""
    return max(1, -(-(header.length(sample_rate) - sample_rate) // (BLOCK_SECONDS * sample_rate)))


def _margins(header: Header, sample_rate: int) -> tuple[int, int]:
    """Extra samples to resample on each side of a block, at the file's rate and at the target rate."""
    if header.rate == sample_rate:
        return 0, 0
    unit = math.gcd(header.rate, sample_rate)  # 1 / unit seconds are a whole number of samples at both rates
    units = math.ceil(MARGIN * unit)
    return units * header.rate // unit, units * sample_rate // unit


def _native_span(header: Header, sample_rate: int, low: int, high: int) -> tuple[int, int, int]:
    """The samples at the file's rate that blocks `low` to `high` of one stretch need.

    Returns:
        where to start decoding, the first sample, and the sample after the last.
    """
    step, margin = BLOCK_SECONDS * header.rate, _margins(header, sample_rate)[0]
    start = max(0, low * step - margin)
    stretch = low // BLOCKS_PER_STRETCH * BLOCKS_PER_STRETCH
    decode_from = start if header.exact_seek else max(0, stretch * step - margin)
    stop = header.frames if high == _block_count(header, sample_rate) else high * step
    return decode_from, start, stop + margin


def _resampled_block(native: np.ndarray, at: int, header: Header, sample_rate: int, number: int) -> np.ndarray:
    """One block at the target rate, int16 (BLOCK_SECONDS * sample_rate,); the last may be longer or shorter.

    Args:
        native: samples at the file's rate, float32; they are overwritten.
        at: position of the first of them in the file.
        header: of the file.
        sample_rate: the target rate.
        number: which block.
    """
    _, start, stop = _native_span(header, sample_rate, number, number + 1)
    samples = native[start - at : stop - at]
    if header.rate != sample_rate:
        samples = soxr.resample(samples, header.rate, sample_rate, quality="HQ")
    skip, size = _margins(header, sample_rate)[1] if number else 0, BLOCK_SECONDS * sample_rate
    if number + 1 == _block_count(header, sample_rate):
        size = header.length(sample_rate) - number * size
    return float_to_int16(samples[skip : skip + size])


def decode_native(path: Path, file: Path, header: Header, decode_from: int, start: int, stop: int) -> np.ndarray:
    """Samples `start` to `stop` at the file's rate, mono float32 (stop - start,), followed by silence after the end.

    Args:
        path: the user's path of the file.
        file: the file to open.
        header: of the file.
        decode_from: where to start decoding.
        start: the first sample.
        stop: the sample after the last.

    Raises:
        BadAudioError: if the file is truncated or damaged.
    """
    needed, skipped = min(stop, header.frames) - start, start + header.offset
    at = max(0, decode_from + header.offset - header.preroll)
    try:
        with muted_c_stderr(), open_sound(file, header) as reader:
            if at and reader.seek(at) != at:  # libmpg123 failed on the way
                raise_if_unreadable(path, file)
                raise BadAudioError(path, "damaged", f"before {start / header.rate:.0f} s")
            frames = reader.read(skipped - at + needed, dtype="float32", always_2d=True)[skipped - at :]
    except soundfile.LibsndfileError as error:
        raise_if_unreadable(path, file)
        raise BadAudioError(path, "damaged", f"near {start / header.rate:.0f} s") from error
    except OSError as error:
        raise BadAudioError(path, "cannot be read", str(error.strerror)) from error
    if len(frames) < needed and start + len(frames) < header.frames - header.tolerance:
        raise_if_unreadable(path, file)
        raise BadAudioError(path, "truncated", f"its header states {header.frames / header.rate:.1f} s")
    mono = np.empty(stop - start, np.float32)
    mono[len(frames) :] = 0
    _average_channels(frames, out=mono[: len(frames)])
    if len(frames) and not np.isfinite(np.ptp(mono[: len(frames)])):
        raise BadAudioError(path, "damaged", "contains NaN or infinite samples")
    return mono


def _average_channels(frames: np.ndarray, out: np.ndarray) -> None:
    """Write the mean of the channels (n, channels) to `out` (n,)."""
    channels = frames.shape[1]
    if channels == 1:
        out[:] = frames[:, 0]
        return
    np.add(frames[:, 0], frames[:, 1], out=out)  # column by column: far faster than mean(axis=1)
    for i in range(2, channels):
        out += frames[:, i]
    out *= np.float32(1 / channels)


def float_to_int16(samples: np.ndarray) -> np.ndarray:
    """float32 in [-1, 1) as int16; clips, and overwrites its argument."""
    samples *= np.float32(32768)
    np.rint(samples, out=samples)
    return np.clip(samples, -32768, 32767, out=samples).astype(np.int16)
