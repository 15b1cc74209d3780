"""Whether features resemble those that a model was trained on: constant columns, and values beyond any training track."""

from __future__ import annotations

from typing import Any

import numpy as np

from musicreclass.data.sources.fma_columns import SERIES
from musicreclass.errors import DataError
from musicreclass.plurals import agreeing, counted

MAX_CONSTANT = 0.5  # share of the columns that vary in training and may be constant in other data
MAX_FAR = 0.2  # share of the values that may be beyond the training range by more than its width
MIN_ROWS = 5  # below this, equal values are no evidence
SAID = 0.01  # share of values beyond the training range that is worth a line
SAMPLE = 10_000  # rows for quantiles

Ranges = dict[str, list[Any]]


def training_ranges(x: np.ndarray) -> Ranges:
    """The range of each feature over the training rows.

    Args:
        x: features, (n, F), NaN where missing.

    Returns:
        `low` and `high` of each column, None without any value; and `varies`: whether the middle 80 % of its values differ.
    """
    low, high = np.full(x.shape[1], np.inf), np.full(x.shape[1], -np.inf)
    for rows in np.array_split(x, max(1, len(x) // SAMPLE)):  # limits the memory for copies
        finite = np.isfinite(rows)
        low = np.minimum(low, np.where(finite, rows, np.inf).min(0, initial=np.inf))
        high = np.maximum(high, np.where(finite, rows, -np.inf).max(0, initial=-np.inf))
    sample = x[:: max(1, len(x) // SAMPLE)]
    inner = [np.nanquantile(column, (0.1, 0.9)) if np.isfinite(column).any() else (0, 0) for column in sample.T]
    limits = [[float(v) if np.isfinite(v) else None for v in values] for values in (low, high)]
    return {"low": limits[0], "high": limits[1], "varies": [bool(a < b) for a, b in inner]}


def check_ranges(ranges: Ranges | None, x: np.ndarray, columns: list[str]) -> list[str]:
    """Compare features with those of the training tracks.

    Args:
        ranges: as `training_ranges` returns them; None if the run has none.
        x: features to predict from, (n, F).
        columns: their names.

    Returns:
        a line for constant columns, and one for values beyond any training track, if there are some.

    Raises:
        DataError: if more than `MAX_CONSTANT` of the columns are constant, or more than `MAX_FAR` of the values far beyond.
    """
    if ranges is None or not len(x):
        return []
    low, high = (np.array(ranges[name], np.float64) for name in ("low", "high"))
    with np.errstate(invalid="ignore"):
        width = high - low
        beyond, far = (x < low) | (x > high), (x < low - width) | (x > high + width)
    varies, used = np.array(ranges["varies"], bool), width > 0
    equal = (x == x[:1]) | (np.isnan(x) & np.isnan(x[:1]))  # missing values become medians
    constant = varies & equal.all(0) if len(x) >= MIN_ROWS else np.zeros(len(columns), bool)
    remedy = f"; the features must be computed as those of the training tracks were{by_fma518(columns)}"
    lines = []
    if constant.any():
        lines.append(
            f"{int(constant.sum())} of {counted(len(columns), 'column')} {agreeing(int(constant.sum()), 'is', 'are')} constant, which vary over the training tracks"
        )
        if constant.sum() > MAX_CONSTANT * varies.sum():
            raise DataError(f"x: {lines[-1]}{remedy}", "constant_columns", "data", int(constant.sum()))
    count, total = int(beyond.sum()), x.size
    if count > SAID * total:
        lines.append(
            f"{count:,} of {counted(total, 'value')} {agreeing(count, 'is', 'are')} beyond any training track ({counted(int(beyond.any(0).sum()), 'column')})"
        )
        if far[:, used].sum() > MAX_FAR * max(1, far[:, used].size):
            line = f"x: {lines[-1]}, {int(far[:, used].sum()):,} of them by more than the range in training{remedy}"
            raise DataError(line, "out_of_range", "data", count)
    return lines


def by_fma518(columns: list[str]) -> str:
    """How to compute features that are named as FMA's."""
    is_fma = all(name.rpartition("/")[2].rsplit("_", 2)[0] in SERIES for name in columns)
    return ": by features=fma518, or musicreclass.features.extract" if is_fma else ""
