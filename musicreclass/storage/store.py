"""The store: whatever is dear to compute and is computed once. Decoded tables, audio, embeddings, features lie in it.

An entry is a folder named by a hash of all that its content depends on. It is built beside its place and renamed into it, so
it is there whole or not at all. One process builds while others wait; if it dies, the next goes on from what it left.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from typing import Any

from musicreclass.errors import DataError
from musicreclass.storage.atomic import remove, write_json
from musicreclass.storage.locks import locked

READ = 1 << 20


class Store:
    """A folder of entries that any number of processes may share, on one host or over a network.

    Args:
        root: the folder; made when the first entry is.
        remedy: how the user chooses another folder, for messages.
    """

    def __init__(self, root: Path, remedy: str = "paths.cache=DIR chooses another folder") -> None:
        self.root, self.remedy = root, remedy

    def entry(self, kind: str, key: dict[str, Any], build: Callable[[Path], None], mib: float = 0.0) -> Path:
        """The folder of an entry, built first if need be.

        Args:
            kind: what sort of thing it is; names the folder above it.
            key: everything that the content depends on; plain values.
            build: fills the folder it is given. The folder is empty, or holds what a build that died has left there,
                to go on from: so each file in it must be written in one step.
            mib: roughly how large the entry will be.

        Returns:
            the folder, complete.

        Raises:
            DataError: if the store cannot be written, or the disk is full.
        """
        name = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:24]
        folder = self.root / kind / name
        if is_complete(folder):
            return folder
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with locked(folder.with_name(f"{name}.lock"), self._announce(kind)):
                if not is_complete(folder):
                    self._build(folder, key, build)
        except OSError as error:
            raise DataError(self._trouble(error, kind, mib)) from error
        return folder

    def _build(self, folder: Path, key: dict[str, Any], build: Callable[[Path], None]) -> None:
        remove(folder)  # a damaged one
        work = folder.with_name(f"{folder.name}.part")
        work.mkdir(exist_ok=True)
        try:
            build(work)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                remove(work)
            raise
        sizes = {str(f.relative_to(work)): f.stat().st_size for f in sorted(work.rglob("*")) if f.is_file()}
        write_json(work / "entry.json", {"key": key, "files": sizes})
        work.rename(folder)

    def _announce(self, kind: str) -> Callable[[dict[str, Any]], None]:
        def tell(owner: dict[str, Any]) -> None:
            print(
                f"waiting for process {owner.get('pid')} on {owner.get('host')}, which prepares {kind}", file=sys.stderr
            )

        return tell

    def _trouble(self, error: OSError, kind: str, mib: float) -> str:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            need = f" for about {mib:.0f} MiB" if mib else ""
            return f"{self.root}: no room{need} of {kind}; free some, or {self.remedy}"
        return f"{error.filename or self.root}: {kind} cannot be prepared ({error.strerror}); {self.remedy}"


def is_complete(folder: Path) -> bool:
    """Whether an entry is there with all its files, none cut short."""
    try:
        files = json.loads((folder / "entry.json").read_text(encoding="utf-8"))["files"]
        return all((folder / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def file_digest(path: Path, store: Store) -> str:
    """The SHA-256 of a file, remembered in the store by path, size and time, so that it is computed once."""
    stat = path.stat()
    resolved = str(path.resolve())
    known = {"path": resolved, "size": stat.st_size, "time": stat.st_mtime_ns, "inode": stat.st_ino}
    place = store.root / "digests" / f"{hashlib.sha256(resolved.encode()).hexdigest()[:24]}.json"
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
        if {name: found.get(name) for name in known} == known:
            return str(found["sha256"])
    except (OSError, ValueError, KeyError, AttributeError):
        pass
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(READ):
            digest.update(piece)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_json(place, {**known, "sha256": digest.hexdigest()})
    except OSError:
        pass  # it will be computed again
    return digest.hexdigest()


def file_digests(paths: list[Path], store: Store) -> list[str | None]:
    """The SHA-256 of many files, remembered in the store by path, size and time; None for one that cannot be read."""
    folder = os.path.commonpath([path.absolute().parent for path in paths])
    place = store.root / "digests" / f"{hashlib.sha256(os.fsencode(folder)).hexdigest()[:24]}.json"
    known: dict[str, list[Any]] = {}
    with suppress(OSError, ValueError):
        found_there = json.loads(place.read_text(encoding="utf-8"))
        known = found_there if isinstance(found_there, dict) else {}

    def look(path: Path) -> list[Any] | None:
        try:
            stat = path.stat()
            mark = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
            old = known.get(str(path.absolute()))
            if isinstance(old, list) and old[:3] == mark:
                return old
            if not S_ISREG(stat.st_mode):
                return None  # a pipe would wait for ever
            with path.open("rb") as file:
                digest = hashlib.sha256()
                while piece := file.read(READ):
                    digest.update(piece)
        except OSError:
            return None
        return [*mark, digest.hexdigest()]

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        found = list(pool.map(look, paths))
    new = {str(path.absolute()): line for path, line in zip(paths, found, strict=True) if line}
    if any(known.get(path) != line for path, line in new.items()):
        with suppress(OSError):  # they will be computed again
            place.parent.mkdir(parents=True, exist_ok=True)
            write_json(place, {**known, **new})
    return [None if line is None else str(line[3]) for line in found]


def room(folder: Path) -> float:
    """Free space where a folder is or will be, in MiB."""
    while not folder.exists():
        folder = folder.parent
    stat = os.statvfs(folder)
    return stat.f_bavail * stat.f_frsize / 2**20
