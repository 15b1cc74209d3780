"""Counts of who was taken for whom, and the scores that follow from them."""

from __future__ import annotations

import numpy as np


def confusion_matrix(y_true: np.ndarray, y_pred: np.ndarray, classes: int) -> np.ndarray:
    """Counts (C, C), y_true in rows, int64."""
    return np.bincount(y_true * classes + y_pred, minlength=classes * classes).reshape(classes, classes)


def class_scores(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall and F1 of each class; 0 where they are undefined.

    Args:
        confusion: counts, (..., C, C), y_true in rows.
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).astype(float)
    guessed, actual = confusion.sum(axis=-2), confusion.sum(axis=-1)
    return {
        "precision": hits / np.maximum(guessed, 1e-12) * (guessed > 0),
        "recall": hits / np.maximum(actual, 1e-12) * (actual > 0),
        "f1": 2 * hits / np.maximum(guessed + actual, 1e-12) * (guessed + actual > 0),
    }
