"""How far a score would move on other tracks of the same kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

REPLICATES = 2000
BLOCK = 4_000_000  # weights that are held at a time


@dataclass(frozen=True)
class Clusters:
    """What stands or falls together, and so is drawn together: the tracks of a group, each other track by itself.

    Attributes:
        code: the cluster of each track, (n,) int64.
        count: how many there are.
        known: whether any track's group is known.
    """

    code: np.ndarray
    count: int
    known: bool

    @classmethod
    def of(cls, groups: list[str | None]) -> Clusters:
        """The clusters of tracks with these groups, None where unknown."""
        codes, names = pd.factorize(pd.Series(groups, dtype=object), use_na_sentinel=True)
        alone = codes < 0
        code = np.where(alone, len(names) + np.cumsum(alone) - 1, codes)
        return cls(code, int(code.max()) + 1, len(names) > 0)

    def __str__(self) -> str:
        return f"{self.count} groups" if self.known else f"{self.count} tracks"

    def counts(self, y_true: np.ndarray, y_pred: np.ndarray, classes: int) -> np.ndarray:
        """All that accuracy and macro-F1 depend on, by cluster: hits, guesses and tracks of each class, (count, 3 C)."""
        found = np.zeros((self.count, 3 * classes), np.float32)  # whole numbers below 2^24, so exact
        np.add.at(found, (self.code, y_true), y_true == y_pred)
        np.add.at(found, (self.code, classes + y_pred), 1)
        np.add.at(found, (self.code, 2 * classes + y_true), 1)
        return found

    def weights(self) -> Iterator[np.ndarray]:
        """How often each cluster is drawn, when as many as there are are drawn with replacement.

        Yields:
            (some, count) float32; REPLICATES rows in all, the same every time.
        """
        rng = np.random.default_rng(0)
        step = max(1, BLOCK // self.count)
        for start in range(0, REPLICATES, step):
            size = min(step, REPLICATES - start)
            yield rng.multinomial(self.count, np.full(self.count, 1 / self.count), size=size).astype(np.float32)


def present(y_true: np.ndarray, classes: int) -> np.ndarray:
    """Which classes have any tracks, (C,) bool."""
    return np.bincount(y_true, minlength=classes) > 0


def scores(sums: np.ndarray, there: np.ndarray) -> dict[str, np.ndarray]:
    """`accuracy` and `macro_f1` of summed counts.

    Args:
        sums: (..., 3 C), hits, guesses and tracks of each class.
        there: (C,), the classes that the split has: one of them that a draw has not takes no part in that draw's macro-F1.
    """
    hits, guessed, actual = np.split(sums, 3, axis=-1)
    f1 = 2 * hits / np.maximum(guessed + actual, 1)
    counted = (actual > 0) | ~there
    return {"accuracy": hits.sum(-1) / actual.sum(-1), "macro_f1": (f1 * counted).sum(-1) / counted.sum(-1)}


def bootstrap_interval(
    y_true: np.ndarray, y_pred: np.ndarray, groups: list[str | None], classes: int
) -> dict[str, Any]:
    """95 % percentile bootstrap intervals of accuracy and macro-F1.

    Whole clusters are drawn: tracks of one artist stand or fall together, so taking them for independent would make the
    interval too narrow. A track whose group is unknown is a cluster of its own. A class that the split has but a draw has
    not takes no part in that draw's macro-F1. The draws are the same every time. Where no draw differs from another, the bounds
    are Clopper and Pearson's for as many trials as there are clusters.

    Args:
        y_true, y_pred: class numbers, (n,).
        groups: each track's group, or None.
        classes: number of classes.

    Returns:
        `accuracy` and `macro_f1`, each [low, high], and `over`, what was drawn: `24 tracks` or `12 groups`.
    """
    clusters = Clusters.of(groups)
    counts = clusters.counts(y_true, y_pred, classes)
    drawn = scores(np.concatenate([weights @ counts for weights in clusters.weights()]), present(y_true, classes))
    return {**{name: percentile_interval(each, clusters.count) for name, each in drawn.items()}, "over": str(clusters)}


def percentile_interval(drawn: np.ndarray, clusters: int) -> list[float]:
    """[low, high] of a score's replicates; Clopper and Pearson's bounds where none differs from another.

    Args:
        drawn: the score in each replicate.
        clusters: how many clusters were drawn.
    """
    low, high = (float(q) for q in np.quantile(drawn, (0.025, 0.975)))
    if low == high:  # nothing varies, which does not mean that nothing is uncertain
        from scipy.stats import beta

        low = float(beta.ppf(0.025, clusters * low, clusters * (1 - low) + 1)) if low > 0 else 0.0
        high = float(beta.ppf(0.975, clusters * high + 1, clusters * (1 - high))) if high < 1 else 1.0
    return [low, high]
