"""The content of playlists: M3U8, with a line by which those of this command are recognised, and whether they were edited."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from musicreclass.data.audio.search import is_utf8
from musicreclass.storage.regular import read_regular

MARK = "# written by musicreclass"  # followed by the digest of the other lines; by nothing in version 0.2.0
Located = Sequence[tuple[Path, dict[str, Any]]]


def is_own_playlist(path: Path, allow_unsigned: bool = False) -> bool:
    """Whether a file is a playlist that this command has written and nobody has edited.

    Args:
        path: of the file.
        allow_unsigned: whether one of version 0.2.0 counts, of which it is not known whether it was edited.
    """
    with suppress(OSError):
        content = b"" if path.is_symlink() else read_regular(path)
        return content == signed(content) or (allow_unsigned and content == unsigned(content))
    return False


def unsigned(content: bytes) -> bytes:
    """The content of a playlist as version 0.2.0 wrote it."""
    head, _, rest = content.partition(b"\n")
    return b"\n".join([head, MARK.encode(), rest.partition(b"\n")[2]])


def signed(content: bytes) -> bytes:
    """The content of a playlist with the digest of all lines but the second one in that line."""
    head, _, rest = content.partition(b"\n")
    body = rest.partition(b"\n")[2]
    digest = hashlib.sha256(b"\n".join([head, body])).hexdigest()
    return b"\n".join([head, f"{MARK} {digest}".encode(), body])


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
    return signed(("\n".join(lines) + "\n").encode())
