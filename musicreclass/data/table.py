"""Feature tables in memory: a row of features per track, batched as tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from musicreclass.data.near_copies import Sketches
from musicreclass.data.sampling import Batch, LoaderSettings, TrackSampler
from musicreclass.data.track_data import TrackData

SCORING_BATCH = 16384  # rows; a table fits in memory, and so do the network's activations for this many rows


class TableData(TrackData):
    """A source with a row of features for each track; a subclass fills `x`, `row_track` and `columns` in `setup`.

    Attributes:
        x: features, (rows, F) float32, NaN where missing.
        row_track: index of each row's track in the Tracks table, int64; a track has several rows in a table of segments.
        columns: names of the features.
        sketches: of the rows, by which near-copies are found; None if they were not computed.
    """

    provides = ("table",)

    def __init__(self, split: dict[str, Any]) -> None:
        super().__init__(split)
        self.x = np.empty((0, 0), np.float32)
        self.row_track = np.empty(0, np.int64)
        self.columns: list[str] = []
        self.sketches: Sketches | None = None

    def fingerprint(self) -> str:
        """A hash of the tracks, the columns and all features."""
        digest = hashlib.sha256(super().fingerprint().encode())
        digest.update("\0".join(self.columns).encode())
        digest.update(self.row_track.data)
        digest.update(self.x.data)
        return digest.hexdigest()

    def _rows(self, split: str) -> np.ndarray:
        in_split = (self.tracks.split == split) | (split == "all")
        return np.flatnonzero(in_split.to_numpy()[self.row_track])

    def row_count(self, split: str) -> int:
        """See `TrackData`."""
        return len(self._rows(split))

    def arrays(self, split: str) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Track ids, features (n, F) float32 with NaN where missing, and `class_numbers` of a split or of `all`."""
        rows = self._rows(split)
        number = self.class_numbers(split)
        track = self.row_track[rows]
        return self.tracks.track_id.to_numpy()[track].tolist(), self.x[rows], number[track]

    def train_loader(self, settings: LoaderSettings) -> TensorBatches:
        """Effective batches of the training split, in an order drawn from (seed, epoch)."""
        rows = self._rows("train")
        sampler = TrackSampler(len(rows), settings.seed)
        return TensorBatches((*self._tensors("train", settings), torch.from_numpy(rows)), settings.batch_size, sampler)

    def scoring_loader(self, split: str, settings: LoaderSettings) -> TensorBatches:
        """Batches of `SCORING_BATCH` rows of a split, in the order of the table, with the numbers of their tracks."""
        track = torch.from_numpy(self.row_track[self._rows(split)])
        return TensorBatches((*self._tensors(split, settings), track), SCORING_BATCH)

    def _tensors(self, split: str, settings: LoaderSettings) -> tuple[torch.Tensor, torch.Tensor]:
        """Features and class numbers of the rows of a split."""
        _, features, y = self.arrays(split)
        x = torch.from_numpy(features)
        if settings.transform is not None:
            x = settings.transform(x)
        return x, torch.from_numpy(y)


class TensorBatches:
    """Batches cut from tensors, without Python work per row.

    Args:
        tensors: x (n, F), `class_numbers` (n,) or (n, C), and numbers (n,) of the rows or of their tracks.
        batch_size: rows per batch; the last one may be smaller.
        sampler: the order of each epoch; None keeps the order of the tensors.
    """

    batch_sampler = None  # Lightning reads this attribute of a loader that has a sampler

    def __init__(self, tensors: Batch, batch_size: int, sampler: TrackSampler | None = None) -> None:
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
