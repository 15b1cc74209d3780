"""Completes steps that a killed process began; the file system shows how far a step came."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from musicreclass.errors import notices
from musicreclass.library.cut import has_samples_of
from musicreclass.library.journal import Journal, Step
from musicreclass.library.journal_rules import BEGUN, DONE, UNDONE, VOID
from musicreclass.library.tag_files import resolve_restored
from musicreclass.library.transfer import Version, digest, is_separate, is_version, same_content, version_of
from musicreclass.storage.atomic import sync_folder


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
