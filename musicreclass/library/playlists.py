"""Playlists: an M3U8 file per genre."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from musicreclass.library.carry_out import make_folder
from musicreclass.library.journal import Journal, Step
from musicreclass.library.journal_rules import DONE
from musicreclass.library.names import fold, safe_name
from musicreclass.library.playlist_text import Located, is_own_playlist, playlist, unsigned
from musicreclass.library.transfer import is_version, version_of
from musicreclass.storage.atomic import replacing, sync_folder
from musicreclass.storage.regular import read_regular


def write_playlists(folder: Path, located: Located, journal: Journal | None) -> tuple[int, list[tuple[Path, str]]]:
    """Write the playlist of each genre; those of earlier runs are replaced, edited ones and other files are not.

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
        content = playlist(target.parent, tracks, skipped)
        if os.path.lexists(target) and not is_replaceable(target, content, journal):
            skipped.append((target, "exists and was edited, or was not written by this command"))
            continue
        write_playlist(target, content, journal)
        written += 1
    return written, skipped


def is_replaceable(path: Path, content: bytes, journal: Journal | None) -> bool:
    """Whether a file is a playlist of an earlier run that nobody has edited; one of version 0.2.0 by the journal or its content."""
    if is_own_playlist(path) or not is_own_playlist(path, allow_unsigned=True):
        return is_own_playlist(path)
    version = {} if journal is None else journal.versions.get(str(path), {})
    return bool(version and is_version(path, version)) or read_regular(path) == unsigned(content)


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
