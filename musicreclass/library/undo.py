"""Undoes steps, the last one first. Nothing is removed that is not stored elsewhere too, and no file is overwritten."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from musicreclass.errors import DataError
from musicreclass.library.cut import has_samples_of
from musicreclass.library.journal import PROBE, Journal, Step
from musicreclass.library.journal_rules import BEGUN, DONE, UNDONE
from musicreclass.library.playlist_text import is_own_playlist
from musicreclass.library.recovery import raise_if_linked, resolve_undo, settle
from musicreclass.library.tag_files import restore_tag
from musicreclass.library.transfer import Version, digest, is_separate, is_version, move
from musicreclass.storage.atomic import DISK_FULL
from musicreclass.storage.file_parts import file_of


@dataclass
class Undone:
    """What an undo did.

    Attributes:
        counts: number of undone steps by action.
        left: what was left as it is, with the reason.
    """

    counts: dict[str, int] = field(default_factory=dict)
    left: list[tuple[Path, str]] = field(default_factory=list)


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
        if not is_own_playlist(step.target, allow_unsigned=True):
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
