"""The order of an epoch, keyed by (seed, epoch): the same for any number of workers, and after a resume."""

from __future__ import annotations

import numpy as np
import torch


class TrackSampler:
    """A fresh permutation of the training tracks for every epoch, or as many draws from them.

    Args:
        n: number of tracks.
        seed: the run's seed.
        weights: how often each track is to come up, relative to others, (n,); None: every one once.
    """

    def __init__(self, n: int, seed: int, weights: np.ndarray | None = None) -> None:
        self.n = n
        self.seed = seed
        self.weights = weights
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this ahead of each epoch, and after a resume."""
        self.epoch = epoch

    def order(self) -> torch.Tensor:
        """The rows of this epoch, int64 (n,)."""
        if self.weights is not None:
            drawn = np.random.default_rng(derive_seed(self.seed, self.epoch)).choice(
                self.n, self.n, p=self.weights / self.weights.sum()
            )
            return torch.from_numpy(drawn)
        return torch.randperm(self.n, generator=torch.Generator().manual_seed(derive_seed(self.seed, self.epoch)))


def derive_seed(*key: int) -> int:
    """One seed from several numbers, as (seed, epoch) or (seed, epoch, track); neighbouring keys give unrelated seeds."""
    state = 0
    for part in key:  # splitmix64
        state = (state + 0x9E3779B97F4A7C15 + part) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state & 0x7FFFFFFFFFFFFFFF
