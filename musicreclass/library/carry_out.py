"""Carries out a plan, step by step, each in the journal before it starts."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from musicreclass.errors import DataError
from musicreclass.library.changes import Change, Plan
from musicreclass.library.cut import cut
from musicreclass.library.journal import PROBE, Journal, Step
from musicreclass.library.journal_rules import DONE
from musicreclass.library.recovery import resolve
from musicreclass.library.transfer import Version, copy_verified, move, rename_new, version_of
from musicreclass.storage.atomic import DISK_FULL, sync_folder
from musicreclass.storage.file_parts import file_of
from musicreclass.storage.store import room

LINKS_AT_ONCE = 256  # whose records are written to the disk together
RESERVE = 8.0  # MiB that must remain free
FATAL = (*DISK_FULL, errno.EROFS, errno.ESTALE, errno.ENODEV, errno.ENXIO)  # no other file would succeed


@contextmanager
def reporting(root: Path) -> Iterator[None]:
    """Turn errors of the target's disk into one line.

    Raises:
        DataError: if it is full, read-only or gone.
    """
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            line = f"{error.filename or root}: the disk is full; free some space; the same command continues"
            raise DataError(line, "no_space", root) from error
        line = (
            f"{error.filename or root}: cannot be written ({error.strerror}); once it can, the same command continues"
        )
        raise DataError(line, "unwritable", root) from error


def raise_if_no_room(plan: Plan, root: Path) -> None:
    """Check that the copies fit on the disk.

    Raises:
        DataError: if not.
    """
    needed, free = plan.bytes_needed / 2**20 + RESERVE, room(root)
    if plan.bytes_needed and needed > free:
        line = f"{root}: needs {needed:,.0f} MiB and has {free:,.0f}; free some space, or use --mode link"
        raise DataError(line, "no_space", root, needed)


def needs_portable_names(root: Path) -> bool:
    """Whether the file system of a folder rejects names that Linux allows, as exFAT does."""
    probe = root / PROBE
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except OSError as error:
        return error.errno == errno.EINVAL
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
    return False


def carry_out(plan: Plan, journal: Journal, mode: str, root: Path, advance: Callable[[int], object]) -> int:
    """Make the changes of a plan; files that fail are added to its skipped ones.

    Args:
        plan: for the target folder.
        journal: of the target folder.
        mode: of the command.
        root: the target folder.
        advance: called with a number of finished changes.

    Returns:
        number of changes that were made.

    Raises:
        OSError: if the target cannot be written at all; the same command continues.
        DataError: if its file system has no links.
    """
    finished = 0
    for batch in batches(plan.changes):
        ready = [step for change in batch if (step := prepared(change, mode, root, journal, plan)) is not None]
        if ready:
            journal.begin(*ready)
            finished += sum(perform(step, journal, plan) for step in ready)
        advance(len(batch))
    return finished


def batches(changes: list[Change]) -> Iterator[list[Change]]:
    """Changes that are recorded together: many links, or one file."""
    pending: list[Change] = []
    for change in changes:
        if change.action != "link":
            yield [change]
            continue
        pending.append(change)
        if len(pending) == LINKS_AT_ONCE:
            yield pending
            pending = []
    if pending:
        yield pending


def prepared(change: Change, mode: str, root: Path, journal: Journal, plan: Plan) -> Step | None:
    """The step of a change, once its folder exists; None if its file has changed since the plan, or that fails."""
    try:
        status = change.source.lstat() if change.action == "move" else file_of(change.source).stat()
        if (status.st_size, status.st_mtime_ns) != (change.size, change.mtime_ns):
            plan.fail(change.source, "has changed meanwhile")
            return None
        make_folder(change.target.parent, journal)
        details: dict[str, Any] = {"mode": mode, "size": change.size, "mtime_ns": change.mtime_ns}
        if change.label not in (None, (change.size, change.mtime_ns // 1_000_000)):
            details["labelled"] = change.label
        if change.action == "link":
            details["link"] = link_text(change.source, change.target)
        if change.action == "cut":
            details["tags"] = change.tags
    except OSError as error:
        note_failure(error, journal, plan, change.source)
        return None
    return Step(change.action, change.target, change.source, details)


def make_folder(folder: Path, journal: Journal) -> None:
    """Create a folder, if it does not exist."""
    if folder.is_symlink():
        raise OSError(errno.ELOOP, "its folder is a link", str(folder))
    if not folder.is_dir():
        step = Step("folder", folder)
        journal.begin(step)
        try:
            os.mkdir(folder)
            sync_folder(folder.parent)
        finally:
            resolve(journal, step)


def link_text(source: Path, target: Path) -> str:
    """What a symbolic link contains: a relative path within a file system, which may be mounted elsewhere; else absolute."""
    if source.parent.stat().st_dev == target.parent.stat().st_dev:
        return os.path.join(os.pardir, os.path.relpath(source, target.parent.parent))  # valid from each genre folder
    return str(source)


def perform(step: Step, journal: Journal, plan: Plan) -> bool:
    """Carry out a step and record the result.

    Returns:
        whether it was carried out.
    """
    try:
        sha256 = ""
        if step.action == "link":
            os.symlink(step.details["link"], step.target)
        elif step.action == "copy":
            sha256 = copy_verified(step.source, step.scratch)
            rename_new(step.scratch, step.target)
        elif step.action == "cut":
            sha256 = cut(step.source, step.scratch, step.details["tags"])
            rename_new(step.scratch, step.target)
        else:
            sha256 = move(step.source, step.target, step.scratch)
        version = version_of(step.target, sha256)
    except OSError as error:
        journal.raise_if_gone()
        resolve(journal, step)
        if step.state == DONE:
            return True
        if step.action == "link" and error.errno in (errno.EPERM, errno.ENOTSUP):
            line = f"{step.target.parent}: this file system has no links; use --mode copy"
            raise DataError(line, "unwritable", step.target.parent) from error
        note_failure(error, journal, plan, step.source)
        return False
    details: Version = {"sha256": sha256} if sha256 else {}
    journal.record(step, DONE, {str(step.target): version}, **details)
    return True


def note_failure(error: OSError, journal: Journal, plan: Plan, source: Path) -> None:
    """Add a file to those that failed.

    Raises:
        OSError: if the failure would repeat for every file.
    """
    journal.raise_if_gone()
    if error.errno in FATAL:
        raise error
    reason = "no longer exists" if isinstance(error, FileNotFoundError) else error.strerror or "cannot be used"
    plan.fail(source, reason)
