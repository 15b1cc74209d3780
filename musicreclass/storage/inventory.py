"""What a store contains: each entry with its size, its source and its last use; and the removal of entries."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from musicreclass.plurals import counted
from musicreclass.storage.atomic import remove
from musicreclass.storage.locks import Lock

VECTORS = "vectors"  # kind of the folders that hold one file per recording, by encoder


class StoredEntry(NamedTuple):
    """One entry of a store, or all small records of one kind.

    Attributes:
        kind: as in `Store.entry`.
        path: the folder.
        source: what the entry was made from, such as the folder of the recordings; empty if unknown.
        size: bytes on disk.
        used: seconds since 1970 of the last use.
        state: `complete`, or `interrupted` if its computation ended early, from where the next one continues.
    """

    kind: str
    path: Path
    source: str
    size: int
    used: float
    state: str

    def days_unused(self, now: float | None = None) -> float:
        """Days since the last use."""
        return ((time.time() if now is None else now) - self.used) / 86400


def inventory(root: Path) -> list[StoredEntry]:
    """Every entry of a store, largest first."""
    entries: list[StoredEntry] = []
    for folder in sorted(path for path in _children(root) if path.is_dir()):
        inside = [path for path in _children(folder) if path.is_dir()]
        if folder.name == VECTORS:
            continue
        entries += [_describe(folder.name, path) for path in inside]
        records = [path for path in _children(folder) if path.is_file() and path.suffix == ".json"]
        if records:
            entries.append(_records(folder, records))
    kinds = {_key(entry.path).get("encoder"): entry.kind for entry in entries}
    for path in _children(root / VECTORS):
        if path.is_dir():
            entries.append(_vectors(path, kinds.get(path.name, "")))
    return sorted(entries, key=lambda entry: (-entry.size, entry.kind, entry.path.name))


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
        remove(entry.path)
    finally:
        lock.release()
    return True


def _describe(kind: str, path: Path) -> StoredEntry:
    content = _json(path / "entry.json")
    state = "interrupted" if path.suffix == ".part" else "complete"
    with suppress(OSError):
        stat = (path / "entry.json").stat()
        return StoredEntry(
            kind, path, str(content.get("source", "")), _size(path), max(stat.st_atime, stat.st_mtime), state
        )
    return StoredEntry(kind, path, "", _size(path), _newest(path), state)  # such as the demo's recordings


def _records(folder: Path, records: list[Path]) -> StoredEntry:
    size = sum(path.stat().st_size for path in records)
    return StoredEntry(folder.name, folder, counted(len(records), "record"), size, _newest(folder), "complete")


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
    return sorted(folder.iterdir()) if folder.is_dir() else []


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
            content = json.loads(path.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    return {}
