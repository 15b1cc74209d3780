"""The sample rate and length that an audio file states, as far as they are known without decoding."""

from __future__ import annotations

import io
import stat
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import soundfile

from musicreclass.data.audio import mp3
from musicreclass.data.audio.c_stderr import muted_c_stderr
from musicreclass.data.audio.containers import UNVERIFIABLE, available_fraction, stated_span
from musicreclass.data.audio.content import ffmpeg_format, has_id3_tag, has_second_file, substitute
from musicreclass.data.audio.opening import open_file
from musicreclass.errors import DataError
from musicreclass.storage.file_parts import file_of, span_of

PREROLL = 0.5  # seconds decoded before a stretch of an MP3: frames of a low bit rate borrow bits from up to 20 before
RATES = (1000, 1_000_000)  # Hz; a damaged header could otherwise ask for any amount of memory, or crash the resampler
MAX_FRAMES = 1 << 40  # libsndfile states more if it does not know the length
REMEDIES = {  # by the reason of a `BadAudioError`
    "git lfs pointer": "run git lfs pull",
    "web page": "download the file again",
    "joined files": "split them, or convert them to one file",
    "needs ffmpeg": "install ffmpeg",
}
TOLERANCE = (1.0, 0.1)  # seconds, fraction of the recording; the smaller of the two


class BadAudioError(DataError):
    """A file that cannot be used as a recording; `kind` is the reason with underscores.

    Attributes:
        path: the file.
        reason: `no such file`, `not a file`, `cannot be read`, `empty file`, `not audio`, `git lfs pointer`, `web page`,
            `joined files`, `not supported`, `truncated`, `damaged`, `too short` or `needs ffmpeg`; files are counted by it.
    """

    def __init__(self, path: Path, reason: str, detail: str = "") -> None:
        message = f"{path}: {reason}{f' ({detail})' if detail else ''}"
        super().__init__(message, kind=reason.replace(" ", "_"), key=path)
        self.path, self.reason, self.detail = path, reason, detail

    def __reduce__(self) -> tuple[type[BadAudioError], tuple[Path, str, str]]:
        return type(self), (self.path, self.reason, self.detail)


@dataclass(frozen=True)
class Header:
    """What is known of a file before decoding.

    Attributes:
        rate: samples per second.
        frames: the stated length in samples at that rate.
        verify_end_only: whether decoding the end is enough to verify the file, since it cannot break before; None if
            that depends on whether its frames are contiguous.
        exact_seek: whether decoding may start at any sample, since the codec has no state.
        preroll: samples to decode before a stretch.
        offset: samples of the file before the recording, which is a part of it; all other positions count from there.
        prefix: bytes that must replace the first `skipped` bytes of the file for libsndfile to read all of it.
    """

    rate: int
    frames: int
    verify_end_only: bool | None
    exact_seek: bool = False
    preroll: int = 0
    offset: int = 0
    prefix: bytes = b""
    skipped: int = 0

    @property
    def tolerance(self) -> int:
        """How many samples may be missing at the end."""
        return int(tolerated_loss(self.frames, self.rate))

    def length(self, sample_rate: int) -> int:
        """The stated length in samples at another rate."""
        return (2 * self.frames * sample_rate + self.rate) // (2 * self.rate)

    def part(self, start: float, stop: float) -> Header:
        """The header of the part between two times in seconds."""
        first, last = (min(round(time * self.rate), self.frames) for time in (start, stop))
        return replace(self, offset=first, frames=max(0, last - first))


def tolerated_loss(length: float, rate: float = 1.0) -> float:
    """How much may be missing at the end of a recording, in samples at `rate` (by default, in seconds)."""
    return min(TOLERANCE[0] * rate, TOLERANCE[1] * length)


def read_header(path: Path, file: Path) -> Header:
    """The header of a file, cached until the file changes.

    Args:
        path: the user's path of the file, or of a part of it.
        file: the file to open.

    Raises:
        BadAudioError: if the file cannot be read or is not audio.
    """
    header = _read_header(file_of(path), file, *size_and_times(path, file))
    if (span := span_of(path)) is None:
        return header
    header = header.part(*span)
    if header.frames == 0:
        raise BadAudioError(path, "too short", "the file ends before this part")
    return header


def size_and_times(path: Path, file: Path) -> tuple[int, int, int]:
    """Size of a file in bytes, and its modification and change times in nanoseconds.

    Raises:
        BadAudioError: if it does not exist, or is not a regular file; opening a pipe or a device could block for ever.
    """
    try:
        status = file.stat()
    except OSError as error:
        missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
        raise BadAudioError(
            path, "no such file" if missing else "cannot be read", "" if missing else str(error.strerror)
        ) from error
    if not stat.S_ISREG(status.st_mode):
        raise BadAudioError(path, "not a file")
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def raise_if_unreadable(path: Path, file: Path | None = None) -> None:
    """Read a file that failed to decode from start to end: a decoder does not report errors of the drive.

    Args:
        path: the user's path of the file.
        file: the file to open, if another.

    Raises:
        BadAudioError: `cannot be read`, if reading fails.
    """
    try:
        with (file or path).open("rb") as stream:
            while stream.read(1 << 20):
                pass
    except OSError as error:
        raise BadAudioError(path, "cannot be read", str(error.strerror)) from error


@lru_cache(maxsize=1 << 16)
def _read_header(path: Path, file: Path, size: int, mtime: int, ctime: int) -> Header:
    if size == 0:
        raise BadAudioError(path, "empty file")
    try:
        if name := ffmpeg_format(file):  # which libsndfile may take for a damaged MP3
            raise BadAudioError(path, "needs ffmpeg", f"it contains {name}")
        with muted_c_stderr(), open_sound(file) as reader:
            container = reader.format
            pcm = reader.subtype.startswith(("PCM", "ULAW", "ALAW"))
            exact_seek = pcm or reader.subtype in ("FLOAT", "DOUBLE")
            header = Header(reader.samplerate, reader.frames, pcm and container != "FLAC", exact_seek)
        if container in UNVERIFIABLE:
            raise BadAudioError(path, "not supported", f"{container} format; convert it to WAV or FLAC")
        if container == "MP3":
            header = _with_mp3_length(path, file, header)
        fraction = available_fraction(file)
        joined = has_second_file(file, sum(stated_span(file)))
    except OSError as error:
        raise BadAudioError(path, "cannot be read", str(error.strerror)) from error
    except soundfile.LibsndfileError as error:
        raise_if_unreadable(path, file)
        raise _not_opened(path, file) from error
    if joined:
        raise BadAudioError(path, "joined files", REMEDIES["joined files"])
    if not RATES[0] <= header.rate <= RATES[1]:
        limits = f"{RATES[0]} to {RATES[1]} Hz are supported"
        raise BadAudioError(path, "not supported", f"its sample rate is {header.rate} Hz; {limits}")
    if header.frames == 0:
        raise BadAudioError(path, "too short", "contains no samples")
    if header.frames > MAX_FRAMES:
        raise BadAudioError(path, "needs ffmpeg", f"a {container} stream of unknown length")
    _check_stated_length(path, header, fraction)
    return header


def _not_opened(path: Path, file: Path) -> BadAudioError:
    """The error of a file that libsndfile does not open."""
    if has_second_file(file, sum(stated_span(file))):
        return BadAudioError(path, "joined files", REMEDIES["joined files"])
    if reason := substitute(file):
        return BadAudioError(path, reason, REMEDIES[reason])
    if has_id3_tag(file):  # ffmpeg searches for the first frame longer than libmpg123
        return BadAudioError(path, "needs ffmpeg", "an MP3 file that libsndfile cannot open")
    return BadAudioError(path, "not audio")


def _check_stated_length(path: Path, header: Header, fraction: float) -> None:
    """Reject a truncated file; libsndfile states the length that is there."""
    frames = round(header.frames / fraction) if fraction else header.frames
    if header.frames < frames - tolerated_loss(frames, header.rate):
        raise BadAudioError(path, "truncated", f"{header.frames / header.rate:.1f} of {frames / header.rate:.1f} s")


def _with_mp3_length(path: Path, file: Path, header: Header) -> Header:
    """The header of an MP3 file, with the true length if libsndfile only estimated it."""
    first = mp3.find_first_frame(file)
    header = replace(header, preroll=int(PREROLL * header.rate))
    if first is None:
        return header
    if first.states_length:
        return replace(header, verify_end_only=None)
    stream = mp3.scan_frames(file, first)
    if stream.unparsed > TOLERANCE[1] * file.stat().st_size:
        raise BadAudioError(path, "damaged", f"near {stream.samples / header.rate:.0f} s")
    header = replace(header, verify_end_only=stream.contiguous)
    if stream.samples - header.frames <= TOLERANCE[0] * header.rate:
        return replace(header, frames=min(stream.samples, header.frames))
    prefix = mp3.length_frame(first.header, stream.samples)
    return replace(header, frames=stream.samples, prefix=prefix, skipped=first.at)


def has_contiguous_frames(path: Path, file: Path) -> bool:
    """Whether the frames of an MP3 file follow each other without gaps."""
    try:
        first = mp3.find_first_frame(file)
        return first is not None and mp3.scan_frames(file, first).contiguous
    except OSError as error:
        raise BadAudioError(path, "cannot be read", str(error.strerror)) from error


def open_sound(file: Path, header: Header | None = None) -> soundfile.SoundFile:
    """A file opened for decoding, with the prefix that its header requires."""
    if header is None or not header.prefix:
        return open_file(file)
    with file.open("rb") as raw:
        raw.seek(header.skipped)
        return soundfile.SoundFile(io.BytesIO(header.prefix + raw.read()))
