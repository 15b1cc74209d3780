"""Decides what goes where: from the rows of a table and what exists, the changes of one run. Nothing is written."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from musicreclass.errors import DataError
from musicreclass.library.cut import name_of_cut
from musicreclass.library.journal import Journal
from musicreclass.library.names import MAX_BYTES, fold, numbered, safe_name, split_name
from musicreclass.library.transfer import is_version, same_content
from musicreclass.prediction.labels import UNKNOWN
from musicreclass.storage.file_parts import file_of, span_of

COMPANIONS = (".lrc", ".cue")  # files of the same stem that go along
OWN_FILES = ".musicreclass-"  # what names of the journal and of scratch files begin with
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
    """

    action: str
    source: Path
    target: Path
    size: int
    mtime_ns: int
    crosses: bool
    tags: dict[str, str] = field(default_factory=dict)


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
        merged: genres that share a folder, by the name of the folder.
    """

    changes: list[Change] = field(default_factory=list)
    genres: Counter[str] = field(default_factory=Counter)
    present: int = 0
    located: list[tuple[Path, Row]] = field(default_factory=list)
    renamed: list[Change] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    merged: dict[str, list[str]] = field(default_factory=dict)

    @property
    def bytes_needed(self) -> int:
        """Bytes that the copies take."""
        images = {
            file_of(c.source): c.size for c in self.changes if c.action == "cut"
        }  # of which all tracks are not larger
        copies = [c.size for c in self.changes if c.crosses and c.action != "cut"]
        return sum(copies) + sum(images.values())


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
        return path, None, "no longer exists"
    except OSError as error:
        return path, None, f"cannot be read ({error.strerror})"
    if not stat.S_ISREG(status.st_mode):
        return path, None, "is not a regular file"
    if row.get("size") is None or row.get("modified") is None:
        return path, None, "has no size and time in the table"
    is_current = (row["size"], row["modified"]) == (status.st_size, status.st_mtime_ns // 1_000_000)
    tagged = any(is_version(path, j.versions[str(path)], read=False) for j in journals if str(path) in j.versions)
    if not (is_current or tagged):
        return path, None, "has changed since it was labelled"
    return path, status, ""


class Planner:
    """Collects the changes of one run.

    Args:
        root: the target folder, resolved; need not exist.
        mode: `link`, `copy` or `move`.
        journals: the target's own, and others that know of changes.
        portable: whether names of files must be valid on Windows and exFAT.
    """

    def __init__(self, root: Path, mode: str, journals: list[Journal], portable: bool = False) -> None:
        self.root, self.mode, self.journals, self.portable = root, mode, journals, portable
        self.plan = Plan()
        self.locations = journals[0].locations()
        self.folders = self._existing_folders()
        self.occupied: dict[Path, dict[str, str]] = {}  # by folder: folded name to name
        self.claimed: dict[Path, Path] = {}  # what each target holds, or will
        self.seen: set[Path] = set()
        self.listings: dict[Path, list[str]] = {}
        self.device = _device(root)

    def _existing_folders(self) -> dict[str, str]:
        try:
            return {fold(name): name for name in sorted(os.listdir(self.root), reverse=True)}
        except FileNotFoundError:
            return {}

    def name_folders(self, genres: Iterable[str]) -> None:
        """Choose the folder of each genre. Those that differ only in case or in replaced characters share one.

        Raises:
            DataError: if a link or a file has the name of a folder.
        """
        self.of_genre: dict[str, str] = {}
        members: dict[str, list[str]] = {}
        for genre in sorted(genres):
            name = safe_name(genre)
            name = self.folders.setdefault(fold(name), name)
            path = self.root / name
            if path.is_symlink() or (os.path.lexists(path) and not path.is_dir()):
                line = f"{path}: is {'a link' if path.is_symlink() else 'no folder'}; rename it or choose another --to"
                raise DataError(line, "foreign_output", path)
            self.of_genre[genre] = name
            members.setdefault(name, []).append(genre)
        self.plan.merged = {name: several for name, several in members.items() if len(several) > 1}

    def add(self, row: Row) -> None:
        """Add the recording of a row."""
        labelled = Path(row["path"])
        folder = self.root / self.of_genre[row["genre"]]
        current = self._location(labelled)
        if current is not None:
            target = current
            if current.parent == folder:
                self._claim(current, current)
                self.plan.present += 1
            else:  # its genre has changed
                target = self._place(current, folder, "move", current.lstat())
                self._add_companions(current, target, "move")
            self._finish(row, target, labelled)
            return
        path, status, reason = checked_file(row, self.journals, self.mode)
        if not reason:
            reason = self._reason_to_stay(path)
        if reason or status is None:
            self.plan.skipped.append((path, reason))
            return
        if span_of(path) is not None:
            self._finish(row, self._place_cut(path, folder, status, row), path)
            return
        self._finish(row, self._place(path, folder, self.mode, status), path)

    def _location(self, labelled: Path) -> Path | None:
        """Where an earlier run has put a recording; None if it has not, or that file has changed since."""
        path = self.locations.get(labelled)
        if path is None or not is_version(path, self.journals[0].versions.get(str(path), {"size": -1}), read=False):
            return None
        return path

    def _finish(self, row: Row, target: Path, labelled: Path) -> None:
        self.plan.genres[self.of_genre[row["genre"]]] += 1
        self.plan.located.append((target, row))
        self._add_companions(labelled, target, self.mode)

    def _reason_to_stay(self, path: Path) -> str:
        """Why a recording that can be used is not taken; empty if it is."""
        real = Path(os.path.realpath(path.parent)) / path.name
        if real in self.seen:
            return "is in the table under another path"
        self.seen.add(real)
        if self.mode == "move":
            if path.is_symlink():
                return "is a link, which a move would break; use --mode link or copy"
            if not os.access(path.parent, os.W_OK | os.X_OK):
                return "cannot be moved: its folder is read-only"
        elif not os.access(file_of(path), os.R_OK):
            return "may not be read"
        return ""

    def _names(self, folder: Path) -> dict[str, str]:
        """Names that are taken in a target folder, by their folded form."""
        if folder not in self.occupied:
            try:
                self.occupied[folder] = {fold(name): name for name in sorted(os.listdir(folder), reverse=True)}
            except FileNotFoundError:
                self.occupied[folder] = {}
        return self.occupied[folder]

    def _claim(self, target: Path, source: Path) -> None:
        self._names(target.parent)[fold(target.name)] = target.name
        self.claimed[target] = source

    def _place(self, source: Path, folder: Path, action: str, status: os.stat_result) -> Path:
        """Choose a path for a file and add the change; nothing is added if the file is there already."""
        name = safe_name(source.name, MAX_BYTES) if self.portable else source.name
        stem, suffix = split_name(name)
        companions = self._companions(source)
        number = 1
        while True:
            target = folder / numbered(stem, suffix, number)
            existing = self._names(folder).get(fold(target.name))
            if existing is None:
                beside = {folder / numbered(stem, split_name(other)[1], number): other for other in companions}
                if all(self._is_free(path, source.with_name(other)) for path, other in beside.items()):
                    break
            elif self._holds(folder / existing, source, action):
                return self._keep(folder / existing, source, action)
            number += 1
        self._append(action, source, target, status)
        if target.name != source.name:
            self.plan.renamed.append(self.plan.changes[-1])
        return target

    def _place_cut(self, source: Path, folder: Path, status: os.stat_result, row: Row) -> Path:
        """Choose a path for a track of a disc image and add the change."""
        stem, suffix = split_name(name_of_cut(source, row))
        number = 1
        while fold((target := folder / numbered(stem, suffix, number)).name) in self._names(folder):
            number += 1
        columns = {"title": "title", "artist": "artist", "album": "album", "tracknumber": "track"}
        tags = {name: str(row[column]) for name, column in columns.items() if row.get(column)}
        self.plan.changes.append(Change("cut", source, target, status.st_size, status.st_mtime_ns, True, tags))
        self._claim(target, source)
        return target

    def _is_free(self, target: Path, source: Path) -> bool:
        """Whether a target does not exist, or is made from this source."""
        if fold(target.name) not in self._names(target.parent) or self.claimed.get(target) == source:
            return True
        return self._location(source) == target or self._holds(target, source, self.mode)

    def _keep(self, target: Path, source: Path, action: str) -> Path:
        """Note that a file is at its target already."""
        self._claim(target, source)
        self.plan.present += 1
        if action == "move" and target != source:
            self.plan.skipped.append((source, f"{target} has the same content"))
        return target

    def _holds(self, target: Path, source: Path, action: str) -> bool:
        """Whether a target that exists has the content of a source already."""
        if target in self.claimed:
            return False
        try:
            if action == "link":
                return target.is_symlink() and os.path.samefile(target, source)
            if target == source or (not target.is_symlink() and os.path.samefile(target.parent, source.parent)
                                    and target.name == source.name):  # fmt: skip
                return True
            return not target.is_symlink() and target.is_file() and same_content(source, target)
        except OSError:
            return False

    def _append(self, action: str, source: Path, target: Path, status: os.stat_result) -> None:
        crosses = action == "copy" or (action == "move" and _device(source.parent) != self.device)
        self.plan.changes.append(Change(action, source, target, status.st_size, status.st_mtime_ns, crosses))
        self._claim(target, source)

    def _companions(self, path: Path) -> list[str]:
        """Names of the files that go along with a recording."""
        if path.parent not in self.listings:
            try:
                self.listings[path.parent] = [n for n in os.listdir(path.parent) if n.lower().endswith(COMPANIONS)]
            except OSError:
                self.listings[path.parent] = []
        stem = split_name(path.name)[0]
        return sorted(name for name in self.listings[path.parent] if split_name(name)[0] == stem)

    def _add_companions(self, path: Path, recording: Path, action: str) -> None:
        """Add the companions of a recording, under the stem that it gets."""
        for name in self._companions(path):
            source = path.with_name(name)
            if source.parent == recording.parent or source in self.seen or self._location(source) is not None:
                continue
            target = recording.with_name(split_name(recording.name)[0] + split_name(name)[1])
            existing = self._names(target.parent).get(fold(target.name))
            try:
                status = source.lstat()
                is_own_link = stat.S_ISLNK(status.st_mode) and str(source) in self.journals[0].versions
                if not (stat.S_ISREG(status.st_mode) or is_own_link):
                    self.plan.skipped.append((source, "is not a regular file"))
                elif existing is None:
                    self._append(action, source, target, status)
                elif not self._is_companion_of(target.with_name(existing), source):
                    self.plan.skipped.append((source, f"{target} exists"))
            except OSError as error:
                self.plan.skipped.append((source, f"cannot be read ({error.strerror})"))
            if action == "move":
                self.seen.add(source)

    def _is_companion_of(self, target: Path, source: Path) -> bool:
        """Whether a target is or becomes the copy of a companion."""
        return self.claimed.get(target) == source or self._holds(target, source, self.mode)


def _device(path: Path) -> int:
    """The file system that a path is or will be on."""
    while not os.path.exists(path):
        path = path.parent
    return path.stat().st_dev


def make_plan(rows: Iterable[Row], planner: Planner, with_unknown: bool) -> Plan:
    """The changes that bring every recording of a table into the folder of its genre.

    Args:
        rows: of the table.
        planner: for the target folder.
        with_unknown: whether recordings of unknown genre get a folder too.
    """
    usable = [row for row in labelled_rows(rows) if with_unknown or row["genre"] != UNKNOWN]
    usable.sort(key=lambda row: os.fsencode(row["path"]))
    planner.name_folders({row["genre"] for row in usable})
    for row in usable:
        planner.add(row)
    return planner.plan


def labelled_rows(rows: Iterable[Row]) -> list[Row]:
    """The rows that have a path and a genre, and no error."""
    return [row for row in rows if row.get("path") and row.get("genre") and not row.get("error")]
