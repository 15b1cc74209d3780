"""The predict task: label files and folders, into a table that can be continued."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from musicreclass.data.audio.discs import SUFFIX, Discs, DiscTrack
from musicreclass.data.audio.search import Skipped, walk
from musicreclass.data.audio.suffixes import SUFFIXES
from musicreclass.data.parallel import show_progress
from musicreclass.errors import DataError, Stopped
from musicreclass.evaluation.predictions import PREFIX
from musicreclass.evaluation.tag_sets import SEPARATOR
from musicreclass.plurals import counted
from musicreclass.prediction.file_classifier import FileClassifier
from musicreclass.prediction.formats import Row
from musicreclass.prediction.labels import UNKNOWN, TagDecision
from musicreclass.prediction.output import LabelTable, as_checked
from musicreclass.runs.signals import stoppable
from musicreclass.storage.file_parts import file_of


@dataclass
class Labelled:
    """What was labelled.

    Attributes:
        output: the file.
        total: recordings in the input.
        before: how many of them had a row that is up to date.
        corrected: rows whose genre a person has checked.
        genres: number of labels of each genre, `unknown` included; of tags, of each tag.
        reasons: number of unknown labels by reason, without its figures.
        errors: files that could not be used, with the reason.
        has_tags: whether a recording has a set of tags.
    """

    output: Path
    total: int = 0
    before: int = 0
    corrected: int = 0
    genres: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    errors: dict[str, str] = field(default_factory=dict)
    has_tags: bool = False


def predict(
    classifier: FileClassifier,
    paths: Sequence[Path],
    output: Path,
    force: bool = False,
    corrections: Mapping[Path, str] | None = None,
    tracks: Mapping[Path, DiscTrack] | None = None,
) -> Labelled:
    """Label recordings and write a table. Files whose row is up to date are skipped.

    Args:
        classifier: opened.
        paths: of the recordings, as `find_recordings` returns them.
        output: `.csv`, `.jsonl` or `.parquet`.
        force: label all files again.
        corrections: genres that a person has checked, by absolute path; they replace those of the classifier.
        tracks: what CUE sheets state of recordings; further columns of their rows.

    Returns:
        what the table says of the recordings.

    Raises:
        UserError: if the table cannot be read or written.
        Stopped: after Ctrl-C, SIGTERM or SIGHUP; the rows that exist were written.
    """
    table = LabelTable(output, classifier.signature, classifier.classes)
    result = Labelled(output, len(paths), has_tags=isinstance(classifier.decision, TagDecision))
    with stoppable() as signals:
        try:
            with table.opened():
                remaining = [path for path in paths if force or not table.is_current(path)]
                result.before = len(paths) - len(remaining)
                label_all(classifier, remaining, table)
                table.drop_replaced(paths)
                table.describe({str(path): track.as_row() for path, track in (tracks or {}).items()})
                table.correct(corrections or {})
        except KeyboardInterrupt:
            raise Stopped("labels the remaining files", signals) from None
    result.corrected = sum(row.get("checked") == "yes" for row in table.rows.values())
    for path in paths:
        count(result, table.rows[str(path)])
    return result


def label_all(classifier: FileClassifier, paths: Sequence[Path], table: LabelTable) -> None:
    """Label files, and add each row to the table as soon as it is finished."""
    versions = {str(path): table.version(path) for path in paths}
    labels = classifier.label(paths)
    with show_progress(f"labelling {counted(len(paths), 'recording')}", len(paths)) as advance, closing(labels):
        for label in labels:
            table.add(label, versions[label.path])
            advance(1)


def label_frame(
    classifier: FileClassifier,
    inputs: Sequence[Path],
    corrections: Mapping[Path, str] | None = None,
    with_top: bool = False,
) -> pd.DataFrame:
    """The labels of recordings as a table, in the order of the inputs; see `musicreclass.predict`.

    Args:
        classifier: opened.
        inputs: files and folders.
        corrections: as in `predict`; with the column `checked`.
        with_top: whether there is a column of the most probable classes.
    """
    discs = Discs()
    paths, _ = find_recordings(inputs, discs)
    with closing(classifier.label(paths)) as labels:
        by_path = {label.path: label for label in labels}
    columns = ["path", "genre", "confidence", "reason", "duration", "error"]
    if isinstance(classifier.decision, TagDecision):
        columns.insert(3, "tags")
    if with_top:
        columns.insert(3, "top_predictions")
    if corrections is not None:
        columns.insert(2, "checked")
    rows = []
    for path in paths:
        label = by_path[str(path)]
        row = {**label.as_json(), "confidence": label.confidence, "duration": label.duration}
        if corrections and path in corrections:
            row |= as_checked(corrections[path])
        rows.append([row.get(name) for name in columns])
    table = pd.DataFrame(rows, columns=columns, dtype=object)  # pandas' own texts cannot have names that are not UTF-8
    missing = (math.nan,) * len(classifier.classes)
    probabilities = np.array([by_path[str(path)].probabilities or missing for path in paths])
    names = [PREFIX + name for name in classifier.classes]
    table[["confidence", "duration"]] = table[["confidence", "duration"]].astype(float)
    parts = [pd.DataFrame(probabilities, columns=names)]
    if discs.tracks:
        sheet_rows = [discs.tracks[path].as_row() if path in discs.tracks else {} for path in paths]
        parts.append(pd.DataFrame(sheet_rows, dtype=object))
    return pd.concat([table, *parts], axis=1)


def count(result: Labelled, row: Row) -> None:
    """Add a row to the counts."""
    if row.get("error"):
        result.errors[row["path"]] = row["error"]
        return
    result.genres.update(row["tags"].split(SEPARATOR) if result.has_tags and row.get("tags") else [row["genre"]])
    if row["genre"] == UNKNOWN and row.get("reason"):
        result.reasons[row["reason"].partition(" (")[0]] += 1


def find_recordings(
    inputs: Iterable[Path], discs: Discs | None = None, option: str = "--input"
) -> tuple[list[Path], list[str]]:
    """The recordings of files and folders, as absolute paths, each once, and facts about what was skipped.

    Args:
        inputs: a file is taken whatever its name; of a folder, those with the suffix of a recording. A disc image with a CUE sheet
            gives its tracks, a CUE sheet those of its files. In a folder, links to other recordings of the result are left out.
        discs: takes what the sheets state.
        option: that names the inputs, for messages.

    Raises:
        DataError: if an input does not exist, or there are no recordings.
    """
    paths: dict[Path, None] = {}
    named: set[Path] = set()
    skipped, discs = Skipped(), Discs() if discs is None else discs
    inputs = [Path(os.path.abspath(path.expanduser())) for path in inputs]
    for path in inputs:
        if os.path.isdir(path):  # unlike Path.is_dir, also for a name that is too long
            for folder, files in walk(path, skipped):
                paths |= dict.fromkeys(discs.add(folder, files))
        elif os.path.lexists(path):
            named.update(tracks := tracks_of_input(path, discs))
            paths |= dict.fromkeys(tracks)
        else:
            raise DataError(f"{option} {path}: no such file or folder", "file_not_found", path)
    notes = [f"skipped: {counted(number, 'file')} {text}" for text, number in skipped.unknown_suffixes().items()]
    if not paths:
        folders = ", ".join(map(str, inputs))
        line = f"{option} {folders}: contains no recordings ({', '.join(SUFFIXES)})"
        raise DataError("; ".join([line, *notes, *discs.notes]), "no_recordings", folders)
    twins = links_to_others(paths) - named
    if twins:
        notes.append(f"skipped: {counted(len(twins), 'link')} to recordings that are in the input themselves")
    return [path for path in paths if path not in twins], [*notes, *skipped.refusals(), *discs.summary()]


def links_to_others(paths: Iterable[Path]) -> set[Path]:
    """The links that lead to another one of some recordings, as those that organize has made in the library itself."""
    files = {path: file_of(path) for path in paths}
    links = {path for path, file in files.items() if file.is_symlink()}
    if not links:
        return set()
    others = {identity(file) for path, file in files.items() if path not in links}
    return {path for path in links if identity(files[path]) in others}


def identity(file: Path) -> tuple[int, int] | Path:
    """The device and inode of a file; its path if it does not exist."""
    try:
        status = file.stat()
    except OSError:
        return file
    return status.st_dev, status.st_ino


def tracks_of_input(path: Path, discs: Discs) -> list[Path]:
    """The recordings of a CUE sheet, or of a file that one in its folder may name."""
    if path.parent not in discs.folders:
        with suppress(OSError):  # a folder whose names cannot be listed
            discs.add(path.parent, sorted(f for f in path.parent.iterdir() if f.suffix.lower() in SUFFIXES))
    files = discs.named.get(path, []) if path.suffix.lower() == SUFFIX else [path]
    return [part for file in files for part in discs.parts.get(file, [file])]
