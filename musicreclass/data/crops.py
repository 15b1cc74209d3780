"""Batches of crops of recordings: drawn anew in each epoch for training, evenly spaced for scoring."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from musicreclass.data.sampling import Batch, LoaderSettings, TrackSampler, derive_seed

if TYPE_CHECKING:
    from musicreclass.data.recordings import AudioData


@dataclass(frozen=True)
class RandomCrop:
    """One crop per draw, at a position drawn from (seed, epoch, draw).

    Attributes:
        n: samples per crop.
        seed: seed of the run.
        sampler: holds the current epoch.
    """

    n: int
    seed: int
    sampler: TrackSampler

    def starts(self, length: int, draw: int) -> list[int]:
        """First sample of each crop of a recording with `length` samples."""
        room = max(0, length - self.n)
        return [derive_seed(self.seed, self.sampler.epoch, draw, 1) % (room + 1)]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one track's crops."""
        return (self.n,)


@dataclass(frozen=True)
class EvenCrops:
    """Evenly spaced crops, from the first sample of a recording to the last.

    Attributes:
        n: samples per crop.
        count: crops per recording.
        single: position of a single crop: `middle` or `start`.
    """

    n: int
    count: int
    single: str = "middle"

    def starts(self, length: int, draw: int) -> list[int]:
        """First sample of each crop of a recording with `length` samples."""
        room = max(0, length - self.n)
        if self.count == 1:
            return [room // 2 if self.single == "middle" else 0]
        return [room * k // (self.count - 1) for k in range(self.count)]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one track's crops."""
        return (self.count, self.n)


class ClipBatches:
    """Batches of int16 crops, prepared by threads while the network computes; decoding and resampling release the GIL.

    The content of a batch does not depend on the number of threads. Training batches are x (B, n), scoring batches
    (B, crops, n).

    Args:
        data: set up.
        rows: the tracks, rows of the Tracks table (n,).
        y: their class numbers (n,).
        crops: where to cut.
        batch_size: tracks per batch; the last one may be smaller.
        settings: `prefetch` and `pin_memory` are used.
        sampler: the order of each epoch; None keeps the order of the table.

    Attributes:
        waited: seconds that the consumer has waited for batches.
    """

    batch_sampler = None  # Lightning reads this attribute of a loader that has a sampler

    def __init__(
        self,
        data: AudioData,
        rows: np.ndarray,
        y: np.ndarray,
        crops: RandomCrop | EvenCrops,
        batch_size: int,
        settings: LoaderSettings,
        sampler: TrackSampler | None = None,
    ) -> None:
        self.data, self.rows, self.y, self.crops = data, rows, torch.from_numpy(y), crops
        self.keys = track_keys(data.tracks.track_id.iloc[rows].tolist())
        self.batch_size, self.settings = batch_size, settings
        self.sampler = sampler
        self.waited = 0.0

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        order = torch.arange(len(self.rows)) if self.sampler is None else self.sampler.order()
        rows = torch.from_numpy(self.rows)[order]
        # Each draw of a track within an epoch has its own number, so that its crops and augmentation differ. It follows from the
        # track's id, not from its row: tracks of other splits change nothing.
        draw = self.keys[order] + count_earlier(rows)
        batches = list(zip(*(t.split(self.batch_size) for t in (rows, self.y[order], draw)), strict=True))
        with ThreadPoolExecutor(self.data.workers, thread_name_prefix="crops") as pool:
            pending: list[tuple[torch.Tensor, list[Future[None]]]] = []
            try:
                for i in range(len(batches)):
                    while len(pending) < self.settings.prefetch and i + len(pending) < len(batches):
                        pending.append(self._submit(pool, *batches[i + len(pending)]))
                    x, futures = pending.pop(0)
                    start = perf_counter()
                    for future in futures:
                        future.result()
                    self.waited += perf_counter() - start
                    yield x, batches[i][1], batches[i][2]
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _submit(
        self, pool: ThreadPoolExecutor, rows: torch.Tensor, y: torch.Tensor, draw: torch.Tensor
    ) -> tuple[torch.Tensor, list[Future[None]]]:
        x = torch.empty((len(rows), *self.crops.shape), dtype=torch.int16, pin_memory=self.settings.pin_memory)
        tracks = zip(x.numpy(), rows.tolist(), draw.tolist(), strict=True)
        return x, [pool.submit(self._fill, out, row, number) for out, row, number in tracks]

    def _fill(self, out: np.ndarray, row: int, draw: int) -> None:
        recording = int(self.data.recording[row])
        length, n = int(self.data.waveforms.lengths[recording]), self.crops.n
        for crop, start in zip(out.reshape(-1, n), self.crops.starts(length, draw), strict=True):
            samples = self.data.waveforms.crop(recording, start, min(n, length))
            crop[:] = samples if len(samples) == n else np.resize(samples, n)


def track_keys(track_ids: list[str]) -> torch.Tensor:
    """A number from 0 to 2^56 for each track, int64 (n,)."""
    digests = (hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest() for name in track_ids)
    return torch.tensor([int.from_bytes(digest[:7], "big") for digest in digests], dtype=torch.int64)


def count_earlier(rows: torch.Tensor) -> torch.Tensor:
    """How many times each entry occurs before its position, int64 (n,)."""
    return torch.from_numpy(pd.Series(rows.numpy()).groupby(rows.numpy()).cumcount().to_numpy(np.int64).copy())
