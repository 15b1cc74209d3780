"""Seeded order of the training tracks, and what a loader needs to batch them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from musicreclass.hardware.profile import PREFETCH

Batch = tuple[
    torch.Tensor, torch.Tensor, torch.Tensor
]  # x (B, ...), class numbers (B,) or indicators (B, C), draw numbers (B,); for scoring a table, track numbers


@dataclass(frozen=True)
class LoaderSettings:
    """What a classifier asks for when it requests a loader.

    Attributes:
        batch_size: tracks (rows of a table of segments) per effective batch, which is what one optimizer step sees. A loader for
            scoring clips takes as many crops at a time; of a table it takes `SCORING_BATCH` rows instead.
        seed: seed of the run; with the epoch it gives the order of the tracks and the position of their crops.
        transform: applied once to the features (n, F) of a split before they are batched; tables only.
        crop_factor: length of a training crop relative to a clip, for augmentation that needs more samples; audio only.
        prefetch: batches prepared ahead; audio only.
        pin_memory: whether batches are allocated in page-locked memory; audio only.
    """

    batch_size: int = 64
    seed: int = 0
    transform: Callable[[torch.Tensor], torch.Tensor] | None = None
    crop_factor: float = 1.0
    prefetch: int = PREFETCH
    pin_memory: bool = False


def balancing_weights(y: np.ndarray) -> np.ndarray:
    """The frequency of each track with which classes are drawn equally often, (n,); of tags, that of its rarest one counts.

    Args:
        y: class numbers (n,), or indicators of tags (n, C).
    """
    if y.ndim == 1:
        return 1 / np.bincount(y)[y]
    count = np.append(np.maximum(y.sum(axis=0, dtype=int), 1), max(1, int((~y.any(axis=1)).sum())))
    has = np.column_stack([y, ~y.any(axis=1)]).astype(bool)  # tracks without tags are a class of their own
    return np.where(has, 1 / count, 0).max(axis=1)


class TrackSampler:
    """A new permutation of the training tracks for each epoch, or as many weighted draws with replacement.

    The order depends on (seed, epoch) alone, so neither the number of workers nor a resume changes it.

    Args:
        n: number of tracks.
        seed: seed of the run.
        weights: relative frequency of each track, (n,); None draws each track once.
    """

    def __init__(self, n: int, seed: int, weights: np.ndarray | None = None) -> None:
        self.n = n
        self.seed = seed
        self.weights = weights
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; Lightning calls this before each epoch and after a resume."""
        self.epoch = epoch

    def order(self) -> torch.Tensor:
        """The rows of this epoch in order, int64 (n,)."""
        if self.weights is not None:
            rows = np.random.default_rng(derive_seed(self.seed, self.epoch)).choice(
                self.n, self.n, p=self.weights / self.weights.sum()
            )
            return torch.from_numpy(rows)
        return torch.randperm(self.n, generator=torch.Generator().manual_seed(derive_seed(self.seed, self.epoch)))


def derive_seed(*key: int) -> int:
    """A seed derived from several integers, such as (seed, epoch, track); neighbouring keys give unrelated seeds."""
    state = 0
    for part in key:  # splitmix64
        state = (state + 0x9E3779B97F4A7C15 + part) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state & 0x7FFFFFFFFFFFFFFF
