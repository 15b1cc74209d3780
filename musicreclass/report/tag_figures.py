"""Figures of predicted tags: the areas of each tag, precision over recall, and which tags occur together."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from musicreclass.evaluation.predictions import Predictions
from musicreclass.evaluation.ranking import Ranking
from musicreclass.report.figures import plot_text
from musicreclass.report.fonts import choose_fonts

MAX_TAGS = 60  # that are drawn, the most frequent ones
MAX_CURVES = 8  # precision-recall curves, of the most frequent tags


def tag_figure(predictions: Predictions, scores: dict[str, Any], title: str) -> Figure:
    """Three panels: the areas of each tag, precision over recall of the most frequent ones, and the tags of the same tracks.

    Args:
        predictions: indicators and probabilities of tags.
        scores: of these, as `tag_metrics.score_tags` returns them.
        title: of the figure.
    """
    y_true = predictions.y_true()
    support = y_true.sum(axis=0, dtype=int)
    order = np.argsort(-support, kind="stable")[:MAX_TAGS]
    names = [plot_text(predictions.classes[i]) for i in order]
    side = min(max(4.0, 0.24 * len(order) + 1.5), 16)
    figure = Figure(figsize=(2.2 * side + 3, side), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    areas, curves, together = figure.subplots(1, 3, width_ratios=(1, 1, 1.1))
    draw_areas(areas, [scores["per_tag"][predictions.classes[i]] for i in order], names, len(y_true))
    draw_curves(curves, predictions, [int(i) for i in order if 0 < support[i] < len(y_true)][:MAX_CURVES])
    draw_co_occurrence(together, y_true[:, order], names)
    figure.suptitle(plot_text(title), fontsize=10)
    choose_fonts(figure)
    return figure


def draw_areas(axes: Axes, per_tag: list[dict[str, Any]], names: list[str], n: int) -> None:
    """Bars of PR-AUC and ROC-AUC of each tag, with the share of tracks that have it, which is the PR-AUC of chance."""
    rows = np.arange(len(names))
    for offset, key, label, colour in ((-0.2, "pr_auc", "PR-AUC", "#0b62a4"), (0.2, "roc_auc", "ROC-AUC", "#a8c8e4")):
        values = [100 * (scores[key] or 0) for scores in per_tag]
        axes.barh(rows + offset, values, 0.38, color=colour, label=label)
    fractions = [100 * scores["support"] / n for scores in per_tag]
    axes.plot(fractions, rows - 0.2, "|", color="black", markersize=6, label="share of tracks")
    axes.set_yticks(rows, names, fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.set_xlabel("%")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, fontsize=7, borderaxespad=-1.6)


def draw_curves(axes: Axes, predictions: Predictions, tags: list[int]) -> None:
    """Precision over recall of some tags."""
    y_true, probability = predictions.y_true(), predictions.probabilities()
    for tag in tags:
        ranking = Ranking(y_true[:, tag], probability[:, tag])
        hits = ranking.is_positive.cumsum()[ranking.ends]
        recall, precision = hits / hits[-1], hits / (ranking.ends + 1)
        label = f"{plot_text(predictions.classes[tag])} (n = {hits[-1]})"
        axes.step(100 * recall, 100 * precision, where="post", linewidth=1.2, label=label)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 102)
    axes.set_xlabel("recall, %")
    axes.set_ylabel("precision, %")
    axes.grid(alpha=0.3)
    if tags:
        axes.legend(frameon=False, fontsize=7)


def draw_co_occurrence(axes: Axes, y_true: np.ndarray, names: list[str]) -> None:
    """Of the tracks with one tag, the share that has another one too."""
    counts = y_true.T.astype(int) @ y_true.astype(int)
    fractions = 100 * counts / np.maximum(np.diag(counts)[:, None], 1)
    image = axes.imshow(fractions, cmap="Blues", vmin=0, vmax=100)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_xlabel("also have")
    axes.set_ylabel("tracks with")
    axes.figure.colorbar(image, ax=axes, shrink=0.7, label="%")
