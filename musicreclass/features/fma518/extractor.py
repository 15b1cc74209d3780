"""The 518 features as an extractor, for `features=fma518`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from musicreclass.data.sources.fma_columns import SERIES
from musicreclass.features.extractors import Extractor
from musicreclass.features.fma518.columns import column_names
from musicreclass.features.fma518.extraction import VERSION, Backend, checked_sets, extract_file, warm_up
from musicreclass.features.workers import Jobs, Results


class FMA518(Extractor):
    """The 518 features of recordings at their own sample rate.

    Args:
        backend: `fast`; `reference` by librosa; or `torch` in batches, on the GPU if there is one.
        sets: feature sets to compute, in the published order; all by default.
        parallel: as in `Extractor`; not used by `torch`, whose recordings are decoded by threads.
    """

    def __init__(self, backend: Backend = "fast", sets: list[str] | None = None, parallel: str = "loky") -> None:
        self.sets = checked_sets(SERIES if sets is None else sets)
        self.backend, self.parallel = backend, parallel
        self.columns = list(column_names(self.sets))
        self.settings = {"version": VERSION, "backend": backend}

    def warm_up(self) -> None:
        """Compile the kernels and compute the filter banks of the most frequent sample rate."""
        warm_up(self.backend, tuple(self.sets))

    def extract(self, path: Path) -> np.ndarray:
        """The features of a file."""
        return extract_file(path, self.backend, self.sets)

    def extract_all(self, jobs: Jobs, workers: int, seconds: float, device: torch.device) -> Results:
        """See `Extractor`."""
        if self.backend != "torch":
            return super().extract_all(jobs, workers, seconds, device)
        from musicreclass.features.fma518.batches import in_batches

        return in_batches(jobs, workers, device, self.sets)
