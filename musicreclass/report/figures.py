"""Pictures of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from musicreclass.evaluation.confusion import confusion_matrix
from musicreclass.evaluation.predictions import Predictions
from musicreclass.storage.atomic import replacing

WRITTEN = 60  # so many classes are named, and their counts written in; more would not be readable


def shown(text: str) -> str:
    """Text as matplotlib shows it as it stands, and not too long."""
    return (text if len(text) <= 60 else text[:57] + "...").replace("$", r"\$")


def confusion_figure(predictions: Predictions, title: str) -> Figure:
    """The confusion matrix: the share of each true class by y_pred, the counts written in."""
    names = predictions.classes
    counts = confusion_matrix(predictions.y_true(), predictions.probabilities().argmax(1), len(names))
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [shown(name) for name in names]
    side = min(max(4.5, 0.52 * len(names) + 2.2), 16)
    figure = Figure(figsize=(side + 0.8, side), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for i, row in enumerate(counts if len(names) <= WRITTEN else []):
        for j, n in enumerate(row):
            if n:
                axes.text(
                    j, i, str(n), ha="center", va="center", fontsize=8, color="white" if share[i, j] > 0.55 else "black"
                )
    if len(names) <= WRITTEN:
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(shown(title), fontsize=10)
    bar = figure.colorbar(image, shrink=0.8)
    bar.set_label("share of the true class", fontsize=9)
    return figure


def curves_figure(rows: list[dict[str, float]], best: int | None = None) -> Figure | None:
    """Training and validation side by side, a panel per metric; None if there is no curve to draw.

    Args:
        rows: the values of each epoch or round.
        best: the one whose weights were kept.
    """
    names = [n for n in ("loss", "accuracy", "macro_f1") if any(f"valid/{n}" in row for row in rows)]
    if len(rows) < 2 or not names:
        return None
    figure = Figure(figsize=(4 * len(names), 3), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for place, name in enumerate(names, start=1):
        axes = figure.add_subplot(1, len(names), place)
        for split, style in (("train", "--"), ("valid", "-")):
            points = [(row["epoch"], row[f"{split}/{name}"]) for row in rows if f"{split}/{name}" in row]
            if points:
                axes.plot(*zip(*points, strict=True), style, label=split, linewidth=1.5)
        if best is not None:
            axes.axvline(best, color="gray", linewidth=1, linestyle=":", label="kept")
        axes.set_xlabel("epoch or round")
        axes.set_title(name.replace("macro_f1", "macro-F1"), fontsize=10)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
    return figure


def spectrogram_figure(pictures: np.ndarray, names: list[str], seconds: float) -> Figure:
    """Log-mel spectrograms as the network gets them, side by side.

    Args:
        pictures: (n, mels, frames), n at most 8 or so.
        names: their classes.
        seconds: from frame to frame.
    """
    across = min(4, len(pictures))
    down = -(-len(pictures) // across)
    figure = Figure(figsize=(3 * across, 2.2 * down), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for place, (picture, name) in enumerate(zip(pictures, names, strict=True), start=1):
        axes = figure.add_subplot(down, across, place)
        axes.imshow(picture, origin="lower", aspect="auto", cmap="magma", vmin=-3, vmax=3,
                    extent=(0, seconds * picture.shape[1], 0, picture.shape[0]))  # fmt: skip
        axes.set_title(shown(name), fontsize=9)
        axes.tick_params(labelsize=7)
        if place > across * (down - 1):
            axes.set_xlabel("s", fontsize=8)
        if place % across == 1 or across == 1:
            axes.set_ylabel("mel band", fontsize=8)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG. What draws the figure again, as TensorBoard's writer does, need not lay it out again."""
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as scratch:
        figure.savefig(scratch, format="png")
    figure.set_layout_engine("none")
