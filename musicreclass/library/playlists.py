"""Playlists: an M3U8 file per genre."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from musicreclass.data.audio.search import is_utf8
from musicreclass.library.carry_out import make_folder
from musicreclass.library.journal import DONE, Journal, Step
from musicreclass.library.names import fold, safe_name
from musicreclass.library.transfer import sync_folder, version_of
from musicreclass.storage.atomic import replacing
from musicreclass.storage.regular import read_regular

MARK = "# written by musicreclass"
Located = Sequence[tuple[Path, dict[str, Any]]]


def write_playlists(folder: Path, located: Located, journal: Journal | None) -> tuple[int, list[tuple[Path, str]]]:
    """Write the playlist of each genre; those of earlier runs are replaced, other files are not.

    Args:
        folder: of the playlists; created if its parent exists.
        located: path and row of each recording.
        journal: takes what is written, if there is one.

    Returns:
        the number of playlists, and what was left out, with the reason.

    Raises:
        OSError: if the folder cannot be written.
    """
    if journal is None:
        folder.mkdir(exist_ok=True)
    else:
        make_folder(folder, journal)
    existing = {fold(name): name for name in sorted(os.listdir(folder), reverse=True)}
    by_name: dict[str, list[tuple[Path, dict[str, Any]]]] = {}
    for path, row in located:
        name = safe_name(row["genre"]) + ".m3u8"
        name = existing.setdefault(fold(name), name)
        by_name.setdefault(name, []).append((path, row))
    skipped: list[tuple[Path, str]] = []
    written = 0
    for name, tracks in sorted(by_name.items()):
        target = folder / name
        if not is_replaceable(target):
            skipped.append((target, "exists and was not written by this command"))
            continue
        write_playlist(target, playlist(target.parent, tracks, skipped), journal)
        written += 1
    return written, skipped


def is_replaceable(path: Path) -> bool:
    """Whether a playlist does not exist or was written by this command."""
    if not os.path.lexists(path):
        return True
    with suppress(OSError):
        return not path.is_symlink() and MARK in read_regular(path)[:500].decode("utf-8", "replace")
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


def write_playlist(path: Path, content: bytes, journal: Journal | None) -> None:
    """Replace a playlist atomically, unless it has this content."""
    with suppress(OSError):
        if read_regular(path) == content:
            return
    sha256 = hashlib.sha256(content).hexdigest()
    step = Step("playlist", path, details={"new_sha256": sha256})
    if journal is not None:
        journal.begin(step)
    with replacing(path) as scratch, scratch.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)
    if journal is not None:
        journal.record(step, DONE, {str(path): version_of(path, sha256)})
