"""What a store contains: each entry with its size, its source and its last use; and the removal of entries."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from musicreclass.plurals import counted
from musicreclass.storage.atomic import remove
from musicreclass.storage.locks import Lock
from musicreclass.storage.regular import read_regular_text

VECTORS = "vectors"  # kind of the folders that hold one file per recording, by encoder
DEMO = "demo"  # the folder of a store that contains the demo's own
HASH = r"[0-9a-f]{24}"
ENTRY = re.compile(rf"(.+-)?{HASH}")  # names of folders
PARTIAL = re.compile(rf"{HASH}\.part")
RECORD = re.compile(rf"{HASH}\.json")


class StoredEntry(NamedTuple):
    """One entry of a store, or all small records of one kind.

    Attributes:
        kind: as in `Store.entry`.
        path: the folder.
        source: what the entry was made from, such as the folder of the recordings; empty if unknown.
        size: bytes on disk.
        used: seconds since 1970 of the last use.
        state: `complete`, or `interrupted` if its computation ended early, from where the next one continues.
        records: the files of small records; empty for an entry that is a folder.
    """

    kind: str
    path: Path
    source: str
    size: int
    used: float
    state: str
    records: tuple[Path, ...] = ()

    def days_unused(self, now: float | None = None) -> float:
        """Days since the last use."""
        return ((time.time() if now is None else now) - self.used) / 86400


def inventory(root: Path) -> list[StoredEntry]:
    """Every entry of a store, largest first. Anything else in the folder, and whatever a link leads to, is no entry."""
    entries: list[StoredEntry] = []
    for kind, folder in _kinds(root):
        entries += [_describe(kind, path) for path in _folders(folder) if is_entry(path)]
        records = tuple(path for path in _children(folder) if RECORD.fullmatch(path.name) and _is_file(path))
        if records:
            entries.append(_records(kind, folder, records))
    kinds = {_key(entry.path).get("encoder"): entry.kind for entry in entries}
    for vectors in [folder for folder in _folders(root) if folder.name == VECTORS]:
        encoders = [path for path in _folders(vectors) if re.fullmatch(HASH, path.name)]
        entries += [_vectors(path, kinds.get(path.name, "")) for path in encoders]
    return sorted(entries, key=lambda entry: (-entry.size, entry.kind, entry.path.name))


def is_entry(folder: Path) -> bool:
    """Whether a folder is an entry that `Store.entry` or a verification has written, or an interrupted build of one."""
    if PARTIAL.fullmatch(folder.name):
        return True
    content = _json(folder / "entry.json") if ENTRY.fullmatch(folder.name) else {}
    return isinstance(content.get("key"), dict) and isinstance(content.get("files"), dict)


def _kinds(root: Path) -> Iterator[tuple[str, Path]]:
    """The folders of a store that contain entries, with their kind."""
    for folder in _folders(root):
        if folder.name != VECTORS:
            yield folder.name, folder
        if folder.name == DEMO:
            yield from ((DEMO, inner) for inner in _folders(folder))


def delete(entry: StoredEntry) -> bool:
    """Delete an entry unless a process is building it; return whether it was deleted.

    A process that reads it keeps the files that it has opened.

    Raises:
        OSError: if it cannot be deleted.
    """
    lock = Lock(entry.path.with_name(f"{entry.path.name.removesuffix('.part')}.lock"))
    if not lock.acquire(wait=False):
        return False
    try:
        for path in entry.records or (entry.path,):
            remove(path)
    finally:
        lock.release()
    if entry.records:
        with suppress(OSError):
            entry.path.rmdir()  # unless it contains other files
    return True


def _describe(kind: str, path: Path) -> StoredEntry:
    content = _json(path / "entry.json")
    state = "interrupted" if PARTIAL.fullmatch(path.name) else "complete"
    try:
        stat = (path / "entry.json").stat()
        used = max(stat.st_atime, stat.st_mtime)
    except OSError:  # interrupted
        used = _newest(path)
    return StoredEntry(kind, path, str(content.get("source", "")), _size(path), used, state)


def _records(kind: str, folder: Path, records: tuple[Path, ...]) -> StoredEntry:
    size = sum(path.lstat().st_size for path in records)
    used = max(path.lstat().st_mtime for path in records)
    return StoredEntry(kind, folder, counted(len(records), "record"), size, used, "complete", records)


def _vectors(path: Path, kind: str) -> StoredEntry:
    with unused(path) as accessed:
        return StoredEntry(VECTORS, path, kind, _size(path), max(accessed, _newest(path)), "complete")


@contextmanager
def unused(path: Path) -> Iterator[float]:
    """Yield the access time of a file or folder, and restore it afterwards, since reading may change it."""
    stat = path.stat()
    yield stat.st_atime
    with suppress(OSError):  # of another user
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() and os.access(folder, os.R_OK | os.X_OK) else []


def _folders(folder: Path) -> list[Path]:
    """The folders in a folder, without links."""
    return [path for path in _children(folder) if path.is_dir() and not path.is_symlink()]


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _size(folder: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def _newest(folder: Path) -> float:
    return max((path.lstat().st_mtime for path in [folder, *folder.rglob("*")]), default=0.0)


def _key(path: Path) -> dict[str, Any]:
    key = _json(path / "entry.json").get("key")
    return key if isinstance(key, dict) else {}


def _json(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError, RecursionError):
        with unused(path):
            content = json.loads(read_regular_text(path))
        return content if isinstance(content, dict) else {}
    return {}
