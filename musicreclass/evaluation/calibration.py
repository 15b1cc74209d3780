"""Calibration: whether a confidence of 80 % is right in 80 % of the cases, and the temperature that makes it so."""

from __future__ import annotations

from typing import Any

import numpy as np

from musicreclass.evaluation.predictions import PREFIX, Predictions
from musicreclass.evaluation.probabilities import LOSS_FLOOR, softmax
from musicreclass.evaluation.resampling import Clusters
from musicreclass.plurals import counted

CONFIDENCE_BINS = 15  # of the calibration error
MIN_PROBABILITY = 1e-12  # lower ones count as this, so that one-hot probabilities can be softened
TEMPERATURES = (0.05, 100.0)  # smallest and largest
FOLDS = 5  # of the cross-fitted scores
MIN_TRACKS = 20  # to fit a temperature


def calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Expected calibration error: mean difference between confidence and accuracy over equal-width bins of confidence."""
    bins = np.minimum((confidence * CONFIDENCE_BINS).astype(int), CONFIDENCE_BINS - 1)
    count = np.bincount(bins, minlength=CONFIDENCE_BINS)
    confidence_sum = np.bincount(bins, confidence, CONFIDENCE_BINS)
    gap = confidence_sum - np.bincount(bins, correct.astype(float), CONFIDENCE_BINS)
    return float(np.abs(gap).sum() / count.sum())


def log_loss(probability: np.ndarray, y_true: np.ndarray) -> float:
    """The mean negative logarithm of the probability of the true class, nats.

    Args:
        probability: (n, C).
        y_true: class numbers, (n,).
    """
    return float(-np.log(np.clip(probability[np.arange(len(y_true)), y_true], LOSS_FLOOR, 1)).mean())


def apply_temperature(probability: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log p / T): above 1 it lowers the confidence, below 1 it raises it; the most probable class stays the same.

    Args:
        probability: (n, C).
        temperature: above 0.

    Returns:
        (n, C) float64; rows sum to 1.
    """
    scaled = softmax(scaled_logarithm(probability, temperature))
    rows, top = np.arange(len(scaled)), np.argmax(probability, axis=1)
    rounded = scaled.argmax(axis=1) != top  # nearly equal probabilities became equal
    scaled[rows[rounded], top[rounded]] = np.nextafter(scaled.max(axis=1)[rounded], 2)
    return scaled


def scaled_logarithm(probability: np.ndarray, temperature: float) -> np.ndarray:
    """log p / T, (n, C) float64."""
    return np.log(np.clip(np.asarray(probability, np.float64), MIN_PROBABILITY, 1)) / temperature


def fit_temperature(probability: np.ndarray, y_true: np.ndarray) -> float:
    """The temperature with the lowest log loss of these tracks (Guo et al., On calibration of modern neural networks, ICML 2017).

    Args:
        probability: (n, C).
        y_true: class numbers, (n,).

    Returns:
        within `TEMPERATURES`; a bound if the log loss falls up to there.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    logarithm = scaled_logarithm(probability, 1.0)
    true = logarithm[np.arange(len(y_true)), y_true]

    def loss(log_temperature: float) -> float:
        inverse = np.exp(-log_temperature)
        return float((logsumexp(logarithm * inverse, axis=1) - true * inverse).mean())

    low, high = np.log(TEMPERATURES).tolist()
    result = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-4})
    return float(np.clip(np.exp(result.x), *TEMPERATURES))


def calibrated(predictions: Predictions, temperature: float) -> Predictions:
    """The same predictions with a temperature applied."""
    columns = [PREFIX + name for name in predictions.classes]
    table = predictions.table.copy()
    table[columns] = apply_temperature(predictions.probabilities(), temperature)
    return Predictions(table)


def fold_of_tracks(clusters: Clusters) -> np.ndarray:
    """The fold of each track, (n,) int64: up to `FOLDS` of about equal size, with whole clusters in each."""
    from sklearn.model_selection import GroupKFold

    fold = np.empty(len(clusters.codes), np.int64)
    splitter = GroupKFold(min(FOLDS, clusters.count))
    for number, (_, rows) in enumerate(splitter.split(fold, groups=clusters.codes)):
        fold[rows] = number
    return fold


def why_uncalibrated(predictions: Predictions) -> str:
    """Why no temperature can be fitted on these tracks; empty if it can be."""
    if len(predictions) < MIN_TRACKS:
        return f"only {counted(len(predictions), 'track')}; a calibration needs at least {MIN_TRACKS}"
    if Clusters.of(predictions.groups()).count < 2:
        return "all tracks are of one group; a calibration needs at least two groups to be verified"
    return ""


def calibrate(predictions: Predictions) -> dict[str, Any] | None:
    """The temperature of a model, and how well it calibrates tracks of other groups.

    Args:
        predictions: of the validation split.

    Returns:
        `temperature`, fitted on all tracks, or 1 if that of the other folds does not lower the log loss of a fold; `ece_before`, `ece_after`, `log_loss_before` and `log_loss_after`, where a track's
        probabilities "after" have the temperature of the other `folds`; `n`, and `over`, what the folds consist of, such as
        `12 groups`. None if tracks are too few, see `why_uncalibrated`.
    """
    if why_uncalibrated(predictions):
        return None
    clusters = Clusters.of(predictions.groups())
    before, y_true = predictions.probabilities(), predictions.y_true()
    after, fold = np.empty_like(before), fold_of_tracks(clusters)
    for held_out in np.unique(fold):
        rows = fold == held_out
        after[rows] = apply_temperature(before[rows], fit_temperature(before[~rows], y_true[~rows]))
    temperature = fit_temperature(before, y_true)
    if log_loss(after, y_true) >= log_loss(before, y_true):
        temperature, after = 1.0, before
    correct = before.argmax(axis=1) == y_true
    return {
        "temperature": temperature,
        "ece_before": calibration_error(before.max(axis=1), correct),
        "ece_after": calibration_error(after.max(axis=1), correct),
        "log_loss_before": log_loss(before, y_true),
        "log_loss_after": log_loss(after, y_true),
        "n": len(y_true),
        "folds": int(fold.max()) + 1,
        "over": str(clusters),
    }
