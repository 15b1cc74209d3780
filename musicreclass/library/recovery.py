"""Completes steps that a killed process began, and undoes steps; the file system shows how far a step came."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from musicreclass.errors import DataError, notices
from musicreclass.library.cut import has_samples_of
from musicreclass.library.journal import PROBE, Journal, Step
from musicreclass.library.journal_rules import BEGUN, DONE, UNDONE, VOID
from musicreclass.library.playlist_text import is_own_playlist
from musicreclass.library.tag_files import resolve_restored, restore_tag
from musicreclass.library.transfer import (
    Version,
    digest,
    is_separate,
    is_version,
    move,
    same_content,
    sync_folder,
    version_of,
)
from musicreclass.storage.file_parts import file_of
from musicreclass.storage.store import DISK_FULL


@dataclass
class Undone:
    """What an undo did.

    Attributes:
        counts: number of undone steps by action.
        left: what was left as it is, with the reason.
    """

    counts: dict[str, int] = field(default_factory=dict)
    left: list[tuple[Path, str]] = field(default_factory=list)


def settle(journal: Journal) -> None:
    """Complete or discard every step that was begun and has no result, from an earlier process."""
    for step in journal.steps:
        if step.state == BEGUN:
            try:
                raise_if_linked(journal, step)
                resolve(journal, step)
            except OSError as error:
                journal.raise_if_gone()
                notices.warning("%s: an interrupted change cannot be completed: %s", step.target, error.strerror)


def raise_if_linked(journal: Journal, step: Step) -> None:
    """Check that the folder of a target has not become a link, through which another file would be changed.

    Raises:
        OSError: if it has.
    """
    folder = step.target.parent
    if journal.root is not None and os.path.realpath(folder) != str(folder):
        raise OSError(errno.ELOOP, "its folder is a link now", str(folder))


def resolve(journal: Journal, step: Step) -> None:
    """Find out whether a begun step was carried out, remove what remains of it, and record the result.

    Raises:
        OSError: if the result cannot be determined or recorded; the step stays begun.
    """
    if "undoing" in step.details:
        (resolve_restored if step.action == "tag" else resolve_undo)(journal, step)
        return
    if step.action in ("copy", "cut", "move", "tag"):
        with suppress(FileNotFoundError, NotADirectoryError):
            step.scratch.unlink(missing_ok=True)
    carried_out = RESULTS[step.action](step)
    versions = {str(step.target): version_of(step.target, *carried_out)} if carried_out is not None else {}
    details: Version = {"sha256": carried_out[0]} if step.action in ("copy", "cut") and carried_out else {}
    journal.record(step, VOID if carried_out is None else DONE, {} if step.action == "folder" else versions, **details)


def folder_result(step: Step) -> tuple[str, ...] | None:
    """Whether a folder was created."""
    return () if step.target.is_dir() else None


def link_result(step: Step) -> tuple[str, ...] | None:
    """Whether a link was created."""
    return () if is_version(step.target, {"link": step.details["link"]}) else None


def copy_result(step: Step) -> tuple[str, ...] | None:
    """Whether a copy was completed: its digest."""
    if not is_regular(step.target) or not step.source.is_file() or not same_content(step.source, step.target):
        return None
    return (digest(step.target),)


def cut_result(step: Step) -> tuple[str, ...] | None:
    """Whether a track was cut out: the digest of its file."""
    if not is_regular(step.target) or not has_samples_of(step.target, step.source):
        return None
    return (digest(step.target),)


def move_result(step: Step) -> tuple[str, ...] | None:
    """Whether a file was moved. Of one that is at both paths the target is removed, so that nothing outside its folder ever is."""
    if not os.path.lexists(step.target):
        return None
    if not os.path.lexists(step.source):
        return ()
    with suppress(OSError):
        if is_removable(step.target, step.source):
            os.unlink(step.target)
            sync_folder(step.target.parent)
    return None


def is_removable(path: Path, other: Path) -> bool:
    """Whether another file or link has the same content, and keeps it if the path is removed."""
    return same_content(path, other) and is_separate(path, other)


def tag_result(step: Step) -> tuple[str, ...] | None:
    """Whether a file was replaced by its copy with another tag: the digest of the copy."""
    new = step.details.get("new_sha256")
    return (new,) if new and is_regular(step.target) and digest(step.target) == new else None


def playlist_result(step: Step) -> tuple[str, ...] | None:
    """Whether a playlist was written."""
    new = step.details["new_sha256"]
    return (new,) if is_regular(step.target) and digest(step.target) == new else None


RESULTS: dict[str, Callable[[Step], tuple[str, ...] | None]] = {
    "folder": folder_result,
    "link": link_result,
    "copy": copy_result,
    "cut": cut_result,
    "move": move_result,
    "tag": tag_result,
    "playlist": playlist_result,
    "organized": folder_result,
}


def is_regular(path: Path) -> bool:
    """Whether a path is a regular file and no link."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def undo(journal: Journal) -> Undone:
    """Undo all steps, the last one first. Files that were changed since are left as they are.

    Raises:
        DataError: if the disk is full or the journal cannot be written; the same command continues.
    """
    with suppress(OSError):
        journal.path.with_name(PROBE).unlink(missing_ok=True)  # of a killed process
    settle(journal)
    result = Undone()
    remaining: set[Path] = set()  # folders of what was left
    for step in reversed(journal.steps):
        if step.state != DONE or (step.action == "folder" and step.target in remaining):
            continue
        try:
            raise_if_linked(journal, step)
            reason = UNDO[step.action](journal, step)
        except OSError as error:
            journal.raise_if_gone()
            if error.errno in DISK_FULL:
                line = f"{step.target}: no room to undo its change; free some space; the same command continues"
                raise DataError(line, "no_space", step.target) from error
            reason = error.strerror or str(error)
        if reason is None and step.action != "organized":
            result.counts[step.action] = result.counts.get(step.action, 0) + 1
        elif reason:
            result.left.append((step.target, reason))
            remaining.update(step.target.parents)
    return result


def expected(journal: Journal, step: Step) -> Version:
    """What the target of a step contained after the last recorded change."""
    return journal.versions.get(str(step.target), {"size": -1})


def undo_folder(journal: Journal, step: Step) -> str | None:
    """Remove a folder that this command created, if it is empty but for the journal."""
    try:
        if step.target == journal.path.parent and set(os.listdir(step.target)) <= {journal.path.name}:
            journal.record(step, UNDONE)
            return None  # the caller removes it after the journal
        os.rmdir(step.target)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return ""  # it contains files of others
        raise
    journal.record(step, UNDONE)
    return None


def undo_link(journal: Journal, step: Step) -> str | None:
    """Remove a link."""
    if os.path.lexists(step.target):
        if not is_version(step.target, expected(journal, step)):
            return "was replaced since"
        os.unlink(step.target)
    journal.record(step, UNDONE)
    return None


def undo_copy(journal: Journal, step: Step) -> str | None:
    """Remove a copy, if the file that it was made from still has the same content."""
    if os.path.lexists(step.target):
        version = expected(journal, step)
        if not is_version(step.target, version):
            return "was changed since"
        original = step.details.get("sha256", version.get("sha256"))
        if not step.source.is_file() or digest(step.source) != original:
            return f"{step.source} no longer has this content"
        if not is_separate(step.target, step.source):
            return f"is the only copy: {step.source} leads to it"
        os.unlink(step.target)
    journal.record(step, UNDONE)
    return None


def undo_cut(journal: Journal, step: Step) -> str | None:
    """Remove a track that was cut out, if the image still has its samples."""
    if os.path.lexists(step.target):
        if not is_version(step.target, expected(journal, step)):
            return "was changed since"
        if not file_of(step.source).is_file() or not has_samples_of(step.target, step.source):
            return f"{step.source} no longer has its samples"
        if not is_separate(step.target, file_of(step.source)):
            return f"is the only copy: {step.source} leads to it"
        os.unlink(step.target)
    journal.record(step, UNDONE)
    return None


def undo_move(journal: Journal, step: Step) -> str | None:
    """Move a file back."""
    if not os.path.lexists(step.target):
        return "no longer exists"
    version = expected(journal, step)
    if not is_version(step.target, version):
        return "was changed since"
    if os.path.lexists(step.source):
        return f"{step.source} exists"
    journal.record(step, BEGUN, durable=True, undoing=True)
    try:
        step.source.parent.mkdir(parents=True, exist_ok=True)
        move(step.target, step.source, step.return_scratch)
    finally:
        resolve_undo(journal, step)
    return None if step.state == UNDONE else "cannot be moved back"


def resolve_undo(journal: Journal, step: Step) -> None:
    """Find out whether a file was moved back, and complete it."""
    with suppress(FileNotFoundError, NotADirectoryError):
        step.return_scratch.unlink(missing_ok=True)
    is_back = os.path.lexists(step.source)
    if is_back and os.path.lexists(step.target):
        is_back = is_removable(step.target, step.source)
        if is_back:
            os.unlink(step.target)
            sync_folder(step.target.parent)
    versions = {str(step.source): version_of(step.source)} if is_back else {}
    journal.record(step, UNDONE if is_back else DONE, versions)


def undo_tag(journal: Journal, step: Step) -> str | None:
    """Restore the genre tag of a file."""
    if not is_version(step.target, expected(journal, step)):
        return "was changed since" if os.path.lexists(step.target) else "no longer exists"
    return restore_tag(journal, step)


def undo_playlist(journal: Journal, step: Step) -> str | None:
    """Remove a playlist."""
    if os.path.lexists(step.target):
        if not is_version(step.target, expected(journal, step)):
            return ""  # it was written again, or edited
        if not is_own_playlist(step.target):
            return "is no playlist that this command has written"
        os.unlink(step.target)
    journal.record(step, UNDONE)
    return None


def undo_organized(journal: Journal, step: Step) -> str | None:
    """Forget that tagged recordings went to a target folder."""
    journal.record(step, UNDONE)
    return None


UNDO: dict[str, Callable[[Journal, Step], str | None]] = {
    "folder": undo_folder,
    "link": undo_link,
    "copy": undo_copy,
    "cut": undo_cut,
    "move": undo_move,
    "tag": undo_tag,
    "playlist": undo_playlist,
    "organized": undo_organized,
}
