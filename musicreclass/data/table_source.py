"""Existing feature tables, and how unusable rows are treated."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from musicreclass.data.leaks import NEAR_COPIES, find_near_copies
from musicreclass.data.names import class_names
from musicreclass.data.near_copies import Sketcher, Sketches
from musicreclass.data.table import TableData
from musicreclass.data.tracks import COLUMNS, check_columns, check_returned, duplicate_ids, make_tracks, some, to_text
from musicreclass.errors import DataError

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
        dropped: number of tracks that the source left out, by reason.
        notes: facts that readers of the results need, one line each.

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
    dropped: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.x = as_matrix(self.x)
        self.columns = list(self.columns)
        if self.x.shape[1] != len(self.columns):
            raise DataError(
                f"x: {self.x.shape[1]} features per row, but columns has {len(self.columns)} names",
                kind="wrong_columns",
                key="columns",
                value=len(self.columns),
            )
        check_columns({"track_id": self.track_id, "target": self.target}, len(self.x), "x has {} rows")
        check_columns(self.metadata, len(self.x), "x has {} rows", allowed=METADATA)


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
    """A DataModule over an existing feature table, which a subclass returns in `read`. See docs/datasets.md.

    Args:
        split: the protocol, as in conf/data/split/.
        on_missing: how rows with missing or infinite features are treated: `impute` (the classifier replaces them by
            medians of the training split), `drop`, or `error`. Rows without any finite feature are always dropped.
        min_class_tracks: classes with fewer tracks are left out, and counted.
    """

    def __init__(self, split: dict[str, Any], on_missing: str = "impute", min_class_tracks: int = 1) -> None:
        super().__init__(split)
        self.on_missing = on_missing
        self.min_class_tracks = min_class_tracks

    @abstractmethod
    def read(self) -> FeatureTable:
        """The table as stored on disk."""

    def setup(self, stage: str | None = None) -> None:
        """Read the table, drop unusable rows, and split the tracks. Further calls do nothing."""
        if len(self.tracks):
            return
        table = self.read()
        check_returned(table, FeatureTable, f"{type(self).__name__}.read")
        self.dropped, self.notes, self.columns = dict(table.dropped), list(table.notes), table.columns
        table.target, notes = class_names(to_text(table.target))
        self.notes += notes
        usable = self._usable_rows(table)
        self.x = np.ascontiguousarray(table.x[usable], dtype=np.float32)
        ids = to_text(table.track_id)[usable]
        self.row_track, names = pd.factorize(ids)
        if not table.segments and len(names) < len(ids):
            raise duplicate_ids(ids[ids.duplicated()])
        first = np.flatnonzero(usable)[~ids.duplicated()]
        metadata = {
            name: to_text(values).iloc[first].tolist() for name, values in table.metadata.items() if values is not None
        }
        metadata.setdefault("checksum", self._checksums(len(names)))
        tracks = make_tracks(names, to_text(table.target).iloc[first].tolist(), **metadata)
        self._set_tracks(tracks, table.split_name)
        self._look_for_near_copies()
        copies = self.tracks[self.tracks.checksum.notna() & self.tracks.checksum.duplicated()]
        if len(copies):
            self.notes.append(
                f"{len(copies)} tracks have the same features as another ({some(copies.track_id.tolist())}): "
                "random and grouped splits keep copies together"
            )

    def _look_for_near_copies(self) -> None:
        sketcher = Sketcher.fit(self.x, self.columns)
        if sketcher is not None:
            self.sketches = Sketches(sketcher, sketcher.sketch(self.x), self.row_track.astype(np.int64))
            self.protocol = self.protocol.with_leaks(find_near_copies(self.tracks, self.sketches), NEAR_COPIES)

    def _usable_rows(self, table: FeatureTable) -> np.ndarray:
        """Which rows are usable, bool (rows,); the others are counted. Infinite features become NaN."""
        target, ids = to_text(table.target), to_text(table.track_id)
        finite = np.isfinite(table.x)
        n_finite = finite.sum(axis=1)
        table.x[~finite] = np.nan
        unlabelled = target.isna().to_numpy()
        empty = (n_finite == 0) & ~unlabelled
        incomplete = (n_finite < table.x.shape[1]) & ~empty & ~unlabelled
        if self.on_missing == "error" and (incomplete | empty).any():
            affected = ids[incomplete | empty]
            raise DataError(
                f"data.on_missing=error: {affected.nunique()} tracks have missing or infinite features (the first is "
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
                f"{ids[incomplete].nunique()} tracks have missing or infinite features: replaced by training medians"
            )
        class_size = ids[~dropped].groupby(target[~dropped]).nunique()
        of_small_class = target.isin(class_size.index[class_size < self.min_class_tracks]).to_numpy() & ~dropped
        if of_small_class.any():
            reasons[f"of classes with fewer than {self.min_class_tracks} tracks"] = of_small_class
        dropped |= of_small_class
        for reason, rows in reasons.items():
            self.dropped[reason] = self.dropped.get(reason, 0) + len(set(ids[rows]) - set(ids[~dropped]))
        few = class_size[(class_size < 3) & (class_size >= self.min_class_tracks)]
        if len(few):
            sizes = some([f"{name} {n}" for name, n in few.items()], 6)
            self.notes.append(f"{len(few)} classes have too few tracks to be in train, valid and test ({sizes})")
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
