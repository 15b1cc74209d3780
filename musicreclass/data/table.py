"""Feature tables: one row of numbers per track, in memory, batched as tensors."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch

from musicreclass.data.sampling import TrackSampler
from musicreclass.data.tracks import TrackData, make_tracks, some, text
from musicreclass.errors import DataError

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # x (B, F) float32, class number (B,), row of the table (B,)
TELLING = 6  # so many features are not shared by two recordings by chance
BATCHES_AT_ONCE = 16  # effective batches that a loader hands over together


@dataclass
class Table:
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


class TableData(TrackData):
    """A DataModule over a feature table. A subclass says where the table comes from in `read`.

    Args:
        split: the protocol, as in conf/data/split/.
        on_missing: what becomes of a row with missing or infinite features: `impute` (the classifier fills them with
            the training split's medians), `drop`, or `error`. A row without a single finite feature is always dropped.
        min_class_tracks: classes with fewer tracks are left out, and counted.

    Attributes:
        x: the features in use, (rows, F) float32, NaN where missing.
        row_track: each row's place in the Tracks table, int64; rows are tracks, unless the table is one of segments.
        columns: the features' names.
        transform: applied to a split's features once, before they are batched; a classifier sets it.
    """

    provides = ("table",)

    def __init__(self, split: dict[str, Any], on_missing: str = "impute", min_class_tracks: int = 1) -> None:
        super().__init__(split)
        self.on_missing = on_missing
        self.min_class_tracks = min_class_tracks
        self.x = np.empty((0, 0), np.float32)
        self.row_track = np.empty(0, np.int64)
        self.columns: list[str] = []
        self.transform: Callable[[torch.Tensor], torch.Tensor] | None = None

    @abstractmethod
    def read(self) -> Table:
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

    def _apply_policies(self, table: Table) -> np.ndarray:
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

    def fingerprint(self) -> str:
        """A hash of the tracks, the columns and every feature."""
        digest = hashlib.sha256(super().fingerprint().encode())
        digest.update("\0".join(self.columns).encode())
        digest.update(self.row_track.data)
        digest.update(self.x.data)
        return digest.hexdigest()

    def _rows(self, split: str) -> np.ndarray:
        chosen = (self.tracks.split == split) | (split == "all")
        return np.flatnonzero(chosen.to_numpy()[self.row_track])

    def arrays(self, split: str) -> tuple[list[str], np.ndarray, np.ndarray]:
        """A split's (or `all`) track ids, features (n, F) float32 with NaN where missing, and class numbers (n,) int64."""
        rows = self._rows(split)
        number = self.tracks.target.map({name: i for i, name in enumerate(self.classes)}).to_numpy(np.int64)
        track = self.row_track[rows]
        return self.tracks.track_id.to_numpy()[track].tolist(), self.x[rows], number[track]

    def _batches(self, split: str, batch_size: int, sampled: bool) -> TensorBatches:
        _, features, y = self.arrays(split)
        x = torch.from_numpy(features)
        if self.transform is not None:
            x = self.transform(x)
        sampler = TrackSampler(len(y), self.seed) if sampled else None
        return TensorBatches((x, torch.from_numpy(y), torch.from_numpy(self._rows(split))), batch_size, sampler)

    def train_dataloader(self) -> TensorBatches:
        """Effective batches, several at a time, in an order drawn from (seed, epoch)."""
        return self._batches("train", BATCHES_AT_ONCE * self.batch_size, sampled=True)

    def val_dataloader(self) -> TensorBatches:
        """The validation split in one batch: a table fits in memory, and so does what a network makes of it."""
        return self._batches("valid", 16384, sampled=False)


class TensorBatches:
    """Batches cut from tensors, without any per-row Python work.

    Args:
        tensors: (x, y, row), each with one entry per track.
        batch_size: tracks per batch; the last one may be smaller.
        sampler: gives the order of an epoch; Lightning tells it the epoch. None keeps the table's order.
    """

    batch_sampler = None  # Lightning looks for one beside a sampler

    def __init__(self, tensors: Batch, batch_size: int, sampler: TrackSampler | None) -> None:
        self.tensors = tensors
        self.batch_size = batch_size
        self.sampler = sampler

    def __len__(self) -> int:
        return -(-len(self.tensors[0]) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        x, y, row = self.tensors
        if self.sampler is None:
            yield from zip(*(t.split(self.batch_size) for t in self.tensors), strict=True)
            return
        for rows in self.sampler.order().split(self.batch_size):
            yield x[rows], y[rows], row[rows]
