"""What an audio file promises: its rate and length, as far as they can be told without decoding it."""

from __future__ import annotations

import io
import os
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import soundfile

from musicreclass.data.audio import mp3
from musicreclass.data.audio.quiet import quiet
from musicreclass.errors import DataError

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


def header(path: Path, file: Path) -> Header:
    """What a file says of itself; remembered until it changes.

    Args:
        path: the file as the user knows it.
        file: the file to open.

    Raises:
        BadAudioError: if it cannot be read, or is no audio.
    """
    return _header(path, file, *size_and_time(path, file))


def size_and_time(path: Path, file: Path) -> tuple[int, int]:
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
        with quiet(), open_sound(file) as sound:
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


def unbroken(path: Path, file: Path) -> bool:
    """Whether an MP3 file is one frame after the other."""
    try:
        begin = mp3.start(file)
        return begin is not None and mp3.walk(file, begin).whole
    except OSError as error:
        raise BadAudioError(path, "cannot be read", str(error.strerror)) from error


def open_sound(file: Path, head: Header | None = None) -> soundfile.SoundFile:
    """A file opened to decode, with what its header wants put in its place."""
    if head is None or not head.prefix:
        return soundfile.SoundFile(os.fsencode(file))
    with file.open("rb") as raw:
        raw.seek(head.skipped)
        return soundfile.SoundFile(io.BytesIO(head.prefix + raw.read()))
