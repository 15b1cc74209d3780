"""The content of playlists: M3U8, with a line by which those of this command are recognised."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from musicreclass.data.audio.search import is_utf8
from musicreclass.storage.regular import read_regular

MARK = "# written by musicreclass"
Located = Sequence[tuple[Path, dict[str, Any]]]


def is_own_playlist(path: Path) -> bool:
    """Whether a file is a playlist that this command has written."""
    with suppress(OSError):
        return not path.is_symlink() and read_regular(path)[:500].startswith(f"#EXTM3U\n{MARK}\n".encode())
    return False


def playlist(folder: Path, tracks: Located, skipped: list[tuple[Path, str]]) -> bytes:
    """The content of a playlist. Paths are relative within a file system."""
    lines = ["#EXTM3U", MARK]
    device = folder.stat().st_dev
    for path, row in tracks:
        text = str(path)
        with suppress(OSError):
            if path.parent.stat().st_dev == device:
                text = os.path.relpath(path, os.path.realpath(folder))
        text = f"./{text}" if text.startswith("#") else text
        if "\r" in text or "\n" in text or not is_utf8(text):
            skipped.append((path, "its name cannot be written to a playlist"))
            continue
        duration = row.get("duration")
        lines += [f"#EXTINF:{round(duration) if duration else -1},{path.stem}", text]
    return ("\n".join(lines) + "\n").encode()
