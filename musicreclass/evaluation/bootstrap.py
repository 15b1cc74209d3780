"""Bootstrap intervals: how much a score would vary on other tracks of the same kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

REPLICATES = 2000
WEIGHTS_PER_BLOCK = 4_000_000  # limits memory


@dataclass(frozen=True)
class Clusters:
    """The units of resampling: groups of tracks, and each track without a group by itself.

    Attributes:
        codes: the cluster of each track, (n,) int64.
        count: number of clusters.
        has_groups: whether the group of any track is known.
    """

    codes: np.ndarray
    count: int
    has_groups: bool

    @classmethod
    def of(cls, groups: list[str | None]) -> Clusters:
        """The clusters of tracks with these groups, None where unknown."""
        group_codes, names = pd.factorize(pd.Series(groups, dtype=object), use_na_sentinel=True)
        ungrouped = group_codes < 0
        codes = np.where(ungrouped, len(names) + np.cumsum(ungrouped) - 1, group_codes)
        return cls(codes, int(codes.max()) + 1, len(names) > 0)

    def __str__(self) -> str:
        return f"{self.count} groups" if self.has_groups else f"{self.count} tracks"

    def class_counts(self, y_true: np.ndarray, y_pred: np.ndarray, classes: int) -> np.ndarray:
        """Hits, predictions and tracks of each class by cluster, (count, 3 C); accuracy and macro-F1 depend on nothing else."""
        counts = np.zeros((self.count, 3 * classes), np.float32)  # exact: integers below 2^24
        np.add.at(counts, (self.codes, y_true), y_true == y_pred)
        np.add.at(counts, (self.codes, classes + y_pred), 1)
        np.add.at(counts, (self.codes, 2 * classes + y_true), 1)
        return counts

    def resampling_weights(self) -> Iterator[np.ndarray]:
        """How often each cluster is drawn in a bootstrap replicate: `count` draws with replacement.

        Yields:
            blocks (replicates, count) float32; REPLICATES rows in total, from a fixed seed.
        """
        rng = np.random.default_rng(0)
        block_size = max(1, WEIGHTS_PER_BLOCK // self.count)
        for start in range(0, REPLICATES, block_size):
            size = min(block_size, REPLICATES - start)
            yield rng.multinomial(self.count, np.full(self.count, 1 / self.count), size=size).astype(np.float32)


def classes_present(y_true: np.ndarray, classes: int) -> np.ndarray:
    """Which classes have tracks, (C,) bool."""
    return np.bincount(y_true, minlength=classes) > 0


def scores_from_counts(counts: np.ndarray, present: np.ndarray) -> dict[str, np.ndarray]:
    """`accuracy` and `macro_f1` from summed counts.

    Args:
        counts: (..., 3 C), hits, predictions and tracks of each class.
        present: (C,), classes with tracks in the split; a replicate's macro-F1 leaves out those that it has no tracks of.
    """
    hits, predicted, actual = np.split(counts, 3, axis=-1)
    f1 = 2 * hits / np.maximum(predicted + actual, 1)
    averaged = (actual > 0) | ~present
    return {"accuracy": hits.sum(-1) / actual.sum(-1), "macro_f1": (f1 * averaged).sum(-1) / averaged.sum(-1)}


def bootstrap_interval(
    y_true: np.ndarray, y_pred: np.ndarray, groups: list[str | None], classes: int
) -> dict[str, Any]:
    """95 % percentile bootstrap intervals of accuracy and macro-F1.

    Whole clusters are resampled: tracks of one artist are correlated, and treating them as independent would make intervals too
    narrow. A track without a known group is its own cluster. A replicate's macro-F1 leaves out classes of the split that the
    replicate has no tracks of. Replicates come from a fixed seed. If all replicates are equal, the bounds are Clopper-Pearson
    bounds with as many trials as clusters.

    Args:
        y_true, y_pred: class numbers, (n,).
        groups: each track's group, or None.
        classes: number of classes.

    Returns:
        `accuracy` and `macro_f1`, each [low, high], and `over`, what was resampled: `24 tracks` or `12 groups`.
    """
    clusters = Clusters.of(groups)
    counts = clusters.class_counts(y_true, y_pred, classes)
    resampled = np.concatenate([weights @ counts for weights in clusters.resampling_weights()])
    replicates = scores_from_counts(resampled, classes_present(y_true, classes))
    intervals = {metric: percentile_interval(values, clusters.count) for metric, values in replicates.items()}
    return {**intervals, "over": str(clusters)}


def percentile_interval(replicates: np.ndarray, clusters: int) -> list[float]:
    """[low, high], 95 %, of a score's replicates; Clopper-Pearson bounds if all are equal.

    Args:
        replicates: the score in each replicate.
        clusters: number of clusters that were resampled.
    """
    low, high = (float(q) for q in np.quantile(replicates, (0.025, 0.975)))
    if low == high:  # no variation between replicates does not mean no uncertainty
        from scipy.stats import beta

        low = float(beta.ppf(0.025, clusters * low, clusters * (1 - low) + 1)) if low > 0 else 0.0
        high = float(beta.ppf(0.975, clusters * high + 1, clusters * (1 - high))) if high < 1 else 1.0
    return [low, high]
