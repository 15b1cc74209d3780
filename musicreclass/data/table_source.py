"""Existing feature tables, and how unusable rows are treated."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from musicreclass.config.messages import nearest
from musicreclass.data.class_map import nothing_mapped
from musicreclass.data.column_checks import INDEX_COLUMN, Suspicion, named, suspicious_columns
from musicreclass.data.leaks import NEAR_COPIES, find_near_copies
from musicreclass.data.near_copies import Sketcher, Sketches
from musicreclass.data.table import TableData
from musicreclass.data.targets import each_label, named_alike, small_tags_note, without_labels
from musicreclass.data.track_data import check_returned
from musicreclass.data.tracks import (
    COLUMNS,
    as_targets,
    check_columns,
    chosen,
    duplicate_ids,
    make_tracks,
    some,
    to_text,
)
from musicreclass.errors import DataError
from musicreclass.evaluation.tag_sets import has_tag_sets, target_text
from musicreclass.plurals import counted

METADATA = tuple(column for column in COLUMNS if column not in ("track_id", "target"))
MIN_CHECKSUM_FEATURES = 6  # two recordings do not share this many features by chance


@dataclass
class FeatureTable:
    """The content of a feature file, before unusable rows are dropped.

    Attributes:
        track_id: one id per row, of any type.
        target: class names, None if unknown.
        x: (rows, features), converted to float32; NaN if missing.
        columns: names of the features.
        metadata: further columns of the Tracks table: `split`, `group`, `album`, ...
        split_name: the protocol name of the split in `metadata`.
        segments: whether several rows of one id are segments of one track; otherwise they are an error.
        left_out: columns that `read` left out, because they number the rows or the settings say so.
        dropped: number of tracks that the source left out, by reason.
        notes: facts that readers of the results need, one line each.
        artist_names: as in `Recordings`.

    Raises:
        DataError: if a column of the Tracks table is unknown, `x` is not a matrix of numbers, or lengths differ.
    """

    track_id: Any
    target: Any
    x: np.ndarray
    columns: list[str]
    metadata: dict[str, Any] = field(default_factory=dict)
    split_name: str = "column"
    segments: bool = False
    left_out: list[str] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    artist_names: Any = None

    def __post_init__(self) -> None:
        self.x = as_matrix(self.x)
        self.columns = list(self.columns)
        if self.x.shape[1] != len(self.columns):
            raise DataError(
                f"x: {counted(self.x.shape[1], 'feature')} per row, but columns has {counted(len(self.columns), 'name')}",
                kind="wrong_columns",
                key="columns",
                value=len(self.columns),
            )
        check_columns({"track_id": self.track_id, "target": self.target}, len(self.x), "x has {} rows")
        check_columns(self.metadata, len(self.x), "x has {} rows", allowed=METADATA)

    def select(self, rows: np.ndarray) -> FeatureTable:
        """Some of the rows, by their indices."""
        metadata = {name: chosen(values, rows) for name, values in self.metadata.items()}
        track_id, target = chosen(self.track_id, rows), chosen(self.target, rows)
        names = chosen(self.artist_names, rows)
        return replace(self, track_id=track_id, target=target, x=self.x[rows], metadata=metadata, artist_names=names)


def as_list(names: Iterable[str]) -> str:
    """Names as a list in Hydra's grammar, quoted."""
    return f"[{','.join(json.dumps(name, ensure_ascii=False) for name in names)}]"


def as_matrix(x: Any) -> np.ndarray:
    """Features as a writable float32 matrix; values beyond float32 become infinite. An array that is one already is not copied.

    Raises:
        DataError: if they are not a matrix of numbers.
    """
    try:
        with np.errstate(over="ignore"):
            matrix = np.require(x, np.float32, "W")
    except (TypeError, ValueError) as error:
        raise DataError(f"x: not a matrix of numbers: {error}", kind="not_a_matrix", key="x") from error
    if matrix.ndim != 2:
        raise DataError(
            f"x: must have the shape (rows, features), not {matrix.shape}",
            kind="not_a_matrix",
            key="x",
            value=matrix.shape,
        )
    return matrix


class TableSource(TableData):
    """A source of tracks from an existing feature table, which a subclass returns in `read`. See docs/datasets.md.

    Args:
        split: the protocol, as in conf/data/split/.
        on_missing: how rows with missing or infinite features are treated: `impute` (the classifier replaces them by
            medians of the training split), `drop`, or `error`. Rows without any finite feature are always dropped.
        min_class_tracks: classes with fewer tracks are left out, and counted.
        ignore_columns: columns that are not features.
        keep_columns: columns that are features, although they resemble row numbers, ids or classes.
    """

    def __init__(
        self,
        split: dict[str, Any],
        on_missing: str = "impute",
        min_class_tracks: int = 1,
        ignore_columns: tuple[str, ...] | list[str] = (),
        keep_columns: tuple[str, ...] | list[str] = (),
    ) -> None:
        super().__init__(split)
        self.on_missing = on_missing
        self.min_class_tracks = min_class_tracks
        self.ignore_columns, self.keep_columns = list(ignore_columns), list(keep_columns)

    @abstractmethod
    def read(self) -> FeatureTable:
        """The table as stored on disk."""

    def is_left_out(self, column: Any) -> bool:
        """Whether a column is no feature: the settings say so, or it has no name, as a frame's index has in a file."""
        name = str(column)
        return name in self.ignore_columns or (
            name not in self.keep_columns and INDEX_COLUMN.fullmatch(name) is not None
        )

    def setup(self, stage: str | None = None) -> None:
        """Read the table, drop unusable rows and columns, and split the tracks. Further calls do nothing.

        Raises:
            DataError: if the table cannot be used, or columns resemble row numbers, ids or classes.
        """
        if len(self.tracks):
            return
        table = self.read_table()
        self.columns = table.columns
        table.target, notes = named_alike(as_targets(table.target))
        self.notes += notes
        usable = self._usable_rows(table)
        self.x = np.ascontiguousarray(table.x if usable.all() else table.x[usable], dtype=np.float32)
        ids = to_text(table.track_id)[usable]
        self.row_track, names = pd.factorize(ids)
        if not table.segments and len(names) < len(ids):
            raise duplicate_ids(ids[ids.duplicated()])
        first = np.flatnonzero(usable)[~ids.duplicated()]
        metadata = {
            name: to_text(values).iloc[first].tolist() for name, values in table.metadata.items() if values is not None
        }
        metadata.setdefault("checksum", self._checksums(len(names)))
        tracks = make_tracks(names, table.target.iloc[first].tolist(), **metadata)
        self._set_tracks(tracks, table.split_name)
        self._check_columns()
        self._look_for_near_copies()
        copies = self.tracks[self.tracks.checksum.notna() & self.tracks.checksum.duplicated()]
        if len(copies):
            self.notes.append(
                f"{counted(len(copies), 'track has', 'tracks have')} the same features as another ({some(copies.track_id.tolist())}): "
                "random and grouped splits keep copies together"
            )

    def read_table(self) -> FeatureTable:
        """The table on disk, checked, without columns that are no features, with the classes that the class map gives and without
        those that it leaves out.

        Raises:
            DataError: if the table has no features, or the class map does not name a class, or leaves nothing.
        """
        table = self.read()
        check_returned(table, FeatureTable, f"{type(self).__name__}.read")
        self.dropped, self.notes = dict(table.dropped), list(table.notes)
        self._leave_out_columns(table)
        if self.class_map is None:
            return table
        target, left_out = self._mapped(table.target, table.track_id)
        if left_out.all():
            raise nothing_mapped(self.class_map)
        return replace(table, target=target).select(np.flatnonzero(~left_out))

    def _leave_out_columns(self, table: FeatureTable) -> None:
        """Remove the columns that are no features from a table, and say which had no name."""
        available = {*map(str, table.columns), *map(str, table.left_out)}
        for setting, names in (("ignore_columns", self.ignore_columns), ("keep_columns", self.keep_columns)):
            for name in names:
                if name not in available:
                    raise DataError(
                        f"{self._name()}: no column {name!r} (data.{setting}); {nearest(name, available)}",
                        kind="missing_column",
                        key=f"data.{setting}",
                        value=name,
                    )
        features = [j for j, name in enumerate(table.columns) if not self.is_left_out(name)]
        left_out = [*table.left_out, *(name for name in table.columns if self.is_left_out(name))]
        if len(features) < len(table.columns):
            table.x, table.columns = table.x[:, features], [table.columns[j] for j in features]
        index = [str(name) for name in left_out if str(name) not in self.ignore_columns]
        if index:
            self.notes.append(f"unnamed columns were ignored, as they number the rows ({some(index)!r})")
        if not features:
            raise DataError(f"{self._name()}: no feature columns", kind="no_features", key=self._name())

    def _check_columns(self) -> None:
        """Look for columns that are no features. Those that certainly are none must be ignored or kept explicitly."""
        tracks = self.tracks
        suspicions = suspicious_columns(
            self.x, [str(c) for c in self.columns], self.row_track,
            *(tracks[name].map(target_text).to_numpy(object) for name in ("target", "split", "group")),
        )  # fmt: skip
        refused = [s for s in suspicions if s.certain and str(self.columns[s.column]) not in self.keep_columns]
        if refused and self.needs:  # data that is only scored cannot change what the model reads
            raise self._suspicious(refused)
        for mark in dict.fromkeys(s.mark for s in suspicions):
            self._add_caution(mark, named((s for s in suspicions if s.mark == mark), self.columns))

    def _suspicious(self, refused: list[Suspicion]) -> DataError:
        names = [str(self.columns[s.column]) for s in refused]
        ignore, keep = as_list([*self.ignore_columns, *names]), as_list([*self.keep_columns, *names])
        return DataError(
            f"{self._name()}: {named(refused, self.columns)}: leave out what is no feature with 'data.ignore_columns={ignore}', "
            f"or use it all the same with 'data.keep_columns={keep}'",
            kind="suspicious_columns",
            key="data.ignore_columns",
            value=names,
            suggestion=f"data.ignore_columns={ignore}",
        )

    def _name(self) -> str:
        return self.source() or type(self).__name__

    def _look_for_near_copies(self) -> None:
        sketcher = Sketcher.fit(self.x, self.columns)
        if sketcher is not None:
            self.sketches = Sketches(sketcher, sketcher.sketch(self.x), self.row_track.astype(np.int64))
            self.protocol = self.protocol.with_leaks(find_near_copies(self.tracks, self.sketches), NEAR_COPIES)

    def _usable_rows(self, table: FeatureTable) -> np.ndarray:
        """Which rows are usable, bool (rows,); the others are counted. Infinite features become NaN."""
        target, ids = table.target, to_text(table.track_id)
        finite = np.isfinite(table.x)
        n_finite = finite.sum(axis=1)
        table.x[~finite] = np.nan
        unlabelled = target.isna().to_numpy()
        empty = (n_finite == 0) & ~unlabelled
        incomplete = (n_finite < table.x.shape[1]) & ~empty & ~unlabelled
        if self.on_missing == "error" and (incomplete | empty).any():
            affected = ids[incomplete | empty]
            raise DataError(
                f"data.on_missing=error: {counted(affected.nunique(), 'track has', 'tracks have')} missing or infinite features (the first is "
                f"{affected.iloc[0]}); use impute to replace them by training medians, or drop to leave the tracks out",
                kind="missing_features",
                key="data.on_missing",
                value=affected.nunique(),
            )
        dropped = unlabelled | empty
        reasons = {"without a label": unlabelled, "without a single finite feature": empty}
        if self.on_missing == "drop":
            reasons["with missing or infinite features"] = incomplete
            dropped |= incomplete
        elif incomplete.any():
            self.notes.append(
                f"{counted(ids[incomplete].nunique(), 'track has', 'tracks have')} missing or infinite features: replaced by training medians"
            )
        labels = each_label(target[~dropped])
        class_size = ids.loc[labels.index].groupby(labels.to_numpy(object)).nunique()
        small = set(class_size.index[class_size < self.min_class_tracks])
        if has_tag_sets(target) and small:
            table.target = target = without_labels(target, small)
            self.notes.append(small_tags_note(small, self.min_class_tracks))
        of_small_class = target.isin(small).to_numpy() & ~dropped
        if of_small_class.any():
            reasons[f"of classes with fewer than {self.min_class_tracks} tracks"] = of_small_class
        dropped |= of_small_class
        for reason, rows in reasons.items():
            self.dropped[reason] = self.dropped.get(reason, 0) + len(set(ids[rows]) - set(ids[~dropped]))
        few = class_size[(class_size < 3) & (class_size >= self.min_class_tracks)]
        if len(few):
            sizes = some([f"{name} {n}" for name, n in few.items()], 6)
            self.notes.append(
                f"{counted(len(few), 'class has', 'classes have')} too few tracks to be in train, valid and test ({sizes})"
            )
        return np.asarray(~dropped)

    def _checksums(self, tracks: int) -> list[str | None]:
        """A hash of each track's features; None if there are too few features to identify a recording."""
        if self.x.shape[1] < MIN_CHECKSUM_FEATURES:
            return [None] * tracks
        if len(self.x) == tracks:
            return [hashlib.sha1(row.data).hexdigest() for row in self.x]
        digests = [hashlib.sha1() for _ in range(tracks)]
        for track, row in zip(self.row_track, self.x, strict=True):
            digests[track].update(row.data)
        return [digest.hexdigest() for digest in digests]
