"""Whether a file has changed, by its size, modification time and inode."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from musicreclass.errors import DataError


class FileVersion(NamedTuple):
    """What differs once a file has changed.

    Attributes:
        size: in bytes.
        mtime_ns: the modification time in nanoseconds.
        inode: 0 if it is not compared. Some network file systems change it while the file stays the same.
    """

    size: int
    mtime_ns: int
    inode: int = 0

    @classmethod
    def of(cls, path: Path, inode: bool = False) -> FileVersion | None:
        """The version of a file, with its inode or without; None if it cannot be determined, as for a missing file."""
        try:
            stat = path.stat()
        except OSError:
            return None
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ino if inode else 0)


def raise_if_changed(path: Path, version: FileVersion | None) -> None:
    """Check that a file still has the version from the start of the run.

    Raises:
        DataError: if it was removed or has changed.
    """
    if FileVersion.of(path) != version:
        raise DataError(
            f"{path}: was removed or has changed since this run started; start again", kind="file_changed", key=path
        )
