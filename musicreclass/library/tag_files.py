"""Changes the genre tag of a file atomically: in a copy, which replaces the file once it is verified and on the disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from musicreclass.library.delta import difference, rebuilt
from musicreclass.library.journal import Journal, Step
from musicreclass.library.journal_rules import BEGUN, DONE, UNDONE, VOID
from musicreclass.library.tags import TagError, Tags, samples_digest
from musicreclass.library.transfer import ChangedFileError, copy_attributes, copy_verified, digest, version_of
from musicreclass.storage.atomic import sync_folder
from musicreclass.storage.regular import open_regular

ROOM = 1 << 20  # bytes that must remain free besides the copy


def write_tag(journal: Journal, path: Path, genre: str) -> bool:
    """Set the genre tag of a file.

    Args:
        journal: takes the old value, and what is needed to restore the file byte by byte, if that is small.
        path: a regular file.
        genre: the new value.

    Returns:
        whether it was changed; False if the file has this genre.

    Raises:
        TagError: if it cannot be changed safely; the file is unchanged.
        OSError: if that fails.
    """
    old = Tags(path).genre()
    if old == [genre]:
        return False
    before = path.lstat()
    if before.st_nlink > 1:
        raise TagError("it has several hard links, and the others would keep the old tag")
    raise_if_no_room(path, before.st_size)
    samples = samples_digest(path)
    details: dict[str, Any] = {"size": before.st_size, "mtime_ns": before.st_mtime_ns}
    step = Step("tag", path, details={"genre": genre, "old": old, **details})
    journal.begin(step)
    try:
        step.details["sha256"] = copy_verified(path, step.scratch)
        change_copy(step.scratch, path, [genre], samples)
        os.chmod(step.scratch, before.st_mode & 0o777)
        details = {
            "sha256": step.details["sha256"],
            "new_sha256": digest(step.scratch),
            "parts": difference(step.scratch, path),
        }
        raise_if_changed(path, before)
        journal.record(step, BEGUN, durable=True, **details)
        replace(step.scratch, path)
    except (OSError, TagError) as error:
        with suppress(OSError):
            step.scratch.unlink(missing_ok=True)
        if isinstance(error, TagError):
            journal.record(step, VOID)
        raise
    journal.record(step, DONE, {str(path): version_of(path, details["new_sha256"])})
    return True


def raise_if_no_room(path: Path, size: int) -> None:
    """Check that a copy of a file fits next to it.

    Raises:
        OSError: if not.
    """
    status = os.statvfs(path.parent)
    if status.f_bavail * status.f_frsize < size + ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def raise_if_changed(path: Path, before: os.stat_result) -> None:
    """Check that a file is the one that was read.

    Raises:
        ChangedFileError: if not.
    """
    now = path.lstat()
    if (now.st_size, now.st_mtime_ns, now.st_ino) != (before.st_size, before.st_mtime_ns, before.st_ino):
        raise ChangedFileError(errno.EIO, "changed while its tag was written", str(path))


def change_copy(scratch: Path, path: Path, values: list[str], samples: str) -> None:
    """Write the genre into a copy, verify all else, and write it to the disk.

    Args:
        scratch: the copy.
        path: the original.
        values: of the genre tag.
        samples: the digest of the original's samples.

    Raises:
        TagError: if anything else changed.
    """
    os.chmod(scratch, 0o600)
    Tags(scratch).write_genre(values)
    changed, original = Tags(scratch), Tags(path)
    if changed.genre() != values:
        raise TagError("the genre cannot be read back")
    if changed.others() != original.others():
        raise TagError("other tags would change")
    if samples_digest(scratch) != samples:
        raise TagError("its samples would change")
    with scratch.open("rb") as file:
        os.fsync(file.fileno())


def replace(scratch: Path, path: Path) -> None:
    """Rename a file over another, durably."""
    os.replace(scratch, path)
    sync_folder(path.parent)


def restore_tag(journal: Journal, step: Step) -> str | None:
    """Undo a tag: the bytes of the file from before if they are recorded, otherwise its old genre. Its time is restored.

    The samples must stay the same, so that a journal cannot replace a file by another one.

    Returns:
        None, or why it was not undone.

    Raises:
        OSError: if the file cannot be written.
    """
    path, details = step.target, step.details
    build: Callable[[Step], None] = restore_genre if details.get("parts") is None else rebuild
    before = path.lstat()
    raise_if_no_room(path, before.st_size)
    journal.record(step, BEGUN, durable=True, undoing=True, restored="")
    try:
        build(step)
        copy_attributes(before, path, step.scratch)
        os.utime(step.scratch, ns=(before.st_atime_ns, details["mtime_ns"]))
        restored = digest(step.scratch)
        if details.get("parts") is not None and restored != details["sha256"]:
            raise TagError("the old content cannot be rebuilt")
        if samples_digest(step.scratch) != samples_digest(path):  # the journal may be of somebody else
            raise TagError("its samples would change")
        raise_if_changed(path, before)
        journal.record(step, BEGUN, durable=True, restored=restored)
        replace(step.scratch, path)
    except TagError as error:
        return str(error)
    finally:
        resolve_restored(journal, step)
    return None


def resolve_restored(journal: Journal, step: Step) -> None:
    """Find out whether an old tag was restored, and record it."""
    with suppress(FileNotFoundError, NotADirectoryError):
        step.scratch.unlink(missing_ok=True)
    restored = step.details.get("restored")
    if restored and digest(step.target) == restored:
        journal.record(step, UNDONE, {str(step.target): version_of(step.target, restored)})
    else:
        journal.record(step, DONE)


def rebuild(step: Step) -> None:
    """Write the bytes from before the change to the scratch file."""
    step.scratch.unlink(missing_ok=True)
    with open_regular(step.target) as new, step.scratch.open("xb") as file:
        for content in rebuilt(new, step.details["parts"]):
            file.write(content)
        file.flush()
        os.fsync(file.fileno())


def restore_genre(step: Step) -> None:
    """Write the old genre to a copy, as the scratch file."""
    samples = samples_digest(step.target)
    copy_verified(step.target, step.scratch)
    change_copy(step.scratch, step.target, step.details["old"], samples)
