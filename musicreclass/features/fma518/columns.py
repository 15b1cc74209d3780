"""Names and order of the 518 columns, and the constants of their computation."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

from musicreclass.data.sources.fma_columns import SERIES

WINDOW = 2048  # samples per frame
HOP = 512
FMA_RATE = 22050  # Hz; the published table assumes this rate for some features, regardless of the file's rate
MIN_SECONDS = 2.0  # below this, the lowest constant-Q filters cover most of the clip

STATISTICS = ("kurtosis", "max", "mean", "median", "min", "skew", "std")


def column_names(sets: Iterable[str] = tuple(SERIES)) -> tuple[str, ...]:
    """The columns of some feature sets, in the published order: `chroma_cens_kurtosis_01`, ..."""
    return tuple(
        f"{name}_{statistic}_{number:02d}"
        for name in sets
        for statistic, number in product(STATISTICS, range(1, SERIES[name] + 1))
    )


COLUMNS = column_names()
