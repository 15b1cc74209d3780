"""The seven statistics of a time series."""

from __future__ import annotations

import numpy as np

from musicreclass.features.fma518.columns import STATISTICS

CONSTANT = {
    "f": 1e-6,
    "d": 1e-15,
}  # relative deviation below which scipy treats a series of float32 or float64 as constant


def summarise(values: np.ndarray) -> np.ndarray:
    """The seven statistics of each row, float64 (7, rows), in the order of `STATISTICS`.

    Skew is biased, kurtosis is Fisher's. (e) A constant row has skew 0 and kurtosis -3, as with scipy in 2017; current scipy
    returns NaN.

    Args:
        values: (rows, frames), float32 or float64.
    """
    exact = values.astype(float)
    mean = exact.mean(axis=1, keepdims=True)
    exact -= mean
    squares = exact * exact
    variance = squares.mean(axis=1)
    third, fourth = np.einsum("rt,rt->r", squares, exact), np.einsum("rt,rt->r", squares, squares)
    constant = variance <= (CONSTANT[values.dtype.char] * mean[:, 0]) ** 2
    scale = np.where(constant, 1.0, variance)
    frames = values.shape[1]
    by_name = {
        "kurtosis": np.where(constant, -3.0, fourth / frames / scale**2 - 3),
        "max": values.max(axis=1),
        "mean": mean[:, 0],
        "median": np.median(values, axis=1),
        "min": values.min(axis=1),
        "skew": np.where(constant, 0.0, third / frames / scale**1.5),
        "std": np.sqrt(variance),
    }
    return np.stack([by_name[name] for name in STATISTICS])
