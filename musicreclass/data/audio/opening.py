"""Opens files with libsndfile."""

from __future__ import annotations

import os
from pathlib import Path

import soundfile

MACOS_PREFIX = (
    "._"  # of a file in which macOS keeps the attributes of another, on drives and in archives that cannot store them
)


def open_file(file: Path) -> soundfile.SoundFile:
    """A file, opened for reading.

    libsndfile takes `._NAME` beside an MP3 file NAME for its content, and fails. It has no name where it is opened by number.

    Raises:
        LibsndfileError: if it is no recording, or does not exist.
    """
    if os.path.lexists(file.with_name(MACOS_PREFIX + file.name)) and file.is_file():
        return soundfile.SoundFile(os.open(file, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)), closefd=True)
    return soundfile.SoundFile(os.fsencode(file))
