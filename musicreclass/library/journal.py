"""The journal of changes: one JSON line per event, on the disk before the change is made, so that each can be completed or undone."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from musicreclass.errors import DataError, notices
from musicreclass.library.journal_rules import (
    BEGUN,
    DONE,
    NAME,
    OWN_FILES,
    UNDONE,
    VOID,
    ForeignEntryError,
    check_event,
    check_paths,
)
from musicreclass.storage.regular import open_regular

PROBE = ".musicreclass-probe:?"  # a name that exFAT does not allow
BESIDE = ".{}.organize.jsonl"  # next to a table of labels, for tags that are written in place
Details = dict[str, Any]


@dataclass
class Step:
    """One change.

    Attributes:
        number: in the journal.
        action: `folder`, `link`, `copy`, `cut`, `move`, `tag` or `playlist`; next to a table, `tag`, or `organized` for a target folder
            into which tagged recordings went.
        target: the path that it creates or changes.
        source: the path that it takes the content from; empty for a folder, a tag and a playlist.
        state: `begun`, `done`, `void` (not carried out) or `undone`.
        details: what is needed to undo it, and to recognise the recording.
        versions: what its paths contained after each of its events.
    """

    action: str
    target: Path
    source: Path = Path()
    details: Details = field(default_factory=dict)
    number: int = -1
    state: str = BEGUN
    versions: dict[str, list[Details]] = field(default_factory=dict)

    @property
    def scratch(self) -> Path:
        """The file that becomes the target once it is complete."""
        return self.target.with_name(f"{OWN_FILES}{self.number}{self.target.suffix[:16]}")

    @property
    def return_scratch(self) -> Path:
        """The file that becomes the source again while the step is undone."""
        return self.source.with_name(f"{OWN_FILES}{self.number}{self.source.suffix[:16]}")


class Journal:
    """The steps of all runs over a folder, in their order.

    Args:
        path: of the file.

    Attributes:
        root: the target folder; None for a journal next to a table.
        steps: all of them.
        versions: what each path contained after the last recorded change of it; see `transfer.version_of`.

    Raises:
        DataError: if the file cannot be read, is damaged or not a journal, or has an entry that organize does not write here.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = path.parent if path.name == NAME else None
        self.steps: list[Step] = []
        self.versions: dict[str, Details] = {}
        self._by_path: dict[Path, list[Step]] = {}
        self._indexed = 0  # steps
        self._descriptor: int | None = None
        self.complete = 0  # bytes of complete lines
        if os.path.lexists(path):
            self._read()

    def _read(self) -> None:
        try:
            with open_regular(self.path, os.O_NOFOLLOW) as file:
                content = file.read()
        except OSError as error:
            message = f"{self.path}: cannot be read ({error.strerror}); it records what organize has changed"
            raise DataError(message, "unreadable", self.path) from error
        lines = content.split(b"\n")
        self.complete = len(content) - len(lines[-1])  # a kill may have cut the last line; its step was not started
        for i, line in enumerate(lines[:-1], start=1):
            try:
                self._replay(json.loads(line))
            except ForeignEntryError as error:
                message = (
                    f"{self.path}: line {i} names {str(error)!r}, which organize would not change from here; nothing was changed. "
                    "If the folder was moved or renamed, move it back first; delete a journal that is not yours"
                )
                raise DataError(message, "foreign_journal", self.path, str(error)) from error
            except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
                message = f"{self.path}: line {i} is damaged; without it nothing can be undone safely; restore the file"
                raise DataError(message, "damaged_file", self.path) from error

    def _replay(self, event: Details) -> None:
        number = int(event["step"])
        if number == len(self.steps):
            action, source, target = event["action"], event.get("source", ""), event["target"]
            check_paths(action, source, target, self.root)
            step = Step(action, Path(target), Path(source), dict(event["details"]), number)
            check_event(event, action, source, target)
            self.steps.append(step)
        elif 0 <= number < len(self.steps):
            step = self.steps[number]
            check_event(event, step.action, os.fspath(step.source), os.fspath(step.target))
        else:
            raise ValueError(number)
        self._apply(step, event)

    def _apply(self, step: Step, event: Details) -> None:
        step.state = event.get("state", step.state)
        step.details.update(event.get("details", {}))
        for path, version in event.get("versions", {}).items():
            self.versions[path] = version
            step.versions.setdefault(path, []).append(version)

    @contextmanager
    def opened(self, descriptor: int) -> Iterator[Journal]:
        """Append to the journal within the block, through an open file."""
        self._descriptor = descriptor
        try:
            if os.fstat(descriptor).st_size > self.complete:
                os.ftruncate(descriptor, self.complete)
            yield self
        finally:
            self._descriptor = None

    def begin(self, *steps: Step) -> None:
        """Record steps that follow; they are on the disk when this returns.

        Raises:
            OSError: if the journal cannot be written, or is no longer at its path, as when a disk was pulled out.
        """
        for step in steps:
            step.number = len(self.steps)
            self.steps.append(step)
        events = [
            {"step": s.number, "action": s.action, "source": os.fspath(s.source), "target": os.fspath(s.target),
             "details": s.details} for s in steps
        ]  # fmt: skip
        try:
            self._write(events, durable=True)
        except OSError:
            del self.steps[-len(steps) :]
            self._by_path, self._indexed = {}, 0
            raise

    def record(
        self, step: Step, state: str, versions: Details | None = None, durable: bool = False, **details: Any
    ) -> None:
        """Record what became of a step.

        Args:
            step: that was begun.
            state: of the step.
            versions: by path, what these contain now.
            durable: whether this must be on the disk before the next change. It need not if the file system shows it.
            details: what is needed to undo the step.
        """
        event = {"step": step.number, "state": state, "details": details, "versions": versions or {}}
        self._write([event], durable)
        self._apply(step, event)

    def _write(self, events: Sequence[Details], durable: bool) -> None:
        assert self._descriptor is not None
        self.raise_if_gone()
        end = os.fstat(self._descriptor).st_size
        content = b"".join(json.dumps(event).encode() + b"\n" for event in events)
        try:
            if os.write(self._descriptor, content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        except OSError as error:
            os.ftruncate(self._descriptor, end)  # no line may follow a part of one
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        if durable:
            os.fsync(self._descriptor)

    def raise_if_gone(self) -> None:
        """Check that the journal is still at its path.

        Raises:
            OSError: if it is not.
        """
        assert self._descriptor is not None
        current = os.stat(self.path, follow_symlinks=False)
        if not os.path.samestat(current, os.fstat(self._descriptor)):
            raise OSError(errno.ESTALE, "was replaced while it was written", str(self.path))

    def active(self, *actions: str) -> list[Step]:
        """The steps that were carried out and not undone."""
        return [step for step in self.steps if step.state == DONE and (not actions or step.action in actions)]

    def steps_at(self, path: Path) -> list[Step]:
        """The steps with a path as source or target, in order."""
        for step in self.steps[self._indexed :]:
            for name in {step.source, step.target}:
                self._by_path.setdefault(name, []).append(step)
        self._indexed = len(self.steps)
        return self._by_path.get(path, [])

    def mode(self) -> str | None:
        """The mode of the steps that were not undone."""
        return next((step.details["mode"] for step in reversed(self.active()) if "mode" in step.details), None)


@contextmanager
def journal_at(path: Path) -> Iterator[Journal]:
    """Hold a journal, for one process at a time. The file is locked by flock: exFAT has no links, which storage/locks.py needs.

    Raises:
        DataError: as `Journal`.
        OSError: if it cannot be written.
    """
    descriptor = open_locked(path)
    try:
        with Journal(path).opened(descriptor) as journal:
            yield journal
            if not journal.steps or all(step.state in (VOID, UNDONE) for step in journal.steps):
                path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def open_locked(path: Path) -> int:
    """Open a journal for appending, and wait until no other process has it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    while True:
        descriptor = os.open(path, flags, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", str(path))
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                notices.warning("%s: waiting for another process that organizes this library", path)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor)):
                return descriptor
        except FileNotFoundError:  # the other process has undone everything
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
