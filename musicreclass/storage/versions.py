"""Whether a file has changed, by its size, modification and change times, and inode."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from musicreclass.errors import DataError
from musicreclass.storage.file_parts import file_of

CLOCK_STEP = 0.02  # seconds by which the times of files may be behind


class FileVersion(NamedTuple):
    """What differs once a file has changed.

    Attributes:
        size: in bytes.
        mtime_ns: the modification time in nanoseconds; `cp -p`, rsync and `touch -r` set it.
        ctime_ns: the change time in nanoseconds, which programs cannot set. Permissions and links change it too.
        inode: differs once another file has been renamed to this path; some network file systems change it otherwise too.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> FileVersion | None:
        """The version of a file, or of the file that contains a part; None if it cannot be determined, as for a missing file."""
        try:
            stat = file_of(path).stat()
        except (OSError, ValueError):  # a path with a null character
            return None
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)

    def is_settled(self, time: float) -> bool:
        """Whether the file was last changed before a time, as of `time.time()`.

        A later change could have the same change time if it was read within a step of the clock.
        """
        return self.ctime_ns / 1e9 < time - CLOCK_STEP


def files_digest(paths: Iterable[Path]) -> str:
    """A digest of the paths, sizes, modification and change times of files."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            stat = file_of(path).stat()
            state = f"{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ctime_ns}"
        except OSError as error:
            state = str(error.errno)
        digest.update(os.fsencode(path) + f"\0{state}\0".encode())
    return digest.hexdigest()


def raise_if_changed(path: Path, version: FileVersion | None, change_time: bool = True) -> None:
    """Check that a file still has the version from the start of the run.

    Args:
        path: the file.
        version: from the start of the run.
        change_time: whether the change time counts. It need not where the check repeats during the whole training, in which
            the permissions or links of the file may change.

    Raises:
        DataError: if it was removed or has changed.
    """
    current = FileVersion.of(path)
    compared = slice(3 if change_time else 2)  # never the inode
    if (current and current[compared]) != (version and version[compared]):
        raise DataError(
            f"{path}: was removed or has changed since this run started; start again", kind="file_changed", key=path
        )
