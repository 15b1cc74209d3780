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
