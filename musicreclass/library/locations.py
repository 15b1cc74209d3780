"""Where earlier runs have put recordings, and which of several files that were at one path a row of a table labels."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from musicreclass.library.cut import has_samples_of
from musicreclass.library.journal import Journal, Step
from musicreclass.library.journal_rules import DONE, UNDONE, is_number
from musicreclass.library.transfer import COARSE, Version, digest, is_version
from musicreclass.prediction.formats import VERSION
from musicreclass.storage.file_parts import file_of
from musicreclass.storage.versions import FileVersion

# Of a recording when it was labelled: size in bytes, if known, and modification time in ms
Label = tuple[int | None, int]
MIN_ZEROS = 4  # at the end of a time that a spreadsheet may have rounded


@dataclass
class Placed:
    """A recording that was put into a target folder.

    Attributes:
        first: the step by which it came there.
        labels: that rows of it may have; empty if the journal was written by an earlier version, which did not record them.
        versions: what its target contained.
    """

    first: Step
    labels: set[Label] = field(default_factory=set)
    versions: list[Version] = field(default_factory=list)


def label_of(row: dict[str, Any]) -> Label | None:
    """The size and time of a recording in its row; None if one is missing."""
    numbers = [int(value) for name in VERSION[:2] if isinstance(value := row.get(name), (int, float))]
    return (numbers[0], numbers[1]) if len(numbers) == 2 and all(map(is_number, numbers)) else None


def label_at(path: Path) -> Label | None:
    """The size and time of a file that exists; None if they cannot be read."""
    version = FileVersion.of(path)
    return None if version is None else (version.size, version.mtime_ns // 1_000_000)


def labels_of_step(step: Step) -> set[Label]:
    """The size and time of the recording before a step, and those in the row for which it was made."""
    if "mtime_ns" not in step.details:
        return set()
    labels: set[Label] = {(step.details.get("size"), step.details["mtime_ns"] // 1_000_000)}
    if "labelled" in step.details:
        size, modified = step.details["labelled"]
        labels.add((size, modified))
    return labels


def is_among(label: Label | None, labels: set[Label]) -> bool:
    """Whether a label is one of several, of which some may have no size."""
    return label is not None and (label in labels or (None, label[1]) in labels)


def is_before(version: Version, step: Step) -> bool:
    """Whether a step was made with a file of a version; True if the journal does not have its size and time."""
    if "link" in version or "mtime_ns" not in step.details:
        return True
    size = step.details.get("size", version["size"])
    return bool(size == version["size"] and abs(step.details["mtime_ns"] - version["mtime_ns"]) < COARSE)


class Locations:
    """Where the recordings are now.

    Args:
        journals: of the target folder, and others that know of changed tags.
        mode: of the command.
    """

    def __init__(self, journals: Sequence[Journal], mode: str) -> None:
        self.journals, self.mode = journals, mode
        self._by_origin: dict[Path, list[tuple[Path, Placed]]] = {}
        for target, placed in placed_recordings(journals[0]).items():
            self._by_origin.setdefault(placed.first.source, []).append((target, placed))

    def of(self, labelled: Path, label: Label | None) -> Path | None:
        """Where an earlier run has put a recording; None if it has not, or that file has changed since.

        Args:
            labelled: the path at which it was labelled.
            label: its size and time then.
        """
        versions = self.journals[0].versions
        latest_first = self._by_origin.get(labelled, [])[::-1]
        for target, placed in sorted(latest_first, key=lambda pair: label not in pair[1].labels):
            is_current = is_version(target, versions.get(str(target), {"size": -1}), read=False)
            if is_current and self._is_labelled(labelled, label, target, placed):
                return target
        return None

    def _is_labelled(self, path: Path, label: Label | None, target: Path, placed: Placed) -> bool:
        """Whether a row labels a recording that was put into the target folder, rather than the file that is at its path now."""
        if self.mode == "link":
            return True  # the link leads to that file
        if not os.path.lexists(file_of(path)) or is_link_to(path, target):
            return not placed.labels or any(is_rounded(label, other) for other in placed.labels)
        current = label_at(path)
        if not placed.labels:
            return self.mode == "copy" and label == current and has_content_of(target, placed.first)
        if label in placed.labels:
            return self.mode == "copy" or label != current
        earlier = earlier_labels(self.journals, path)
        is_tagged_since = any(is_among(other, earlier) for other in placed.labels)
        return self.mode == "copy" and is_tagged_since and (label == current or is_among(label, earlier))


def is_link_to(path: Path, target: Path) -> bool:
    """Whether a path is a link to a file, as a user leaves it for a moved one."""
    return path.is_symlink() and os.path.realpath(path) == os.path.realpath(target)


def placed_recordings(journal: Journal) -> dict[Path, Placed]:
    """The recordings in a target folder, by the path at which they are."""
    recordings: dict[Path, Placed] = {}
    for step in journal.steps:
        if step.action == "tag" and step.target in recordings:
            recordings[step.target].versions += step.versions.get(str(step.target), [])
        if step.state != DONE or step.action not in ("link", "copy", "cut", "move"):
            continue
        placed = recordings.pop(step.source, None) if step.action == "move" else None
        if placed is None or not any(is_before(version, step) for version in placed.versions):
            placed = Placed(step)  # also of another file that was at the path of a recording
        if placed.labels or placed.first is step:
            placed.labels |= labels_of_step(step)
        placed.versions = step.versions.get(str(step.target), [])[:]
        recordings[step.target] = placed
    return recordings


def is_rounded(label: Label | None, exact: Label) -> bool:
    """Whether a label is that of a recording, or has its time as a spreadsheet rounds it: 1.79570E+12."""
    if label is None or label[0] != exact[0]:
        return False
    text = str(label[1])
    zeros = len(text) - len(text.rstrip("0"))
    return abs(label[1] - exact[1]) <= (10**zeros if zeros >= MIN_ZEROS else 0)


def has_content_of(target: Path, first: Step) -> bool:
    """Whether the source from which a file was copied or cut has its content still."""
    try:
        if first.action == "cut":
            return has_samples_of(target, first.source)
        return digest(first.source) == first.details.get("sha256")
    except OSError:
        return False


def earlier_labels(journals: Iterable[Journal], path: Path) -> set[Label]:
    """The sizes and times that the file at a path had before organize changed its tag, or moved it away and back."""
    return set().union(*(_earlier_labels(journal, path) for journal in journals))


def _earlier_labels(journal: Journal, path: Path) -> set[Label]:
    labels: set[Label] = set()
    versions: list[Version] = []
    if not is_version(path, journal.versions.get(str(path), {"size": -1}), read=False):
        return labels  # it was changed otherwise
    for step in journal.steps_at(path):
        if str(path) not in step.versions:
            continue
        is_same = step.action == "tag" or (step.action == "move" and step.state == UNDONE and step.source == path)
        if not is_same or (versions and not any(is_before(version, step) for version in versions)):
            labels, versions = set(), []  # another file came to the path
        labels |= labels_of_step(step) if is_same else set()
        versions += step.versions[str(path)]
    return labels if journal.versions[str(path)] in versions else set()
