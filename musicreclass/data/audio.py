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

import ctypes
import io
import math
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
import soxr

from musicreclass.data import mp3
from musicreclass.errors import DataError

VERSION = 1  # of what comes out: part of the key of whatever keeps it
DECODED = (".wav", ".au", ".aif", ".aiff", ".flac", ".ogg", ".oga", ".opus", ".mp3")
CONVERTED = (".m4a", ".aac", ".mp4", ".wma")  # by ffmpeg, whole, at every read: such files are best kept in a cache
BLOCK = 10  # seconds
RUN = 3  # blocks of a stretch
MARGIN = 0.1  # seconds at least, on both sides of a block: more than the resampler's filter is long
PREROLL = 0.5  # seconds ahead of a stretch in an MP3: a frame of a low bit rate borrows bits from up to 20 before it
TOLERANCE = (1.0, 0.1)  # seconds, share of the recording; the smaller of the two
SHORTENED = re.compile(r"(?:data|Data Size|SSND)\s*: (\d+) \(should be (\d+)\)")  # in libsndfile's log, in bytes
STREAMED = 0x7FFF0000  # a size from here on is what programs write that do not know it


class BadAudioError(DataError):
    """A file that cannot be used as a recording.

    Attributes:
        path: the file.
        reason: `no such file`, `not a file`, `cannot be read`, `empty file`, `not audio`, `cut short`, `damaged`,
            `too short` or `needs ffmpeg`: a few words, to count files by.
    """

    def __init__(self, path: Path, reason: str, detail: str = "") -> None:
        super().__init__(f"{path}: {reason}{f' ({detail})' if detail else ''}")
        self.path, self.reason, self.detail = path, reason, detail

    def __reduce__(self) -> tuple[type[BadAudioError], tuple[Path, str, str]]:
        return type(self), (self.path, self.reason, self.detail)


@dataclass(frozen=True)
class Header:
    """What a file says of itself.

    Attributes:
        rate: samples per second.
        frames: the promised length in samples at that rate.
        proven: whether a look near the end proves the rest, since the file cannot break ahead of it; None if its frames
            have to be gone over to know.
        exact: whether any place may be sought to, since decoding has no state.
        preroll: samples to decode ahead of a stretch.
        prefix: what has to stand in place of the file's first `skipped` bytes for libsndfile to read all of it.
    """

    rate: int
    frames: int
    proven: bool | None
    exact: bool = False
    preroll: int = 0
    prefix: bytes = b""
    skipped: int = 0

    @property
    def tolerance(self) -> int:
        """How many samples may be missing at the end."""
        return int(min(TOLERANCE[0] * self.rate, TOLERANCE[1] * self.frames))

    def length(self, sample_rate: int) -> int:
        """The promised length in samples at another rate."""
        return (2 * self.frames * sample_rate + self.rate) // (2 * self.rate)

    def blocks(self, sample_rate: int) -> int:
        """How many blocks there are; the last takes in up to a second more, for clips of 30.003 s are common."""
        return max(1, -(-(self.length(sample_rate) - sample_rate) // (BLOCK * sample_rate)))


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
        if head.proven or (head.proven is None and _unbroken(path, file)):
            last = max(0, head.frames - head.tolerance - 1)
            samples(path, file, head, last, last, head.frames)
        else:
            blocks = head.blocks(sample_rate)
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
    length = probe(path, sample_rate) if whole else _examined(path, sample_rate, *_stamp(path, path))
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
        blocks = head.blocks(sample_rate)
        first, last = min(start // size, blocks - 1), min(-(-stop // size), blocks)
        for run in range(first // RUN, -(-last // RUN)):
            low, high = max(first, run * RUN), min(last, (run + 1) * RUN)
            span = _span(head, sample_rate, low, high)
            sound = samples(path, file, head, *span)
            for number in range(low, high):
                block = _block(sound, span[1], head, sample_rate, number)
                at = number * size
                yield max(start, at), block[max(0, start - at) : stop - at]


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
    return begin, start, (head.frames if high == head.blocks(sample_rate) else high * step) + margin


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
    if number + 1 == head.blocks(sample_rate):
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
        with quiet(), _open(file, head) as sound:
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


def header(path: Path, file: Path) -> Header:
    """What a file says of itself; remembered until it changes.

    Args:
        path: the file as the user knows it.
        file: the file to open.

    Raises:
        BadAudioError: if it cannot be read, or is no audio.
    """
    return _header(path, file, *_stamp(path, file))


def _stamp(path: Path, file: Path) -> tuple[int, int]:
    """Size and time of a file."""
    try:
        stat = file.stat()
    except OSError as error:
        missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
        raise BadAudioError(
            path, "no such file" if missing else "cannot be read", "" if missing else str(error.strerror)
        ) from error
    return stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=1 << 16)
def _header(path: Path, file: Path, size: int, time: int) -> Header:
    if not file.is_file():
        raise BadAudioError(path, "not a file")
    if size == 0:
        raise BadAudioError(path, "empty file")
    try:
        file.open("rb").close()  # libsndfile does not tell why it cannot
        with quiet(), _open(file) as sound:
            kind, told = sound.format, sound.extra_info
            plain = sound.subtype.startswith(("PCM", "ULAW", "ALAW"))
            exact = plain or sound.subtype in ("FLOAT", "DOUBLE")
            head = Header(sound.samplerate, sound.frames, proven=plain and kind != "FLAC", exact=exact)
        if kind == "MP3":
            head = _counted(path, file, head)
    except OSError as error:
        raise BadAudioError(path, "cannot be read", str(error.strerror)) from error
    except soundfile.LibsndfileError as error:
        raise BadAudioError(path, "not audio") from error
    if head.frames == 0:
        raise BadAudioError(path, "too short", "it holds no samples")
    if head.frames > 1 << 40:
        raise BadAudioError(path, "cannot be read", "it does not tell its length")
    for promised, there in SHORTENED.findall(told):  # libsndfile corrects the length in silence
        whole = head.frames * int(promised) // max(int(there), 1)
        if int(promised) < STREAMED and head.frames < whole - min(TOLERANCE[0] * head.rate, TOLERANCE[1] * whole):
            raise BadAudioError(path, "cut short", f"{head.frames / head.rate:.1f} of {whole / head.rate:.1f} s")
    return head


def _counted(path: Path, file: Path, head: Header) -> Header:
    """The header of an MP3 file, with its true length where libsndfile has guessed it."""
    begin = mp3.start(file)
    head = replace(head, preroll=int(PREROLL * head.rate))
    if begin is None:
        return head
    if begin.told:
        return replace(head, proven=None)
    stream = mp3.walk(file, begin)
    if stream.lost > TOLERANCE[1] * file.stat().st_size:
        raise BadAudioError(path, "damaged", f"near {stream.samples / head.rate:.0f} s")
    head = replace(head, proven=stream.whole)
    if stream.samples - head.frames <= TOLERANCE[0] * head.rate:
        return replace(head, frames=min(stream.samples, head.frames))
    return replace(head, frames=stream.samples, prefix=mp3.counted(begin.head, stream.samples), skipped=begin.at)


def _unbroken(path: Path, file: Path) -> bool:
    """Whether an MP3 file is one frame after the other."""
    try:
        begin = mp3.start(file)
        return begin is not None and mp3.walk(file, begin).whole
    except OSError as error:
        raise BadAudioError(path, "cannot be read", str(error.strerror)) from error


def _open(file: Path, head: Header | None = None) -> soundfile.SoundFile:
    if head is None or not head.prefix:
        return soundfile.SoundFile(os.fsencode(file))
    with file.open("rb") as raw:
        raw.seek(head.skipped)
        return soundfile.SoundFile(io.BytesIO(head.prefix + raw.read()))


@contextmanager
def playable(path: Path) -> Iterator[Path]:
    """The file itself, or where libsndfile does not know the format, a WAV file that ffmpeg makes of it for the while.

    Raises:
        BadAudioError: if there is no ffmpeg, or it cannot read the file.
    """
    if path.suffix.lower() not in CONVERTED:
        yield path
        return
    _stamp(path, path)
    ffmpeg = find_ffmpeg()
    if ffmpeg is None:
        raise BadAudioError(
            path, "needs ffmpeg", f"{path.suffix} files are read with the ffmpeg command, which is not on PATH"
        )
    with tempfile.TemporaryDirectory(prefix="musicreclass-") as folder:
        wav = Path(folder) / "sound.wav"
        words = [ffmpeg, "-hide_banner", "-nostats", "-nostdin", "-i", f"file:{path.absolute()}", "-map", "0:a:0"]
        done = subprocess.run([*words, "-c:a", "pcm_f32le", str(wav)], capture_output=True, check=False)
        if done.returncode or not wav.is_file():
            raise BadAudioError(path, "not audio", "ffmpeg cannot read it")
        promised = re.search(rb"Duration: (\d+):(\d+):([\d.]+)", done.stderr)
        if promised:
            hours, minutes, seconds = map(float, promised.groups())
            whole = 3600 * hours + 60 * minutes + seconds
            there = soundfile.info(wav).duration
            if there < whole - min(TOLERANCE[0], TOLERANCE[1] * whole):
                raise BadAudioError(path, "cut short", f"{there:.1f} of {whole:.1f} s")
        yield wav


def find_ffmpeg() -> str | None:
    """The ffmpeg command, if there is one."""
    return shutil.which("ffmpeg")


def _c_stderr() -> tuple[ctypes.c_void_p, int | None] | None:
    """C's variable `stderr` and a stream that leads nowhere, where the C library has such a variable."""
    try:
        libc = ctypes.CDLL(None)
        libc.fopen.restype = ctypes.c_void_p
        return ctypes.c_void_p.in_dll(libc, "stderr"), libc.fopen(b"/dev/null", b"w")
    except (OSError, ValueError, AttributeError):
        return None


_quiet_lock, _quiet_depth, _c = threading.Lock(), 0, _c_stderr()
_loud = _c[0].value if _c else None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep libmpg123 from printing: to sought-out places of good files, too, it says that bits are missing.

    C's `stderr` points elsewhere while any thread is inside. The file descriptor stays as it is, and with it all that
    Python prints.
    """
    global _quiet_depth
    with _quiet_lock:
        _quiet_depth += 1
        if _c and _quiet_depth == 1:
            _c[0].value = _c[1]
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _c and not _quiet_depth:
                _c[0].value = _loud


def _after_fork() -> None:
    global _quiet_lock, _quiet_depth
    _quiet_lock, _quiet_depth = threading.Lock(), 0
    if _c:
        _c[0].value = _loud


os.register_at_fork(after_in_child=_after_fork)
