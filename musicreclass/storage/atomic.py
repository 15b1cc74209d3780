"""Atomic writes: after a killed process, and for any reader, a file has either its old content or its new one.

After a power failure that holds for durable writes only, which wait for the disk (milliseconds for a file).
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

POINTER = b"version https://git-lfs"  # the beginning of a file whose content git-lfs has not fetched
# The name of a scratch file or folder, as older versions formed it too. It is unique across hosts, processes and threads.
SCRATCH = re.compile(r"\.(?P<name>.+)\.([0-9]+|[0-9a-f]{12})\.(part|old)")
SYNC_FRACTION = 0.01  # of the time, which a `SyncBudget` allows

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
# of os.link where there are no hard links, as on FAT, exFAT and some network drives
NO_HARD_LINKS = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL)


@contextmanager
def replacing(path: Path, durable: bool = False) -> Iterator[Path]:
    """Yield a scratch path, for a file or a folder, that replaces `path` when the block ends without an error.

    A file is replaced atomically. Between removing an existing folder and renaming the new one there is a short gap.

    Args:
        path: the file or folder.
        durable: whether to wait until the new content is on the disk, before and after it replaces the old.
    """
    token = uuid.uuid4().hex[:12]
    scratch, old = (path.with_name(f".{path.name}.{token}.{suffix}") for suffix in ("part", "old"))
    try:
        yield scratch
        if durable:
            sync(scratch)
        if path.is_dir() and not scratch.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
        if path.is_dir():
            path.rename(old)
            scratch.rename(path)
            remove(old)
        else:
            scratch.replace(path)
        if durable:
            sync_folder(path.parent)
    finally:
        remove(scratch)


def sync(path: Path) -> None:
    """Wait until a file, or a folder with all that it contains, is on the disk.

    Links are not followed. Files that another program removes meanwhile, or that this user may not read, are left out.
    """
    inside = [Path(folder, name) for folder, folders, names in os.walk(path) for name in (*folders, *names)]
    for entry in (path, *inside):
        if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
            continue
        with suppress(FileNotFoundError, PermissionError):
            _sync(entry, os.O_NOFOLLOW)


def sync_folder(folder: Path) -> None:
    """Write the entries of a folder to the disk."""
    _sync(folder, os.O_DIRECTORY)


def _sync(path: Path, flag: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flag)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems
            raise
    finally:
        os.close(descriptor)


class SyncBudget:
    """Limits the time that a series of frequent writes waits for the disk to `SYNC_FRACTION` of the time."""

    def __init__(self) -> None:
        self.start, self.spent = time.perf_counter(), 0.0

    def sync(self, path: Path) -> None:
        """As the function `sync`, if the budget allows it now."""
        before = time.perf_counter()
        if self.spent <= SYNC_FRACTION * (before - self.start):
            sync(path)
            self.spent += time.perf_counter() - before


def remove(path: Path) -> None:
    """Delete a file or a folder, if it exists.

    Raises:
        OSError: if any part of it cannot be deleted.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)  # as much as possible
        with suppress(FileNotFoundError):  # deleted, perhaps by another process
            shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str, durable: bool = False) -> None:
    """Replace a text file atomically."""
    with replacing(path, durable) as scratch:
        scratch.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any, durable: bool = False) -> None:
    """Replace a JSON file atomically; NaN and infinity, which JSON lacks, become null."""
    write_text(path, json.dumps(to_json_types(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n", durable)


def to_json_types(value: Any) -> Any:
    """A value converted to the types that JSON has; any other object becomes its text."""
    if isinstance(value, dict):
        return {str(k): to_json_types(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json_types(v) for v in value]
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return str(value)
