"""Formats that libsndfile does not support, converted by the ffmpeg command."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import soundfile

from musicreclass.data.audio.header import BadAudioError, size_and_mtime, tolerated_loss

CONVERTED = (".m4a", ".aac", ".mp4", ".wma")  # converted completely at every read, so best cached


@contextmanager
def readable_file(path: Path) -> Iterator[Path]:
    """A file that libsndfile can read: `path`, or a temporary WAV file converted from it by ffmpeg.

    Raises:
        BadAudioError: if ffmpeg is needed and missing, or cannot read the file.
    """
    if path.suffix.lower() not in CONVERTED:
        yield path
        return
    size_and_mtime(path, path)
    ffmpeg = find_ffmpeg()
    if ffmpeg is None:
        raise BadAudioError(path, "needs ffmpeg", f"{path.suffix} files require the ffmpeg command on PATH")
    with tempfile.TemporaryDirectory(prefix="musicreclass-") as folder:
        wav = Path(folder) / "sound.wav"
        command = [ffmpeg, "-hide_banner", "-nostats", "-nostdin", "-i", f"file:{path.absolute()}", "-map", "0:a:0"]
        process = subprocess.run([*command, "-c:a", "pcm_f32le", str(wav)], capture_output=True, check=False)
        if process.returncode or not wav.is_file():
            raise BadAudioError(path, "not audio", "ffmpeg cannot read it")
        stated = re.search(rb"Duration: (\d+):(\d+):([\d.]+)", process.stderr)
        if stated:
            hours, minutes, seconds = map(float, stated.groups())
            duration = 3600 * hours + 60 * minutes + seconds
            decoded = soundfile.info(wav).duration
            if decoded < duration - tolerated_loss(duration):
                raise BadAudioError(path, "truncated", f"{decoded:.1f} of {duration:.1f} s")
        yield wav


def find_ffmpeg() -> str | None:
    """The path of the ffmpeg command, or None."""
    return shutil.which("ffmpeg")
