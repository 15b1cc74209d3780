"""Feature tables: a row of numbers per track, in memory, batched as tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from musicreclass.data.sampling import TrackSampler
from musicreclass.data.tracks import TrackData

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # x (B, F) float32, class number (B,), row of the table (B,)
BATCHES_AT_ONCE = 16  # effective batches that a loader hands over together


class TableData(TrackData):
    """A DataModule with a row of features for each track; a subclass fills `x`, `row_track` and `columns` in `setup`.

    Attributes:
        x: the features in use, (rows, F) float32, NaN where missing.
        row_track: each row's place in the Tracks table, int64; rows are tracks, unless the table is one of segments.
        columns: the features' names.
        transform: applied to a split's features once, before they are batched; a classifier sets it.
    """

    provides = ("table",)

    def __init__(self, split: dict[str, Any]) -> None:
        super().__init__(split)
        self.x = np.empty((0, 0), np.float32)
        self.row_track = np.empty(0, np.int64)
        self.columns: list[str] = []
        self.transform: Callable[[torch.Tensor], torch.Tensor] | None = None

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
