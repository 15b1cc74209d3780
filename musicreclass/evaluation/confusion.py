"""Confusion matrices and the scores per class that follow from them."""

from __future__ import annotations

import numpy as np


def confusion_matrix(y_true: np.ndarray, y_pred: np.ndarray, classes: int) -> np.ndarray:
    """Counts (C, C) int64; y_true in rows, y_pred in columns."""
    return np.bincount(y_true * classes + y_pred, minlength=classes * classes).reshape(classes, classes)


def class_scores(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall and F1 of each class; 0 where they are undefined.

    Args:
        confusion: counts, (..., C, C), y_true in rows.
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).astype(float)
    predicted, actual = confusion.sum(axis=-2), confusion.sum(axis=-1)
    return {
        "precision": hits / np.maximum(predicted, 1e-12) * (predicted > 0),
        "recall": hits / np.maximum(actual, 1e-12) * (actual > 0),
        "f1": 2 * hits / np.maximum(predicted + actual, 1e-12) * (predicted + actual > 0),
    }
