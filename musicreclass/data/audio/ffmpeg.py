"""Formats that libsndfile does not support, converted by the ffmpeg command."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import IO

import soundfile

from musicreclass.data.audio.content import substitute
from musicreclass.data.audio.header import (
    REMEDIES,
    BadAudioError,
    raise_if_unreadable,
    read_header,
    size_and_times,
    tolerated_loss,
)
from musicreclass.data.audio.suffixes import CONVERTED
from musicreclass.errors import DataError
from musicreclass.storage.file_parts import file_of

# no playlists, which name other files
CONTAINERS = "aac,ac3,aiff,amr,ape,asf,avi,caf,flac,loas,matroska,mov,mp3,mpeg,mpegts,ogg,w64,wav,wv"
OPTIONS = ("-hide_banner", "-nostats", "-nostdin", "-format_whitelist", CONTAINERS)
OUTPUT = ("-map", "0:a:0", "-c:a", "pcm_f32le", "-f", "wav", "-")  # the first audio stream as float WAV
TIME_LIMIT = 1800.0  # seconds for one file
EXTERNAL_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # not sent because of the file
HANDLED = 255  # exit code of ffmpeg after a signal that it handles
CONVERSION: ContextVar[tuple[Path, Path] | None] = ContextVar("CONVERSION", default=None)  # see `converted_once`
OPEN_FILES = Path("/proc/self/fd" if Path("/proc/self/fd").is_dir() else "/dev/fd")


@contextmanager
def readable_file(path: Path) -> Iterator[Path]:
    """A file that libsndfile can read: `path` (of a part, the file that contains it), or a temporary WAV file converted from it by ffmpeg.

    The temporary file has no name, so it is freed when the process ends, however it ends.

    Raises:
        BadAudioError: if ffmpeg is needed and missing, or cannot read the file.
        DataError: if ffmpeg or the temporary folder failed; the file may be good.
    """
    converted = CONVERSION.get()
    if converted is not None and converted[0] == path:
        yield converted[1]
        return
    source = file_of(path)
    missing = _error_without_ffmpeg(source)
    if missing is None:
        yield source
        return
    size_and_times(path, source)
    ffmpeg = find_ffmpeg()
    if ffmpeg is None:
        raise missing
    with _temporary_file(path) as file:
        duration = _convert(ffmpeg, source, file)
        wav = OPEN_FILES / str(file.fileno())
        decoded = soundfile.info(wav).duration
        if decoded < duration - tolerated_loss(duration):
            raise BadAudioError(path, "truncated", f"{decoded:.1f} of {duration:.1f} s")
        yield wav


@contextmanager
def converted_once(path: Path) -> Iterator[None]:
    """Inside the block, every `readable_file` of this path is the same file, so that it is converted once.

    Raises:
        BadAudioError, DataError: as `readable_file`.
    """
    with readable_file(path) as file:
        token = CONVERSION.set((path, file))
        try:
            yield
        finally:
            CONVERSION.reset(token)


def _error_without_ffmpeg(path: Path) -> BadAudioError | None:
    """The error that a file causes if ffmpeg is missing; None if libsndfile reads it.

    Raises:
        BadAudioError: if neither reads it.
    """
    if path.suffix.lower() in CONVERTED:
        return BadAudioError(path, "needs ffmpeg", f"{path.suffix} files require the ffmpeg command on PATH")
    try:
        read_header(path, path)
    except BadAudioError as error:
        if error.reason != "needs ffmpeg":
            raise
        return error
    return None


def _temporary_file(path: Path) -> IO[bytes]:
    try:
        return tempfile.TemporaryFile()
    except OSError as error:
        raise _temporary_error(path, error) from error


def _temporary_error(path: Path, error: OSError) -> DataError:
    folder = tempfile.gettempdir()
    return DataError(
        f"{path}: cannot be converted: {folder}: {error.strerror}; free space there, or set TMPDIR to another folder",
        kind="temporary_folder",
        key=folder,
    )


def _convert(ffmpeg: str, path: Path, file: IO[bytes]) -> float:
    """Write the first audio stream to a file as float WAV; returns the seconds that its header states, 0 if none.

    Raises:
        BadAudioError: if ffmpeg cannot read the file.
        DataError: if ffmpeg or the temporary folder failed; the file may be good.
    """
    code, messages = _run_ffmpeg(ffmpeg, path, file)
    if code is None:
        line = (
            f"{path}: ffmpeg took more than {TIME_LIMIT / 60:.0f} minutes. Nothing was stored: start again if the machine was "
            "busy, or move this file out of the data"
        )
        raise DataError(line, kind="ffmpeg_timeout", key=path)
    if code:
        raise _conversion_error(ffmpeg, path, code, messages)
    return _stated_seconds(messages)


def _run_ffmpeg(ffmpeg: str, path: Path, file: IO[bytes]) -> tuple[int | None, bytes]:
    """Convert the first audio stream into a file; returns ffmpeg's exit code, None after `TIME_LIMIT`, and its messages.

    ffmpeg writes to a pipe, so a full disk is an error of ours rather than one of ffmpeg's, and ffmpeg ends with us.

    Raises:
        DataError: if the temporary folder is full.
    """
    command = [ffmpeg, *OPTIONS, "-i", f"file:{path.absolute()}", *OUTPUT]
    expired = threading.Event()
    with (
        _temporary_file(path) as messages,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=messages, start_new_session=True) as process,
    ):

        def stop() -> None:
            expired.set()
            process.kill()

        timer = threading.Timer(TIME_LIMIT, stop)
        timer.start()
        try:
            assert process.stdout is not None
            shutil.copyfileobj(process.stdout, file, 1 << 20)
            file.flush()
        except OSError as error:
            process.kill()
            raise _temporary_error(path, error) from error
        finally:
            timer.cancel()
        code = process.wait()
        messages.seek(0)
        return None if expired.is_set() else code, messages.read()


def _conversion_error(ffmpeg: str, path: Path, code: int, messages: bytes) -> DataError:
    """The error that an exit code of ffmpeg other than 0 stands for.

    Raises:
        BadAudioError, DataError: if the file cannot be read at all, or ffmpeg does not run.
    """
    handled = re.search(rb"^Exiting normally, received signal (\d+)\.", messages, re.MULTILINE)
    number = int(handled[1]) if handled and code == HANDLED else -code
    if number in EXTERNAL_SIGNALS:
        line = f"{path}: ffmpeg was stopped by {signal.Signals(number).name}, perhaps for lack of memory; start again"
        return DataError(line, kind="ffmpeg_stopped", key=path)
    raise_if_unreadable(path)
    ffmpeg_version(ffmpeg)
    if reason := substitute(path):
        return BadAudioError(path, reason, REMEDIES[reason])
    return BadAudioError(path, "not audio", "ffmpeg cannot read it")


def _stated_seconds(messages: bytes) -> float:
    """The duration in ffmpeg's messages; 0 if there is none, or if it is estimated from the bit rate, which padding makes wrong."""
    stated = re.search(rb"Duration: (\d+):(\d+):([\d.]+)", messages)
    if stated is None or b"Estimating duration" in messages:
        return 0.0
    hours, minutes, seconds = map(float, stated.groups())
    return 3600 * hours + 60 * minutes + seconds


def find_ffmpeg() -> str | None:
    """The path of the ffmpeg command, or None."""
    return shutil.which("ffmpeg")


def ffmpeg_version(ffmpeg: str) -> str:
    """The version of an ffmpeg command.

    Raises:
        DataError: if it does not run, as when one of its libraries is missing.
    """
    try:
        run = subprocess.run([ffmpeg, "-version"], capture_output=True, text=True, errors="replace", timeout=60)
        message = run.stderr if run.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        run, message = None, str(error)
    if run is None or run.returncode:
        line = " ".join(message.split())[:160] or "it fails"
        raise DataError(f"{ffmpeg}: does not run ({line}); repair it or remove it from PATH", "ffmpeg_failed", ffmpeg)
    return run.stdout.partition("\n")[0]
