"""Audio in formats that libsndfile does not know, by way of the ffmpeg command."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import soundfile

from musicreclass.data.audio.header import TOLERANCE, BadAudioError, size_and_time

CONVERTED = (".m4a", ".aac", ".mp4", ".wma")  # by ffmpeg, whole, at every read: such files are best kept in a cache


@contextmanager
def playable(path: Path) -> Iterator[Path]:
    """The file itself, or where libsndfile does not know the format, a WAV file that ffmpeg makes of it for the while.

    Raises:
        BadAudioError: if there is no ffmpeg, or it cannot read the file.
    """
    if path.suffix.lower() not in CONVERTED:
        yield path
        return
    size_and_time(path, path)
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
