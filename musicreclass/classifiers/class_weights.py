"""Class weights, from the training split alone."""

from __future__ import annotations

import numpy as np


def balanced_weights(y: np.ndarray, classes: int) -> np.ndarray:
    """n / (C * count) for each class: classes have equal weight, and the mean weight of a track is 1.

    Args:
        y: class numbers of the training tracks.
        classes: C; a class without training tracks weighs 0.
    """
    count = np.bincount(y, minlength=classes)
    present = int((count > 0).sum())
    return np.where(count > 0, len(y) / (present * np.maximum(count, 1)), 0.0)


def positive_weights(y: np.ndarray) -> np.ndarray:
    """Tracks without each tag per track with it, (C,): both have equal weight in the loss of a tag; 1 for a tag of all or none.

    Args:
        y: indicators of tags of the training tracks, (n, C).
    """
    count = y.sum(axis=0, dtype=float)
    return np.where((count > 0) & (count < len(y)), (len(y) - count) / np.maximum(count, 1), 1.0)
