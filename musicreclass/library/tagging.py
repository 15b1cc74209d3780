"""Genre tags of the recordings of a plan, and the order in which tags and target folders can be undone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from musicreclass.data.parallel import show_progress
from musicreclass.errors import DataError
from musicreclass.library.carry_out import note_failure
from musicreclass.library.changes import Plan, Row
from musicreclass.library.journal import Journal, Step, journal_at
from musicreclass.library.journal_rules import DONE, NAME, UNDONE
from musicreclass.library.recovery import resolve
from musicreclass.library.tag_files import write_tag
from musicreclass.library.tags import TagError
from musicreclass.library.transfer import is_version
from musicreclass.plurals import counted
from musicreclass.prediction.labels import UNKNOWN

FILES = ("copy", "cut", "move")  # actions that put a file into a target folder


def taggable(located: Sequence[tuple[Path, Row]]) -> list[tuple[Path, Row]]:
    """The recordings that get a genre tag."""
    return [(path, row) for path, row in located if row["genre"] != UNKNOWN]


def tag_all(located: Sequence[tuple[Path, Row]], journal: Journal, plan: Plan) -> int:
    """Write the genre tags of recordings; those that cannot be tagged are added to the skipped ones.

    Returns:
        the number of files that were changed.
    """
    finished = {step.target: step.details["genre"] for step in journal.active("tag")}
    changed = 0
    pending, folders = taggable(located), OrganizedFolders()
    with show_progress(f"writing tags of {counted(len(pending), 'file')}", len(pending)) as advance:
        for path, row in pending:
            genre, version = row["genre"], journal.versions.get(str(path))
            if journal.root is None and (reason := folders.reason_to_skip(path)):
                plan.skipped.append((path, reason))
            elif finished.get(path) != genre or version is None or not is_version(path, version, read=False):
                changed += tag_one(path, genre, journal, plan)
            advance(1)
    return changed


def tag_one(path: Path, genre: str, journal: Journal, plan: Plan) -> bool:
    """Write the genre tag of a recording; return whether it was changed."""
    if path.is_symlink():
        plan.skipped.append((path, "no tag: it is a link"))
        return False
    steps = len(journal.steps)
    try:
        return write_tag(journal, path, "".join(c if c.isprintable() else "_" for c in genre))
    except TagError as error:
        reason = f"no tag: {error}"
        if len(journal.steps) > steps:
            plan.fail(path, reason)
        else:
            plan.skipped.append((path, reason))
    except OSError as error:
        journal.raise_if_gone()
        for step in journal.steps[steps:]:
            resolve(journal, step)
            if step.state == DONE:
                return True
        note_failure(error, journal, plan, path)
    return False


class OrganizedFolders:
    """Knows which files organize has put into a folder. A tag of these must be in the journal of the folder, which undoes both in order."""

    def __init__(self) -> None:
        self._journals: dict[Path, tuple[str | None, set[Path]]] = {}

    def reason_to_skip(self, path: Path) -> str:
        """Why no tag may be written to a file in place; empty if it may."""
        real = Path(os.path.realpath(path.parent)) / path.name
        root = real.parent.parent
        if root not in self._journals:
            try:
                journal = Journal(root / NAME)
            except DataError as error:
                return f"no tag: {error}"
            self._journals[root] = (journal.mode(), {step.target for step in journal.active(*FILES)})
        mode, targets = self._journals[root]
        return f"no tag: was organized; use --mode {mode} --to {root} --tags" if real in targets else ""


def note_target(path: Path, root: Path) -> None:
    """Note in the journal next to a table that its recordings go to a target folder, if any of them has a new tag.

    Args:
        path: of the journal.
        root: the target folder.
    """
    journal = Journal(path)
    if journal.active("tag") and root not in [step.target for step in journal.active("organized")]:
        with journal_at(path) as opened:
            step = Step("organized", root)
            opened.begin(step)
            opened.record(step, DONE)


def raise_if_organized(journal: Journal) -> None:
    """Check that no recording whose tag is to be restored was copied or moved to a target folder with its new tag.

    Args:
        journal: next to a table.

    Raises:
        DataError: if one was, and an undo of that folder has not begun.
    """
    tagged = {step.target for step in journal.active("tag")}
    for note in journal.active("organized"):
        steps = Journal(note.target / NAME).steps
        is_later = any(step.state == DONE and step.source in tagged for step in steps)
        if is_later and not any(step.state == UNDONE for step in steps):
            line = (
                f"{note.target}: has recordings with these tags; undo it first: musicreclass organize --undo --to {note.target}; "
                "nothing was changed"
            )
            raise DataError(line, "undo_first", note.target)
