"""Decides what goes where: from the rows of a table and what exists, the changes of one run. Nothing is written."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from musicreclass.library.changes import Change, Plan, Row, checked_file, labelled_rows
from musicreclass.library.cut import name_of_cut, tags_of_cut
from musicreclass.library.journal import Journal
from musicreclass.library.journal_rules import COMPANIONS, MOVABLE
from musicreclass.library.locations import Label, Locations, earlier_labels, is_among, label_at, label_of
from musicreclass.library.names import MAX_BYTES, fold, numbered, safe_name, split_name
from musicreclass.library.target import TargetFolder, device_of
from musicreclass.prediction.labels import UNKNOWN
from musicreclass.storage.file_parts import file_of, span_of


class Planner:
    """Collects the changes of one run.

    Args:
        root: the target folder, resolved; need not exist.
        mode: `link`, `copy` or `move`.
        journals: the target's own, and others that know of changes.
        portable: whether names of files must be valid on Windows and exFAT.
    """

    def __init__(self, root: Path, mode: str, journals: list[Journal], portable: bool = False) -> None:
        self.mode, self.journals, self.portable = mode, journals, portable
        self.target = TargetFolder(root, Locations(journals, mode))
        self.plan = Plan()
        self.folder_of: dict[str, str] = {}  # by genre
        self.seen: set[Path] = set()
        self.listings: dict[Path, list[str]] = {}

    def name_folders(self, genres: Iterable[str]) -> None:
        """Choose the folder of each genre.

        Raises:
            DataError: if a link or a file has the name of a folder.
        """
        self.folder_of = self.target.name_folders(genres)
        members: dict[str, list[str]] = defaultdict(list)
        for genre, name in self.folder_of.items():
            members[name].append(genre)
        self.plan.merged = {name: several for name, several in members.items() if len(several) > 1}

    def add(self, row: Row) -> None:
        """Add the recording of a row."""
        labelled, label = Path(row["path"]), label_of(row)
        folder = self.target.root / self.folder_of[row["genre"]]
        current = self.target.locations.of(labelled, label)
        if current is not None and not (self.mode == "link" and os.path.lexists(labelled)):
            self._add_placed(row, current, folder)
            return
        path, status, reason = checked_file(row, self.journals, self.mode)
        reason = reason or self._reason_to_stay(path)
        if reason or status is None:
            self.plan.skipped.append((path, reason))
        elif current is not None:
            self._add_placed(row, current, folder)
        elif span_of(path) is not None:
            self._finish(row, self._place_cut(path, folder, status, row), path)
        else:
            self._finish(row, self._place(path, folder, self.mode, status, label), path)

    def _add_placed(self, row: Row, current: Path, folder: Path) -> None:
        """Add a recording that an earlier run has put into the target folder."""
        target = current
        if current.parent == folder:
            self.target.claim(current, current)
            self.plan.present += 1
        else:  # its genre has changed
            target = self._place(current, folder, "move", current.lstat(), label_of(row))
            self._add_companions(current, target, "move")
        labelled, label = Path(row["path"]), label_of(row)
        is_other = os.path.lexists(file_of(labelled)) and label != label_at(labelled)
        if is_other and not is_among(label, earlier_labels(self.journals, labelled)):
            self._count(row, target)  # companions next to the other file are not of this recording
        else:
            self._finish(row, target, labelled)

    def _finish(self, row: Row, target: Path, labelled: Path) -> None:
        self._count(row, target)
        self._add_companions(labelled, target, self.mode)

    def _count(self, row: Row, target: Path) -> None:
        self.plan.genres[self.folder_of[row["genre"]]] += 1
        self.plan.located.append((target, row))

    def _reason_to_stay(self, path: Path) -> str:
        """Why a recording that can be used is not taken; empty if it is."""
        real = Path(os.path.realpath(path.parent)) / path.name
        if real in self.seen:
            return "is in the table under another path"
        self.seen.add(real)
        if self.mode == "move":
            if path.is_symlink():
                return "is a link, which a move would break; use --mode link or copy"
            if path.suffix.lower() not in MOVABLE:
                return "has no suffix of a recording, and undo moves only recordings back; use --mode link or copy"
            if not os.access(path.parent, os.W_OK | os.X_OK):
                return "cannot be moved: its folder is read-only"
        elif not os.access(file_of(path), os.R_OK):
            return "may not be read"
        return ""

    def _place(self, source: Path, folder: Path, action: str, status: os.stat_result, label: Label | None) -> Path:
        """Choose a path for a file and add the change; nothing is added if the file is there already."""
        name = safe_name(source.name, MAX_BYTES) if self.portable else source.name
        stem, suffix = split_name(name)
        companions = self._companions(source)
        number = 1
        while True:
            target = folder / numbered(stem, suffix, number)
            existing = self.target.names(folder).get(fold(target.name))
            if existing is None:
                beside = {folder / numbered(stem, split_name(other)[1], number): other for other in companions}
                if all(self.target.is_free(p, source.with_name(other), self.mode) for p, other in beside.items()):
                    break
            elif self.target.holds(folder / existing, source, action):
                return self._keep(folder / existing, source, action)
            number += 1
        self._append(action, source, target, status, label)
        if target.name != source.name:
            self.plan.renamed.append(self.plan.changes[-1])
        return target

    def _place_cut(self, source: Path, folder: Path, status: os.stat_result, row: Row) -> Path:
        """Choose a path for a track of a disc image and add the change."""
        stem, suffix = split_name(name_of_cut(source, row))
        number = 1
        while fold((target := folder / numbered(stem, suffix, number)).name) in self.target.names(folder):
            number += 1
        tags = tags_of_cut(row)
        version = (status.st_size, status.st_mtime_ns)
        self.plan.changes.append(Change("cut", source, target, *version, True, tags, label_of(row)))
        self.target.claim(target, source)
        return target

    def _keep(self, target: Path, source: Path, action: str) -> Path:
        """Note that a file is at its target already."""
        self.target.claim(target, source)
        self.plan.present += 1
        if action == "move" and target != source:
            self.plan.skipped.append((source, f"{target} has the same content"))
        return target

    def _append(
        self, action: str, source: Path, target: Path, status: os.stat_result, label: Label | None = None
    ) -> None:
        crosses = action == "copy" or (action == "move" and device_of(source.parent) != self.target.device)
        version = (status.st_size, status.st_mtime_ns)
        self.plan.changes.append(Change(action, source, target, *version, crosses, label=label))
        self.target.claim(target, source)

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
            is_placed = self.target.locations.of(source, label_at(source)) is not None
            if source.parent == recording.parent or source in self.seen or is_placed:
                continue
            target = recording.with_name(split_name(recording.name)[0] + split_name(name)[1])
            existing = self.target.names(target.parent).get(fold(target.name))
            try:
                status = source.lstat()
                is_own_link = stat.S_ISLNK(status.st_mode) and str(source) in self.journals[0].versions
                if not (stat.S_ISREG(status.st_mode) or is_own_link):
                    self.plan.skipped.append((source, "is not a regular file"))
                elif existing is None:
                    self._append(action, source, target, status)
                elif not self.target.belongs_to(target.with_name(existing), source, self.mode):
                    self.plan.skipped.append((source, f"{target} exists"))
            except OSError as error:
                self.plan.skipped.append((source, f"cannot be read ({error.strerror})"))
            if action == "move":
                self.seen.add(source)


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
