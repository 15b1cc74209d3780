"""The main metrics of each task, which every report shows, and their names for readers."""

from __future__ import annotations

from collections.abc import Container

CLASS_METRICS = ("accuracy", "macro_f1")
TAG_METRICS = ("roc_auc", "pr_auc")
METRIC_LABELS = {"accuracy": "accuracy", "macro_f1": "macro-F1", "roc_auc": "ROC-AUC", "pr_auc": "PR-AUC"}


def main_metrics(scores: Container[str]) -> tuple[str, str]:
    """The two main metrics of a split; runs are ranked by the second.

    Args:
        scores: of a split, as in metrics.json, or the names of metrics.
    """
    return TAG_METRICS if TAG_METRICS[0] in scores else CLASS_METRICS
