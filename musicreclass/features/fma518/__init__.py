"""The 518 features of the FMA dataset (Defferrard et al., ISMIR 2017), computed like the published table.

74 time series per track (chroma, tonnetz, MFCC, spectral shape, energy, zero crossings), each summarised by seven statistics.
`reference` computes them with librosa, `fast` with own code that is tested against it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np

from musicreclass.data.sources.fma_columns import SERIES
from musicreclass.features.fma518 import fast, reference
from musicreclass.features.fma518.columns import COLUMNS, MIN_SECONDS, STATISTICS, column_names
from musicreclass.features.fma518.statistics import summarise

__all__ = ["COLUMNS", "MIN_SECONDS", "SERIES", "STATISTICS", "column_names", "compute", "summarise"]


def compute(audio: np.ndarray, rate: int, backend: str = "fast", sets: Iterable[str] = tuple(SERIES)) -> np.ndarray:
    if audio.ndim != 1:
        raise ValueError(f"audio must be mono, shape (n,), but has shape {audio.shape}")
    if len(audio) < MIN_SECONDS * rate:
        raise ValueError(f"audio must last at least {MIN_SECONDS} s, but lasts {len(audio) / rate:.1f} s")
    if backend == "fast":
        series = fast.compute_series(partial(fast.blocks_of, audio), rate, sets)
    else:
        series = reference.compute_series(audio, rate, sets)
    return np.concatenate([summarise(values).ravel() for values in series.values()]).astype(np.float32)
