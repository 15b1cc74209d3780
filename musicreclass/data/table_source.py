"""Tables that someone made: what they say, and what becomes of rows that cannot be used as they are."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from musicreclass.data.table import TableData
from musicreclass.data.tracks import make_tracks, some, text
from musicreclass.errors import DataError

TELLING = 6  # so many features are not shared by two recordings by chance


@dataclass
class FeatureTable:
    """What a file of features says, before any policy.

    Attributes:
        track_id: one id per row, of any type.
        target: class names, None where unknown.
        x: (rows, features) float32, NaN where missing.
        columns: the features' names.
        known: further columns of the Tracks table: `split`, `group`, `album`, ...
        own_split: what the data calls the split in `known`.
        segments: whether several rows of one id are parts of one track, and not a mistake.
        dropped: tracks that the source left out already, by reason.
        notes: what a reader of the results should know, a line each.
    """

    track_id: Any
    target: Any
    x: np.ndarray
    columns: list[str]
    known: dict[str, Any] = field(default_factory=dict)
    own_split: str = "column"
    segments: bool = False
    dropped: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class TableSource(TableData):
    """A table that someone made. A subclass says where it comes from in `read`.

    Args:
        split: the protocol, as in conf/data/split/.
        on_missing: what becomes of a row with missing or infinite features: `impute` (the classifier fills them with
            the training split's medians), `drop`, or `error`. A row without a single finite feature is always dropped.
        min_class_tracks: classes with fewer tracks are left out, and counted.
    """

    def __init__(self, split: dict[str, Any], on_missing: str = "impute", min_class_tracks: int = 1) -> None:
        super().__init__(split)
        self.on_missing = on_missing
        self.min_class_tracks = min_class_tracks

    @abstractmethod
    def read(self) -> FeatureTable:
        """The table as it stands on disk."""

    def setup(self, stage: str | None = None) -> None:
        """Read, apply the policies, split. Calling it again does nothing."""
        if len(self.tracks):
            return
        table = self.read()
        self.dropped, self.notes, self.columns = dict(table.dropped), list(table.notes), table.columns
        keep = self._apply_policies(table)
        self.x = np.ascontiguousarray(table.x[keep], dtype=np.float32)
        ids = text(table.track_id)[keep]
        self.row_track, names = pd.factorize(ids)
        if not table.segments and len(names) < len(ids):
            twice = ids[ids.duplicated()].unique()
            raise DataError(f"{int(ids.duplicated().sum())} duplicate ids ({some(twice)}): an id names one track")
        first = np.flatnonzero(keep)[~ids.duplicated()]
        known = {name: text(values).iloc[first].tolist() for name, values in table.known.items()}
        known.setdefault("checksum", self._checksums(len(names)))
        self._use(make_tracks(names, text(table.target).iloc[first].tolist(), **known), table.own_split)
        copies = self.tracks[self.tracks.checksum.notna() & self.tracks.checksum.duplicated()]
        if len(copies):
            named = some(copies.track_id.tolist())
            self.notes.append(
                f"{len(copies)} tracks repeat another's features ({named}): a drawn split keeps copies together"
            )

    def _apply_policies(self, table: FeatureTable) -> np.ndarray:
        """Which rows stay, bool (rows,); those that do not are counted. Infinite features become missing ones."""
        target, ids = text(table.target), text(table.track_id)
        finite = np.isfinite(table.x)
        filled = finite.sum(axis=1)
        table.x[~finite] = np.nan
        unlabelled = target.isna().to_numpy()
        empty = (filled == 0) & ~unlabelled
        holed = (filled < table.x.shape[1]) & ~empty & ~unlabelled
        if self.on_missing == "error" and (holed | empty).any():
            raise DataError(
                f"{ids[holed | empty].nunique()} tracks have missing or infinite features (the first is "
                f"{ids[holed | empty].iloc[0]}), and data.on_missing=error; impute fills them with training medians, "
                "drop leaves them out"
            )
        out = unlabelled | empty
        reasons = {"without a label": unlabelled, "without a single finite feature": empty}
        if self.on_missing == "drop":
            reasons["with missing or infinite features"] = holed
            out |= holed
        elif holed.any():
            self.notes.append(
                f"{ids[holed].nunique()} tracks have missing or infinite features: training medians fill them"
            )
        count = ids[~out].groupby(target[~out]).nunique()
        small = target.isin(count.index[count < self.min_class_tracks]).to_numpy() & ~out
        if small.any():
            reasons[f"of classes with fewer than {self.min_class_tracks} tracks"] = small
        out |= small
        for reason, rows in reasons.items():
            self.dropped[reason] = self.dropped.get(reason, 0) + len(set(ids[rows]) - set(ids[~out]))
        few = count[(count < 3) & (count >= self.min_class_tracks)]
        if len(few):
            named = some([f"{name} {n}" for name, n in few.items()], 6)
            self.notes.append(f"{len(few)} classes have too few tracks to be in train, valid and test ({named})")
        return np.asarray(~out)

    def _checksums(self, tracks: int) -> list[str | None]:
        """A hash of each track's features; None where they are too few to tell one recording from another."""
        if self.x.shape[1] < TELLING:
            return [None] * tracks
        if len(self.x) == tracks:
            return [hashlib.sha1(row.data).hexdigest() for row in self.x]
        digests = [hashlib.sha1() for _ in range(tracks)]
        for track, row in zip(self.row_track, self.x, strict=True):
            digests[track].update(row.data)
        return [digest.hexdigest() for digest in digests]
