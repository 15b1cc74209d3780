"""Reads small files that another person may have made: only regular files of limited size, so that reading ends."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

LIMIT = 256 << 20  # bytes
BLOCK = 1 << 20  # bytes that are copied at a time


def open_regular(path: Path, flags: int = 0) -> BinaryIO:
    """Open a regular file for reading.

    Args:
        path: of the file.
        flags: of `os.open`, in addition.

    Raises:
        OSError: if it cannot be opened, or is a pipe, a device or a folder.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)  # a pipe would block
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise OSError(errno.EINVAL, "not a regular file", str(path))


def read_regular(path: Path, limit: int = LIMIT) -> bytes:
    """The content of a regular file, or of one that a link leads to.

    Args:
        path: of the file.
        limit: bytes that it may have.

    Raises:
        OSError: if it cannot be read, is a pipe, a device or a folder, or is larger than the limit.
    """
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > limit:
            raise OSError(errno.EFBIG, f"larger than {limit >> 20} MiB", str(path))
        return file.read(limit)


def copy_regular(path: Path, target: Path, limit: int = LIMIT) -> None:
    """Copy a regular file; a link is not followed.

    Args:
        path: of the file.
        target: of the copy; must not exist.
        limit: bytes that it may have.

    Raises:
        OSError: if it cannot be copied, is a link, a pipe, a device or a folder, or is larger than the limit.
    """
    if path.is_symlink():
        raise OSError(errno.ELOOP, "is a link", str(path))
    with open_regular(path, os.O_NOFOLLOW) as source, target.open("xb") as copy:
        size = os.fstat(source.fileno()).st_size
        if size > limit:
            raise OSError(errno.EFBIG, f"larger than {limit >> 20} MiB", str(path))
        while size > 0 and (block := source.read(min(size, BLOCK))):
            size -= copy.write(block)


def read_regular_text(path: Path) -> str:
    """As `read_regular`, in UTF-8.

    Raises:
        OSError: as `read_regular`.
        UnicodeDecodeError: if it is not UTF-8.
    """
    return read_regular(path).decode("utf-8")
