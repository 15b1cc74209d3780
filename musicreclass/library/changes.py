"""The changes of one run of organize, and which recordings of a table can be used."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from musicreclass.data.audio.search import is_utf8
from musicreclass.library.journal import Journal
from musicreclass.library.journal_rules import OWN_FILES
from musicreclass.library.locations import Label, earlier_labels, is_among, label_of
from musicreclass.storage.file_parts import file_of, span_of

Row = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """A file that goes to another path.

    Attributes:
        action: `link`, `copy`, `move`, or `cut` for a track of a disc image.
        source: the file as it is now; of `cut`, the part of it.
        target: a free path.
        size: in bytes.
        mtime_ns: when it was modified.
        crosses: whether its bytes must be copied.
        tags: of a track that is cut out.
        label: of its recording in the table.
    """

    action: str
    source: Path
    target: Path
    size: int
    mtime_ns: int
    crosses: bool
    tags: dict[str, str] = field(default_factory=dict)
    label: Label | None = None


@dataclass
class Plan:
    """The changes of one run.

    Attributes:
        changes: in order.
        genres: number of recordings by folder, those that are there already included.
        present: number of recordings that are there already.
        located: path of each recording after the run, and its row.
        renamed: changes that get another name, since theirs is taken.
        skipped: files that stay as they are, with the reason.
        failed: how many of them should have been changed.
        merged: genres that share a folder, by the name of the folder.
    """

    changes: list[Change] = field(default_factory=list)
    genres: Counter[str] = field(default_factory=Counter)
    present: int = 0
    located: list[tuple[Path, Row]] = field(default_factory=list)
    renamed: list[Change] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    failed: int = 0
    merged: dict[str, list[str]] = field(default_factory=dict)

    def fail(self, path: Path, reason: str) -> None:
        """Add a file whose change has failed."""
        self.skipped.append((path, reason))
        self.failed += 1

    @property
    def bytes_needed(self) -> int:
        """Bytes that the copies take; the tracks of an image together at most as many as the image."""
        images = {file_of(change.source): change.size for change in self.changes if change.action == "cut"}
        copies = [change.size for change in self.changes if change.crosses and change.action != "cut"]
        return sum(copies) + sum(images.values())


def labelled_rows(rows: Iterable[Row]) -> list[Row]:
    """The rows that have a path and a genre, and no error."""
    return [row for row in rows if row.get("path") and row.get("genre") and not row.get("error")]


def checked_file(
    row: Row, journals: Iterable[Journal], mode: str | None = None
) -> tuple[Path, os.stat_result | None, str]:
    """The recording of a row: its path, its status, and why it cannot be used.

    Args:
        row: of a table of labels.
        journals: that know of changes by this command after the table was written.
        mode: of the command; only `copy` takes tracks of disc images.
    """
    path = Path(row["path"])
    if not path.is_absolute() or "\0" in row["path"] or ".." in path.parts:
        return path, None, "its path is not one that `predict` writes"
    if path.name.startswith(OWN_FILES):
        return path, None, "it belongs to this command"
    if span_of(path) is not None and mode != "copy":
        return path, None, "is a track of a disc image; --mode copy cuts it out"
    try:
        status = file_of(path).stat()
    except FileNotFoundError:
        is_recoded = not is_utf8(row["path"])
        return path, None, "does not exist; was the table saved in UTF-8?" if is_recoded else "no longer exists"
    except OSError as error:
        return path, None, f"cannot be read ({error.strerror})"
    if not stat.S_ISREG(status.st_mode):
        return path, None, "is not a regular file"
    if row.get("size") is None or row.get("modified") is None:
        return path, None, "has no size and time in the table"
    is_current = (row["size"], row["modified"]) == (status.st_size, status.st_mtime_ns // 1_000_000)
    if not (is_current or is_among(label_of(row), earlier_labels(journals, path))):
        return path, None, "has changed since it was labelled"
    return path, status, ""
