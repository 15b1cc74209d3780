"""Metrics of a split whose tracks have sets of tags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from musicreclass.evaluation.bootstrap import bootstrap_intervals
from musicreclass.evaluation.calibration import fold_of_tracks
from musicreclass.evaluation.predictions import Predictions
from musicreclass.evaluation.probabilities import LOSS_FLOOR
from musicreclass.evaluation.ranking import Ranking, best_thresholds, f1_scores
from musicreclass.evaluation.resampling import Clusters, TagRankings


def score_tags(predictions: Predictions, thresholds: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Every metric of one split, in the structure of metrics.json.

    Args:
        predictions: indicators and probabilities of tags, one row per track.
        thresholds: by tag, from which a track gets the tag; None chooses them on these tracks, see `cross_fitted`.

    Returns:
        `roc_auc` and `pr_auc` (average precision), macro averages over the tags that some tracks have and others lack, with
        `roc_auc_ci95` and `pr_auc_ci95`, 95 % intervals over what `ci95_over` names; `micro_roc_auc` and `micro_pr_auc`, of all
        pairs of a track and a tag; `macro_f1` and `micro_f1` with the thresholds, and `f1_thresholds`, where these come from;
        `log_loss` (nats, mean over tracks and tags), `n`, `tags_per_track`, `unscored_tags`, which all tracks have or lack, and
        `per_tag`. Areas are None if no tag can be scored.
    """
    y_true, probability = predictions.y_true(), predictions.probabilities()
    clusters = Clusters.of(predictions.groups())
    statistic = TagRankings.of(clusters, y_true, probability)
    scored, names = statistic.rankings.scored, np.array(predictions.classes, dtype=object)
    if thresholds is None:
        y_pred = cross_fitted(y_true, probability, clusters)
        source = "the other folds of the same tracks"
    else:
        y_pred = probability >= np.array([thresholds.get(name, 0.5) for name in predictions.classes])
        source = "the validation split"
    per_tag = {**statistic.rankings.per_tag(), "f1": f1_scores(y_true, y_pred)}
    micro = Ranking(y_true.ravel(), probability.ravel()).areas(np.ones((1, y_true.size)))[:, 0]
    areas: dict[str, Any] = dict.fromkeys(("roc_auc", "roc_auc_ci95", "pr_auc", "pr_auc_ci95"))
    if scored.any():
        intervals = bootstrap_intervals(statistic, clusters)
        for metric, value in statistic.scores().items():
            areas |= {metric: value, f"{metric}_ci95": intervals[metric]}
    support = y_true.sum(axis=0, dtype=int)
    return {
        **areas,
        "micro_roc_auc": finite(micro[0]),
        "micro_pr_auc": finite(micro[1]),
        "macro_f1": float(per_tag["f1"][scored].mean()) if scored.any() else None,
        "micro_f1": float(f1_scores(y_true.reshape(-1, 1), y_pred.reshape(-1, 1))[0]),
        "f1_thresholds": source,
        "log_loss": tag_log_loss(y_true, probability),
        "n": len(y_true),
        "ci95_over": str(clusters),
        "tags_per_track": float(y_true.sum() / len(y_true)),
        "unscored_tags": names[~scored].tolist(),
        "per_tag": {
            name: {**{metric: finite(values[i]) for metric, values in per_tag.items()}, "support": int(support[i])}
            for i, name in enumerate(predictions.classes)
        },
    }


def prior_scores(scores: Mapping[str, Any]) -> dict[str, float]:
    """What a model that gives every track the same probabilities, such as the frequencies of the tags, has on a split.

    All tracks are above the threshold with the highest F1, so that F1 is 2 p / (1 + p) for a tag that a fraction p of them has.

    Args:
        scores: from `score_tags`.

    Returns:
        `roc_auc`, `pr_auc` and `macro_f1`, means over the scored tags, and `micro_f1`; empty if no tag is scored.
    """
    n, support = scores["n"], {name: values["support"] for name, values in scores["per_tag"].items()}
    fractions = np.array([support[name] / n for name in support if name not in scores["unscored_tags"]])
    if not len(fractions):
        return {}
    total = sum(support.values())
    return {
        "roc_auc": 0.5,
        "pr_auc": float(fractions.mean()),
        "macro_f1": float((2 * fractions / (1 + fractions)).mean()),
        "micro_f1": 2 * total / (total + n * len(support)),
    }


def finite(value: float) -> float | None:
    """A number for JSON; None for NaN."""
    return None if np.isnan(value) else float(value)


def tag_log_loss(y_true: np.ndarray, probability: np.ndarray) -> float:
    """The mean binary cross-entropy over tracks and tags, nats."""
    of_truth = np.where(y_true.astype(bool), probability, 1 - probability)
    return float(-np.log(np.clip(of_truth, LOSS_FLOOR, 1)).mean())


def cross_fitted(y_true: np.ndarray, probability: np.ndarray, clusters: Clusters) -> np.ndarray:
    """The tags of each track with thresholds from tracks of other groups, bool (n, C); with those of all tracks for a single group."""
    if clusters.count < 2:
        return probability >= best_thresholds(y_true, probability)
    tags, fold = np.zeros(y_true.shape, bool), fold_of_tracks(clusters)
    for held_out in np.unique(fold):
        rows = fold == held_out
        tags[rows] = probability[rows] >= best_thresholds(y_true[~rows], probability[~rows])
    return tags


def tag_thresholds(predictions: Predictions) -> dict[str, float]:
    """The threshold of each tag with the highest F1 on the validation split."""
    values = best_thresholds(predictions.y_true(), predictions.probabilities())
    return dict(zip(predictions.classes, values.tolist(), strict=True))
