"""How far a score would move on other tracks of the same kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import beta

REPLICATES = 2000


def bootstrap_interval(truth: np.ndarray, guess: np.ndarray, groups: list[str | None], classes: int) -> dict[str, Any]:
    """95 % percentile bootstrap intervals of accuracy and macro-F1.

    Whole clusters are drawn: tracks of one artist stand or fall together, so taking them for independent would make the
    interval too narrow. A track whose group is unknown is a cluster of its own. A class that the split has but a draw has
    not takes no part in that draw's macro-F1. The draws are the same every time. Where no draw differs from another, the bounds
    are Clopper and Pearson's for as many trials as there are clusters.

    Args:
        truth, guess: class numbers, (n,).
        groups: each track's group, or None.
        classes: number of classes.

    Returns:
        `accuracy` and `macro_f1`, each [low, high], and `over`, what was drawn: `24 tracks` or `12 groups`.
    """
    codes, names = pd.factorize(pd.Series(groups, dtype=object), use_na_sentinel=True)
    alone = codes < 0
    cluster = np.where(alone, len(names) + np.cumsum(alone) - 1, codes)
    n = int(cluster.max()) + 1
    counts = np.zeros((n, 3 * classes))  # hits, guesses and tracks of each class, by cluster
    np.add.at(counts, (cluster, truth), truth == guess)
    np.add.at(counts, (cluster, classes + guess), 1)
    np.add.at(counts, (cluster, 2 * classes + truth), 1)
    weights = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=REPLICATES)
    hits, guessed, actual = np.split(weights.astype(np.float32) @ counts.astype(np.float32), 3, axis=1)
    f1 = 2 * hits / np.maximum(guessed + actual, 1)
    counted = (actual > 0) | (np.bincount(truth, minlength=classes) == 0)
    scores = {"accuracy": hits.sum(1) / actual.sum(1), "macro_f1": (f1 * counted).sum(1) / counted.sum(1)}
    found: dict[str, Any] = {}
    for name, drawn in scores.items():
        low, high = (float(q) for q in np.quantile(drawn, (0.025, 0.975)))
        if low == high:  # nothing varies, which does not mean that nothing is uncertain: Clopper and Pearson's bounds
            low = float(beta.ppf(0.025, n * low, n * (1 - low) + 1)) if low > 0 else 0.0
            high = float(beta.ppf(0.975, n * high + 1, n * (1 - high))) if high < 1 else 1.0
        found[name] = [low, high]
    found["over"] = f"{n} groups" if len(names) else f"{n} tracks"
    return found
