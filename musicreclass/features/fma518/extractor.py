"""The 518 features as an extractor, for `features=fma518`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from musicreclass.data.sources.fma_columns import SERIES
from musicreclass.features.extractors import Extractor
from musicreclass.features.fma518.columns import column_names
from musicreclass.features.fma518.extraction import VERSION, Backend, checked_sets, extract_file


class FMA518(Extractor):
    """The 518 features of recordings at their own sample rate.

    Args:
        backend: `fast`, or `reference` by librosa.
        sets: feature sets to compute, in the published order; all by default.
        parallel: as in `Extractor`.
    """

    def __init__(self, backend: Backend = "fast", sets: list[str] | None = None, parallel: str = "loky") -> None:
        self.sets = checked_sets(SERIES if sets is None else sets)
        self.backend, self.parallel = backend, parallel
        self.columns = list(column_names(self.sets))
        self.settings = {"version": VERSION, "backend": backend}

    def extract(self, path: Path) -> np.ndarray:
        """The features of a file."""
        return extract_file(path, self.backend, self.sets)
