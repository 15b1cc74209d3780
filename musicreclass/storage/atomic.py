"""Atomic writes: after a crash, and for any reader, a file has either its old content or its new one."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

POINTER = b"version https://git-lfs"  # the beginning of a file whose content git-lfs has not fetched

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
# of os.link where there are no hard links, as on FAT, exFAT and some network drives
NO_HARD_LINKS = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a scratch path, for a file or a folder, that replaces `path` when the block ends without an error.

    A file is replaced atomically. Between removing an existing folder and renaming the new one there is a short gap.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
    remove(scratch)
    try:
        yield scratch
        if path.is_dir() and not scratch.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
        if path.is_dir():
            old = path.with_name(f".{path.name}.{os.getpid()}.old")
            path.rename(old)
            scratch.rename(path)
            remove(old)
        else:
            scratch.replace(path)
    finally:
        remove(scratch)


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


def write_text(path: Path, text: str) -> None:
    """Replace a text file atomically."""
    with replacing(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file atomically; NaN and infinity, which JSON lacks, become null."""
    write_text(path, json.dumps(to_json_types(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


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
