"""Crops of recordings as batches, drawn anew in each epoch for training, evenly spaced for scoring."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from musicreclass.data.sampling import TrackSampler, derive_seed

if TYPE_CHECKING:
    from musicreclass.data.recordings import AudioData

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # x (B, n) or (B, crops, n) int16, class number (B,), draw (B,)


@dataclass(frozen=True)
class RandomCrop:
    """One crop at a place drawn from (seed, epoch, draw).

    Attributes:
        n: samples.
        seed: the run's.
        sampler: knows the epoch.
    """

    n: int
    seed: int
    sampler: TrackSampler

    def starts(self, length: int, draw: int) -> list[int]:
        """Where crops of a recording begin; (n,) is the shape of what they make together."""
        room = max(0, length - self.n)
        return [derive_seed(self.seed, self.sampler.epoch, draw, 1) % (room + 1)]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a track's crops."""
        return (self.n,)


@dataclass(frozen=True)
class EvenCrops:
    """Crops from the first moment to the last, evenly spaced.

    Attributes:
        n: samples.
        count: crops of a recording.
        single: where a single one is from: the `middle`, or the `start`.
    """

    n: int
    count: int
    single: str = "middle"

    def starts(self, length: int, draw: int) -> list[int]:
        """Where they begin."""
        room = max(0, length - self.n)
        if self.count == 1:
            return [room // 2 if self.single == "middle" else 0]
        return [room * k // (self.count - 1) for k in range(self.count)]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a track's crops."""
        return (self.count, self.n)


class ClipBatches:
    """Batches of crops, prepared by threads while the network is at work: decoding and resampling let others run.

    What a batch holds does not depend on how many threads there are.

    Args:
        data: set up.
        rows: the tracks, rows of the Tracks table (n,).
        y: their class numbers (n,).
        crops: where to cut.
        batch_size: tracks per batch; the last one may be smaller.
        sampler: gives the order of an epoch; Lightning tells it the epoch. None keeps the table's order.

    Attributes:
        waited: seconds that the consumer has waited for batches.
    """

    batch_sampler = None  # Lightning looks for one beside a sampler

    def __init__(
        self,
        data: AudioData,
        rows: np.ndarray,
        y: np.ndarray,
        crops: RandomCrop | EvenCrops,
        batch_size: int,
        sampler: TrackSampler | None = None,
    ) -> None:
        self.data, self.rows, self.y, self.crops = data, rows, torch.from_numpy(y), crops
        self.batch_size = batch_size
        self.sampler = sampler
        self.waited = 0.0

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        order = torch.arange(len(self.rows)) if self.sampler is None else self.sampler.order()
        rows = torch.from_numpy(self.rows)[order]
        draw = rows + len(self.data.tracks) * occurrences(rows)  # a track drawn twice is not drawn alike
        batches = list(zip(*(t.split(self.batch_size) for t in (rows, self.y[order], draw)), strict=True))
        with ThreadPoolExecutor(self.data.workers, thread_name_prefix="crops") as pool:
            waiting: list[tuple[torch.Tensor, list[Future[None]]]] = []
            try:
                for i in range(len(batches)):
                    while len(waiting) < self.data.prefetch and i + len(waiting) < len(batches):
                        waiting.append(self._begin(pool, *batches[i + len(waiting)]))
                    x, futures = waiting.pop(0)
                    start = perf_counter()
                    for future in futures:
                        future.result()
                    self.waited += perf_counter() - start
                    yield x, batches[i][1], batches[i][2]
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _begin(
        self, pool: ThreadPoolExecutor, rows: torch.Tensor, y: torch.Tensor, draw: torch.Tensor
    ) -> tuple[torch.Tensor, list[Future[None]]]:
        x = torch.empty((len(rows), *self.crops.shape), dtype=torch.int16, pin_memory=self.data.pin_memory)
        work = zip(x.numpy(), rows.tolist(), draw.tolist(), strict=True)
        return x, [pool.submit(self._fill, out, row, number) for out, row, number in work]

    def _fill(self, out: np.ndarray, row: int, draw: int) -> None:
        recording = int(self.data.recording[row])
        length, n = int(self.data.waveforms.lengths[recording]), self.crops.n
        for crop, start in zip(out.reshape(-1, n), self.crops.starts(length, draw), strict=True):
            found = self.data.waveforms.crop(recording, start, min(n, length))
            crop[:] = found if len(found) == n else np.resize(found, n)


def occurrences(rows: torch.Tensor) -> torch.Tensor:
    """How often each entry has come before, int64 (n,): 0 for the first, 1 for the second, ..."""
    return torch.from_numpy(pd.Series(rows.numpy()).groupby(rows.numpy()).cumcount().to_numpy(np.int64).copy())
