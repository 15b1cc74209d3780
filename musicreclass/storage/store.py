"""The store: expensive results, each computed once. Decoded tables, audio, embeddings and features are kept in it.

An entry is a folder named by a hash of everything its content depends on. It is built under another name and renamed when it
is complete. One process builds while others wait; if it dies, the next continues from what it left.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from musicreclass.errors import DataError, notices
from musicreclass.storage.atomic import DISK_FULL, remove, write_json
from musicreclass.storage.locks import describe_owner, locked
from musicreclass.storage.versions import FileVersion

CHUNK = 1 << 20  # bytes read at once
REREAD = ContextVar("REREAD", default=False)  # whether remembered digests are not used; see `rereading`


class Store:
    """A folder of entries that any number of processes may share, on one host or over a network.

    Args:
        root: the folder; created with the first entry.
        remedy: how the user chooses another folder, for messages.
    """

    def __init__(self, root: Path, remedy: str = "paths.cache=DIR chooses another folder") -> None:
        self.root, self.remedy = root, remedy

    def entry(
        self,
        kind: str,
        key: dict[str, Any],
        build: Callable[[Path], None],
        mib: float = 0.0,
        is_resumable: Callable[[Path], bool] = lambda folder: False,
        source: str = "",
    ) -> Path:
        """The folder of an entry, built first if it does not exist.

        Args:
            kind: what the entry is, as `audio`; names the folder that contains it.
            key: everything that the content depends on; plain values.
            build: fills the folder it is given. The folder is empty or has the files of an interrupted build, from which
                it continues; so each file must be written atomically.
            mib: the approximate size of the entry.
            is_resumable: whether the folder of a build that found the disk full contains work to resume from; otherwise it is
                removed.
            source: what the entry is made from, such as a folder of recordings, for `musicreclass cache`.

        Returns:
            The folder, complete.

        Raises:
            DataError: if the store cannot be written, or the disk is full.
        """
        name = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:24]
        folder = self.root / kind / name
        if is_complete(folder):
            mark_used(folder / "entry.json")
            return folder
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with locked(folder.with_name(f"{name}.lock"), lambda owner: announce_wait(owner, kind)):
                if not is_complete(folder):
                    self._build(folder, key, build, is_resumable, source)
        except OSError as error:
            raise self._write_error(error, kind, mib) from error
        return folder

    def _build(
        self,
        folder: Path,
        key: dict[str, Any],
        build: Callable[[Path], None],
        is_resumable: Callable[[Path], bool],
        source: str,
    ) -> None:
        remove(folder)  # a damaged one
        partial = folder.with_name(f"{folder.name}.part")
        partial.mkdir(exist_ok=True)
        for scratch in partial.rglob(".*.part"):  # of a killed process
            remove(scratch)
        try:
            build(partial)
        except OSError as error:
            if error.errno in DISK_FULL and not is_resumable(partial):
                remove(partial)
            raise
        sizes = {str(f.relative_to(partial)): f.stat().st_size for f in sorted(partial.rglob("*")) if f.is_file()}
        write_json(partial / "entry.json", {"key": key, "files": sizes, "source": source})
        partial.rename(folder)

    def _write_error(self, error: OSError, kind: str, mib: float) -> DataError:
        if error.errno in DISK_FULL:
            size = f"about {mib:.0f} MiB of " if mib else ""
            message = f"{self.root}: no room for {size}{kind} on this disk; free some space, or {self.remedy}"
            return DataError(message, "no_space", self.root, mib or None)
        path = error.filename or self.root
        return DataError(
            f"{path}: cannot be written ({error.strerror}) to store {kind}; {self.remedy}", "unwritable", path
        )


def mark_used(path: Path) -> None:
    """Set the access time of a file or folder, which systems record rarely or never, and no other time."""
    with suppress(OSError):  # a store that this user may only read
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


def common_folder(paths: Iterable[str | Path]) -> str:
    """The folder that contains all files, for `Store.entry`."""
    return os.path.commonpath([Path(path).absolute().parent for path in paths])


def announce_wait(owner: dict[str, Any], kind: str) -> None:
    """Show which process is building the entry that this one needs."""
    notices.warning("waiting for %s, which prepares %s", describe_owner(owner), kind)


def is_complete(folder: Path) -> bool:
    """Whether an entry has all its files, each of the recorded size."""
    try:
        sizes = json.loads((folder / "entry.json").read_text(encoding="utf-8"))["files"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


@contextmanager
def rereading(active: bool = True) -> Iterator[None]:
    """Compute digests anew inside the block, as `force=true` asks for, instead of using those that are remembered."""
    token = REREAD.set(active)
    try:
        yield
    finally:
        REREAD.reset(token)


def file_digest(path: Path, store: Store) -> str:
    """The SHA-256 of a file, remembered in the store by path and `FileVersion`."""
    resolved, started = str(path.resolve()), time.time()
    version = FileVersion.of(path)
    recorded = [] if version is None else [resolved, *version]
    memo = memo_path(store, resolved)
    if not REREAD.get():
        with suppress(OSError, ValueError, KeyError, TypeError):
            content = json.loads(memo.read_text(encoding="utf-8"))
            if recorded and content["version"] == recorded:
                return str(content["sha256"])
    digest = sha256(path)
    if version is not None and version.is_settled(started):
        with suppress(OSError):  # it will be computed again
            memo.parent.mkdir(parents=True, exist_ok=True)
            write_json(memo, {"version": recorded, "sha256": digest})
    return digest


def file_digests(
    paths: list[Path], store: Store, digest: Callable[[Path], str | None] | None = None, kind: str = "digests"
) -> list[str | None]:
    """The digests of many files, remembered in the store by path and `FileVersion`; None for an unreadable file.

    Args:
        paths: the files.
        store: remembers the digests.
        digest: of a file; SHA-256 of its content by default.
        kind: names the digest in the store.
    """
    compute = digest or sha256
    folder = os.path.commonpath([path.absolute().parent for path in paths])
    memo = memo_path(store, folder, kind)
    recorded: dict[str, list[Any]] = {}  # version and digest by path
    started, reread = time.time(), REREAD.get()
    with suppress(OSError, ValueError):
        content = json.loads(memo.read_text(encoding="utf-8"))
        recorded = content if isinstance(content, dict) else {}

    def record(path: Path) -> list[Any] | None:
        version = FileVersion.of(path)
        previous = recorded.get(str(path.absolute()))
        if version and not reread and isinstance(previous, list) and previous[:-1] == [*version]:
            return previous
        try:
            return [*version, compute(path)] if version and path.is_file() else None  # reading a pipe would block
        except OSError:
            return None

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        records = list(pool.map(record, paths))
    settled = [entry if entry and FileVersion(*entry[:-1]).is_settled(started) else None for entry in records]
    current = {str(path.absolute()): entry for path, entry in zip(paths, settled, strict=True) if entry}
    if any(recorded.get(path) != entry for path, entry in current.items()):
        with suppress(OSError):  # they will be computed again
            memo.parent.mkdir(parents=True, exist_ok=True)
            write_json(memo, {**recorded, **current})
    return [None if entry is None or entry[-1] is None else str(entry[-1]) for entry in records]


def memo_path(store: Store, path: str, kind: str = "digests") -> Path:
    """The file that remembers the digest of a file, or of the files in a folder."""
    return store.root / kind / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:24]}.json"


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def room(folder: Path) -> float:
    """Free disk space for a folder that may not exist yet, in MiB."""
    while not folder.exists():
        folder = folder.parent
    stat = os.statvfs(folder)
    return stat.f_bavail * stat.f_frsize / 2**20
