"""Which recordings to label first: representatives of all regions of a feature space, the least certain of each region.

Regions are k-means clusters, which unlike the farthest points of a space are not single outliers. Their order is that of a
farthest-first traversal, so that any number of recordings from the beginning is spread over the space.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

BLOCK = 8192  # rows per block: limits memory
ITERATIONS = 5  # of k-means
MAX_SCORE = 10.0  # standardised values beyond it count as this


def select(
    x: np.ndarray, uncertainty: np.ndarray, count: int, labelled: np.ndarray | None = None, seed: int = 0
) -> np.ndarray:
    """The recordings to label, in order.

    Args:
        x: features, (n, D).
        uncertainty: of the label of each recording, (n,).
        count: of recordings to select.
        labelled: which recordings have a checked label already, (n,) bool; they are not selected, and regions far from them come
            first.
        seed: of the first centres.

    Returns:
        rows of `x`, (min(count, unlabelled),), all different.
    """
    labelled = np.zeros(len(x), bool) if labelled is None else labelled
    scaled = standardised(x)
    rows = np.flatnonzero(~labelled)
    count = min(count, len(rows))
    if count == 0:
        return rows[:0]
    points = scaled[rows]
    centres, region = k_means(points, count, np.random.default_rng(seed))
    by_region = np.lexsort([np.arange(len(rows)), -uncertainty[rows], region])
    sizes = np.bincount(region, minlength=count)
    starts = np.cumsum(sizes) - sizes
    filled = np.flatnonzero(sizes)
    order = farthest_first(centres[filled], sizes[filled], scaled[labelled])
    selected = by_region[starts[filled][order]]
    if len(selected) < count:  # fewer different points than regions
        rest = np.setdiff1d(np.arange(len(rows)), selected)
        selected = np.concatenate([selected, rest[np.argsort(-uncertainty[rows][rest], kind="stable")]])[:count]
    chosen: np.ndarray = rows[selected]
    return chosen


def standardised(x: np.ndarray) -> np.ndarray:
    """Features with mean 0 and deviation 1, (n, D) float32, limited to `MAX_SCORE`; constant ones are 0."""
    mean, deviation = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    scale = np.where(deviation > 1e-9 * (1 + abs(mean)), deviation, np.inf)
    scaled = np.empty(x.shape, np.float32)
    for start in range(0, len(x), BLOCK):
        scaled[start : start + BLOCK] = ((x[start : start + BLOCK] - mean) / scale).clip(-MAX_SCORE, MAX_SCORE)
    return scaled


def k_means(x: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """k-means with the first centres of k-means++ (Arthur and Vassilvitskii 2007).

    Args:
        x: points, (n, D) float32.
        count: number of clusters, at most n.
        rng: draws the first centres.

    Returns:
        centres (count, D), and the cluster of each point, (n,); a cluster may be empty if points are equal.
    """
    squares = np.einsum("ij,ij->i", x, x)
    centres = np.empty((count, x.shape[1]), np.float32)
    nearest = np.full(len(x), np.inf)
    for k in range(count):
        total = 0.0 if k == 0 else float(nearest.sum())
        row = rng.choice(len(x), p=nearest / total) if total > 0 else rng.integers(len(x))
        centres[k] = x[row]
        np.minimum(nearest, (squares - 2 * (x @ x[row]) + squares[row]).clip(0), out=nearest)
        nearest[row] = 0
    region = assign(x, centres)
    for _ in range(ITERATIONS):
        sizes = np.bincount(region, minlength=count)
        membership = csr_matrix((np.ones(len(x), np.float32), (region, np.arange(len(x)))), (count, len(x)))
        filled = sizes > 0
        centres[filled] = (membership @ x)[filled] / sizes[filled, None]
        region = assign(x, centres)
    return centres, region


def assign(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The nearest centre of each point, (n,)."""
    lengths = np.einsum("ij,ij->i", centres, centres)
    region = np.empty(len(x), np.int64)
    for start in range(0, len(x), BLOCK):
        region[start : start + BLOCK] = (lengths - 2 * (x[start : start + BLOCK] @ centres.T)).argmin(axis=1)
    return region


def farthest_first(centres: np.ndarray, sizes: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """The order of regions in which each is the farthest from those before it and from labelled points, (k,).

    Args:
        centres: (k, D).
        sizes: points of each region; the largest comes first if nothing is labelled.
        labelled: points, (l, D).
    """
    order = np.empty(len(centres), int)
    nearest = np.full(len(centres), np.inf)
    for start in range(0, len(labelled), BLOCK):
        nearest = np.minimum(nearest, squared_distances(centres, labelled[start : start + BLOCK]).min(axis=1))
    for k in range(len(centres)):
        order[k] = sizes.argmax() if np.isinf(nearest).all() else nearest.argmax()
        nearest = np.minimum(nearest, squared_distances(centres, centres[order[k], None])[:, 0])
        nearest[order[: k + 1]] = -1
    return order


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Between all rows of two arrays, (len(a), len(b))."""
    squares = np.einsum("ij,ij->i", a, a)[:, None] + np.einsum("ij,ij->i", b, b)
    return (squares - 2 * (a @ b.T)).clip(0)
