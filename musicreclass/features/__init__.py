"""Computes feature tables from recordings: the 518 FMA features, and embeddings of pretrained encoders.

Features are computed once and kept in the store. Nothing is fitted here: whatever depends on the training split belongs in
`classifiers`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from musicreclass.features.fma518.extraction import Backend

__all__ = ["columns", "extract"]


def extract(
    waveform: np.ndarray, sample_rate: int, backend: Backend = "fast", sets: Iterable[str] | None = None
) -> np.ndarray:
    """The 518 FMA features of a waveform. See `musicreclass.features.fma518.extraction.extract`."""
    from musicreclass.data.sources.fma_columns import SERIES
    from musicreclass.features.fma518 import extraction

    return extraction.extract(waveform, sample_rate, backend, SERIES if sets is None else sets)


def columns() -> pd.MultiIndex:
    """The names of the 518 features in their order: feature, statistics and number, as in the header of features.csv."""
    import pandas as pd

    from musicreclass.features.fma518.columns import COLUMNS

    return pd.MultiIndex.from_tuples(
        [tuple(name.rsplit("_", 2)) for name in COLUMNS], names=["feature", "statistics", "number"]
    )
