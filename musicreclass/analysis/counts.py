"""Tracks per genre and split, balance of the genres, and durations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from musicreclass.config.settings.data import SPLITS
from musicreclass.data.targets import each_label, has_label


def count_classes(tracks: pd.DataFrame) -> list[dict[str, Any]]:
    """The number of tracks of each class in each split and in `total`, the largest class first.

    Args:
        tracks: a Tracks table.
    """
    labels = each_label(tracks.target)
    splits = tracks.split.loc[labels.index]
    table = pd.crosstab(pd.Series(labels.to_numpy(), name="target"), pd.Series(splits.to_numpy())).reindex(
        columns=list(SPLITS), fill_value=0
    )
    table["total"] = table.sum(axis=1)
    table = table.reset_index().sort_values(["total", "target"], ascending=[False, True])
    return [{"name": row["target"], **{s: int(row[s]) for s in (*SPLITS, "total")}} for _, row in table.iterrows()]


def balance(counts: Sequence[int]) -> dict[str, Any]:
    """How evenly tracks are distributed over classes.

    Args:
        counts: the tracks of each class.

    Returns:
        `ratio` of the largest to the smallest class that has tracks, and `effective_classes`, exp of the entropy in nats: the
        number of classes of equal size with the same entropy.
    """
    sizes = np.array([count for count in counts if count], float)
    if not len(sizes):
        return {"ratio": None, "effective_classes": 0.0, "classes": 0}
    fractions = sizes / sizes.sum()
    entropy = float(-(fractions * np.log(fractions)).sum())
    return {
        "ratio": float(sizes.max() / sizes.min()),
        "effective_classes": float(np.exp(entropy)),
        "classes": len(sizes),
    }


def describe_durations(tracks: pd.DataFrame, classes: Sequence[str]) -> dict[str, Any] | None:
    """Durations in seconds, overall and by class; None if they are not known.

    Args:
        tracks: rows of a Tracks table.
        classes: the order of the result.
    """
    lengths = tracks.duration.dropna()
    if lengths.empty:
        return None
    by_class = {name: lengths[has_label(tracks.target, name)] for name in classes}
    return {
        **_quantiles(lengths),
        "hours": float(lengths.sum() / 3600),
        "per_class": {name: _quantiles(values) for name, values in by_class.items() if len(values)},
    }


def _quantiles(values: pd.Series[float]) -> dict[str, float]:
    return {"min": float(values.min()), "median": float(values.median()), "max": float(values.max())}
