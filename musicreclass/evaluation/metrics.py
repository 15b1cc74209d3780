"""Metrics of a split, computed from its table of predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from musicreclass.evaluation.bootstrap import bootstrap_interval
from musicreclass.evaluation.calibration import calibration_error, log_loss
from musicreclass.evaluation.confusion import class_scores, confusion_matrix
from musicreclass.evaluation.predictions import Predictions
from musicreclass.evaluation.tag_metrics import score_tags


def score(predictions: Predictions, thresholds: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Every metric of one split, in the structure of metrics.json.

    Args:
        predictions: one row per track.
        thresholds: of tags, chosen on the validation split; None on that split itself. Classes have none.

    Returns:
        `accuracy`, `balanced_accuracy` (mean recall over all classes), `macro_f1`, `weighted_f1`, `top3_accuracy`, `log_loss`
        (nats), `ece` (expected calibration error over 15 bins of confidence) and `n`; `accuracy_ci95` and `macro_f1_ci95`, 95 %
        intervals over what `ci95_over` names: groups if any are known, else tracks; `most_confused` and `per_class`.
        Classes are those of the dataset: one without tracks in this split, listed in `absent_classes`, counts with zeros;
        `macro_f1_present` is the mean F1 of the others. Predictions of tags have the metrics of `tag_metrics.score_tags`.
    """
    if predictions.is_multi:
        return score_tags(predictions, thresholds)
    y_true, probability = predictions.y_true(), predictions.probabilities()
    ranked = np.argsort(-probability, axis=1, kind="stable")  # ties in the order of the classes, as with argmax
    y_pred = ranked[:, 0]
    confusion = confusion_matrix(y_true, y_pred, len(predictions.classes))
    per_class = class_scores(confusion)
    support = confusion.sum(axis=1)
    intervals = bootstrap_interval(y_true, y_pred, predictions.groups(), len(predictions.classes))
    return {
        "accuracy": float(np.mean(y_true == y_pred)),
        "accuracy_ci95": intervals["accuracy"],
        "balanced_accuracy": float(per_class["recall"].mean()),
        "macro_f1": float(per_class["f1"].mean()),
        "macro_f1_ci95": intervals["macro_f1"],
        "macro_f1_present": float(per_class["f1"][support > 0].mean()),
        "absent_classes": [name for name, n in zip(predictions.classes, support, strict=True) if not n],
        "weighted_f1": float(np.average(per_class["f1"], weights=support)),
        "top3_accuracy": float(np.mean((ranked[:, :3] == y_true[:, None]).any(axis=1))),
        "log_loss": log_loss(probability, y_true),
        "ece": calibration_error(probability.max(axis=1), y_true == y_pred),
        "n": len(y_true),
        "ci95_over": intervals["over"],
        "most_confused": most_confused(confusion, predictions.classes),
        "per_class": {
            name: {**{k: float(v[i]) for k, v in per_class.items()}, "support": int(support[i])}
            for i, name in enumerate(predictions.classes)
        },
    }


def most_confused(confusion: np.ndarray, names: list[str], limit: int = 5) -> list[tuple[str, str, int, int]]:
    """The most frequent errors: (true class, predicted class, count, tracks of the true class)."""
    errors = confusion * (1 - np.eye(len(confusion), dtype=confusion.dtype))
    order = np.argsort(-errors, axis=None, kind="stable")[:limit]
    pairs = [divmod(int(i), len(confusion)) for i in order]
    return [(names[i], names[j], int(errors[i, j]), int(confusion[i].sum())) for i, j in pairs if errors[i, j]]
