"""Decoding: any recording as mono int16 at the rate that is asked for, whole or a part of it.

A recording is decoded in stretches of `RUN` blocks of `BLOCK` seconds, always from a stretch's beginning: the file is
opened afresh and sought to a little before it. Each block is resampled for itself, with more on both sides that is cut
off. So a crop costs the blocks it touches and what lies between them and the beginning of their stretch, and is bit
for bit the same slice of the whole recording, however it is read. That holds by construction, not by the decoders'
exactness: what libmpg123 makes of a frame depends in the last bit on where it began. Only lossless formats are sought
to the very place.

What a file delivers is checked against what its header promises. A file that ends within the last `TOLERANCE` of what
it promised (a wrong count of frames, an encoder's padding) is filled up with silence; one that ends earlier is cut
short. An Ogg file and an MP3 stream without a header frame promise nothing: cut, they are shorter recordings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
import soxr

from musicreclass.data.audio.ffmpeg import playable
from musicreclass.data.audio.header import BadAudioError, Header, header, open_sound, size_and_time, unbroken
from musicreclass.data.audio.quiet import quiet

VERSION = 1  # of what comes out: part of the key of whatever keeps it
DECODED = (".wav", ".au", ".aif", ".aiff", ".flac", ".ogg", ".oga", ".opus", ".mp3")
BLOCK = 10  # seconds
RUN = 3  # blocks of a stretch
MARGIN = 0.1  # seconds at least, on both sides of a block: more than the resampler's filter is long


def probe(path: Path, sample_rate: int) -> int:
    """The length that a file's header promises, in samples at `sample_rate`.

    Raises:
        BadAudioError: if it is no recording.
    """
    with playable(path) as file:
        return header(path, file).length(sample_rate)


def examine(path: Path, sample_rate: int, shortest: float = 0.0) -> int:
    """The same, once it is sure that the file delivers what it promises: after that, no part of it fails to be read.

    PCM files, and MP3 files with one frame after the other, are looked at near their end, in a few milliseconds. Others
    are decoded whole.

    Args:
        path: the file.
        sample_rate: of the result.
        shortest: seconds that a recording must have.

    Raises:
        BadAudioError: if the file is no recording, delivers less than it promises, or holds what are no numbers.
    """
    with playable(path) as file:
        head = header(path, file)
        if head.frames < shortest * head.rate:
            raise BadAudioError(path, "too short", f"{head.frames / head.rate:.2f} s")
        if head.proven or (head.proven is None and unbroken(path, file)):
            last = max(0, head.frames - head.tolerance - 1)
            samples(path, file, head, last, last, head.frames)
        else:
            blocks = _blocks(head, sample_rate)
            for low in range(0, blocks, RUN):
                samples(path, file, head, *_span(head, sample_rate, low, min(low + RUN, blocks)))
        return head.length(sample_rate)


@lru_cache(maxsize=1 << 16)
def _examined(path: Path, sample_rate: int, size: int, time: int) -> int:
    return examine(path, sample_rate)


def read(path: Path, sample_rate: int, start: int = 0, stop: int | None = None) -> np.ndarray:
    """A recording or a part of it: the mean of its channels, resampled.

    Args:
        path: the file.
        sample_rate: of the result; `start` and `stop` count in it.
        start: the first sample.
        stop: the sample after the last; None for the end.

    Returns:
        int16 (stop - start,); what is louder than full scale is clipped.

    Raises:
        BadAudioError: if the recording is bad, inside or outside of what is asked for.
        ValueError: if the recording has no such part.
    """
    whole = start == 0 and stop is None  # reading all of it is an examination, too
    length = probe(path, sample_rate) if whole else _examined(path, sample_rate, *size_and_time(path, path))
    stop = length if stop is None else stop
    if not 0 <= start <= stop <= length:
        raise ValueError(f"{path}: no samples {start} to {stop}, it has {length}")
    return gathered(path, sample_rate, start, stop)


def gathered(path: Path, sample_rate: int, start: int, stop: int) -> np.ndarray:
    """As `read`, of a file that was examined before."""
    found = [piece for _, piece in pieces(path, sample_rate, start, stop)]
    return found[0].copy() if len(found) == 1 else np.concatenate([np.empty(0, np.int16), *found])


def pieces(path: Path, sample_rate: int, start: int, stop: int) -> Iterator[tuple[int, np.ndarray]]:
    """As `gathered`, block by block: the sample at which each piece begins, and int16 (m,)."""
    if stop <= start:
        return
    size = BLOCK * sample_rate
    with playable(path) as file:
        head = header(path, file)
        blocks = _blocks(head, sample_rate)
        first, last = min(start // size, blocks - 1), min(-(-stop // size), blocks)
        for run in range(first // RUN, -(-last // RUN)):
            low, high = max(first, run * RUN), min(last, (run + 1) * RUN)
            span = _span(head, sample_rate, low, high)
            sound = samples(path, file, head, *span)
            for number in range(low, high):
                block = _block(sound, span[1], head, sample_rate, number)
                at = number * size
                yield max(start, at), block[max(0, start - at) : stop - at]


def _blocks(head: Header, sample_rate: int) -> int:
    """How many blocks there are; the last takes in up to a second more, for clips of 30.003 s are common."""
    return max(1, -(-(head.length(sample_rate) - sample_rate) // (BLOCK * sample_rate)))


def _margin(head: Header, sample_rate: int) -> tuple[int, int]:
    """What is resampled too much on either side of a block, in samples of the file and of the result."""
    if head.rate == sample_rate:
        return 0, 0
    unit = math.gcd(head.rate, sample_rate)  # 1 / unit seconds are a whole number of samples at both rates
    units = math.ceil(MARGIN * unit)
    return units * head.rate // unit, units * sample_rate // unit


def _span(head: Header, sample_rate: int, low: int, high: int) -> tuple[int, int, int]:
    """What some blocks of one stretch are made of, in the file's own samples: where to begin, the first, the end."""
    step, margin = BLOCK * head.rate, _margin(head, sample_rate)[0]
    start = max(0, low * step - margin)
    begin = start if head.exact else max(0, low // RUN * RUN * step - margin)
    return begin, start, (head.frames if high == _blocks(head, sample_rate) else high * step) + margin


def _block(sound: np.ndarray, at: int, head: Header, sample_rate: int, number: int) -> np.ndarray:
    """One block at the target rate, int16 (BLOCK * sample_rate,) or longer or shorter for the last.

    Args:
        sound: some of the file's own samples, float32; they are overwritten.
        at: the first of them.
        number: which block.
    """
    _, start, stop = _span(head, sample_rate, number, number + 1)
    sound = sound[start - at : stop - at]
    if head.rate != sample_rate:
        sound = soxr.resample(sound, head.rate, sample_rate, quality="HQ")
    skip, size = _margin(head, sample_rate)[1] if number else 0, BLOCK * sample_rate
    if number + 1 == _blocks(head, sample_rate):
        size = head.length(sample_rate) - number * size
    return quantised(sound[skip : skip + size])


def samples(path: Path, file: Path, head: Header, begin: int, start: int, stop: int) -> np.ndarray:
    """Some of a file's own samples, mono float32 (stop - start,), as decoding from `begin` on gives them.

    Beyond the end of the recording there is silence.

    Raises:
        BadAudioError: if the file ends before its time, or breaks.
    """
    need = min(stop, head.frames) - start
    at = max(0, begin - head.preroll)
    try:
        with quiet(), open_sound(file, head) as sound:
            if at and sound.seek(at) != at:  # libmpg123 stumbled on the way
                raise BadAudioError(path, "damaged", f"ahead of {start / head.rate:.0f} s")
            found = sound.read(start - at + need, dtype="float32", always_2d=True)[start - at :]
    except soundfile.LibsndfileError as error:
        raise BadAudioError(path, "damaged", f"near {start / head.rate:.0f} s") from error
    except OSError as error:
        raise BadAudioError(path, "cannot be read", str(error.strerror)) from error
    end = start + len(found)
    if len(found) < need and end < head.frames - head.tolerance:
        raise BadAudioError(path, "cut short", f"it tells of {head.frames / head.rate:.1f} s")
    out = np.empty(stop - start, np.float32)
    mono, channels = out[: len(found)], found.shape[1]
    out[len(found) :] = 0
    if channels == 1:
        mono[:] = found[:, 0]
    else:
        np.add(found[:, 0], found[:, 1], out=mono)  # column by column: far faster than mean(axis=1)
        for i in range(2, channels):
            mono += found[:, i]
        mono *= np.float32(1 / channels)
    if len(mono) and not np.isfinite(np.ptp(mono)):
        raise BadAudioError(path, "damaged", "it holds samples that are no numbers")
    return out


def quantised(sound: np.ndarray) -> np.ndarray:
    """float32 in [-1, 1) as int16; clips, and overwrites its argument."""
    sound *= np.float32(32768)
    np.rint(sound, out=sound)
    return np.clip(sound, -32768, 32767, out=sound).astype(np.int16)
