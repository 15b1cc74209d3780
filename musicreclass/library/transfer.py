"""Links, copies and moves of files that never overwrite and never lose one: a copy is verified before its source is removed."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from musicreclass.storage.atomic import NO_HARD_LINKS, sync_folder
from musicreclass.storage.regular import BLOCK, open_regular

COARSE = 2_000_000_001  # nanoseconds by which a file system such as FAT rounds times
Version = dict[str, Any]


class ChangedFileError(OSError):
    """A file changed while it was read, or a copy differs from it."""


def version_of(path: Path, sha256: str = "") -> Version:
    """What identifies the content of a file or link: size, time, and digest if known; or the path in a link."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return {"link": os.readlink(path)}
    version: Version = {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
    return {**version, "sha256": sha256} if sha256 else version


def is_version(path: Path, version: Version, read: bool = True) -> bool:
    """Whether a file or link still has the content of a version.

    Args:
        path: of the file.
        version: from `version_of`.
        read: whether to compare the digest, if the version has one; otherwise its time decides.
    """
    try:
        status = path.lstat()
        if "link" in version:
            return stat.S_ISLNK(status.st_mode) and os.readlink(path) == version["link"]
        if not stat.S_ISREG(status.st_mode) or status.st_size != version["size"]:
            return False
        if read and "sha256" in version:
            return digest(path) == version["sha256"]
        return abs(status.st_mtime_ns - version["mtime_ns"]) < COARSE
    except OSError:
        return False


def digest(path: Path, fresh: bool = False) -> str:
    """The SHA-256 of a regular file.

    Args:
        path: of the file.
        fresh: whether to read it from the disk rather than from memory, where the system allows.

    Raises:
        OSError: if it cannot be read or is not a regular file.
    """
    with open_regular(path) as file:
        if fresh:
            with suppress(OSError):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return _hash(file)


def _hash(file: BinaryIO, write: Callable[[bytes], object] = lambda block: None) -> str:
    content = hashlib.sha256()
    while block := file.read(BLOCK):
        content.update(block)
        write(block)
    return content.hexdigest()


def copy_verified(source: Path, scratch: Path) -> str:
    """Copy a file with its permissions and times, write it to the disk, and compare what is stored there.

    Args:
        source: a regular file, or a link to one.
        scratch: replaced if it exists.

    Returns:
        the SHA-256.

    Raises:
        ChangedFileError: if the source changed meanwhile, or the copy differs.
        OSError: if either cannot be read or written; the scratch file was removed.
    """
    scratch.unlink(missing_ok=True)
    try:
        with open_regular(source) as file:
            before = os.fstat(file.fileno())
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(scratch, flags, 0o600), "wb") as copy:
                sha256 = _hash(file, copy.write)
                copy.flush()
                copy_attributes(before, source, scratch)
                os.fsync(copy.fileno())
            after = os.fstat(file.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise ChangedFileError(errno.EIO, "changed while it was copied", str(source))
        if digest(scratch, fresh=True) != sha256:
            raise ChangedFileError(errno.EIO, "the copy differs from it", str(source))
    except BaseException:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise
    return sha256


def copy_attributes(status: os.stat_result, source: Path, target: Path) -> None:
    """Give a file the owner, permissions, extended attributes and times of another, as far as the file system has them."""
    with suppress(OSError):
        os.chown(target, status.st_uid, status.st_gid)
    with suppress(OSError):
        shutil.copystat(source, target)
    with suppress(OSError):
        os.chmod(target, status.st_mode & 0o777)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def rename_new(source: Path, target: Path) -> None:
    """Rename a file or link within a file system; never overwrites.

    Raises:
        FileExistsError: if there is a target.
        OSError: with EXDEV for another file system, and if the source cannot be removed; then nothing has changed.
    """
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        if source.lstat().st_dev != target.parent.stat().st_dev:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(target)) from error
        os.rename(source, target)
    else:
        try:
            os.unlink(source)
        except OSError:
            os.unlink(target)
            raise
    sync_folder(target.parent)
    if source.parent != target.parent:
        sync_folder(source.parent)


def move(source: Path, target: Path, scratch: Path) -> str:
    """Move a file, also to another file system; never overwrites.

    Args:
        source: a regular file or a link.
        target: a free path.
        scratch: a path next to the target, for the copy.

    Returns:
        the SHA-256 if the file was copied, otherwise an empty text.

    Raises:
        FileExistsError: if there is a target.
        OSError: if it cannot be moved; then the source is unchanged and there is no target.
    """
    try:
        rename_new(source, target)
        return ""
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    if source.is_symlink():
        raise OSError(errno.EXDEV, "a link cannot be moved to another file system", str(source))
    before = source.lstat()
    sha256 = copy_verified(source, scratch)
    rename_new(scratch, target)
    try:
        now = source.lstat()
        if (now.st_size, now.st_mtime_ns, now.st_ino) != (before.st_size, before.st_mtime_ns, before.st_ino):
            raise ChangedFileError(errno.EIO, "changed while it was copied", str(source))
        os.unlink(source)
    except OSError:
        os.unlink(target)
        raise
    sync_folder(source.parent)
    return sha256


def is_same_entry(path: Path, other: Path) -> bool:
    """Whether two paths are the same name in the same folder, also through links to folders. Links at their end are not followed."""
    return path.name == other.name and os.path.realpath(path.parent) == os.path.realpath(other.parent)


def is_separate(path: Path, other: Path) -> bool:
    """Whether a path can be removed and the content of another one stays, even if that is a link or is in a folder mounted twice.

    Raises:
        OSError: if one of them does not exist.
    """
    if is_same_entry(path, other) or is_same_entry(path, Path(os.path.realpath(other))):
        return False
    one = path.lstat()
    return stat.S_ISLNK(one.st_mode) or one.st_nlink > 1 or not os.path.samestat(one, other.stat())


def same_content(first: Path, second: Path) -> bool:
    """Whether two regular files have the same bytes, or two links the same path."""
    if first.is_symlink() and second.is_symlink():
        return os.readlink(first) == os.readlink(second)
    with open_regular(first) as one, open_regular(second) as other:
        if os.path.samestat(os.fstat(one.fileno()), os.fstat(other.fileno())):
            return True
        if os.fstat(one.fileno()).st_size != os.fstat(other.fileno()).st_size:
            return False
        while block := one.read(BLOCK):
            if block != other.read(BLOCK):
                return False
    return True
