"""Figures of a run: confusion matrix, learning curves, spectrograms of training clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from musicreclass.errors import printable
from musicreclass.evaluation.confusion import confusion_matrix
from musicreclass.evaluation.metric_names import METRIC_LABELS
from musicreclass.evaluation.predictions import Predictions
from musicreclass.report.fonts import choose_fonts
from musicreclass.storage.atomic import replacing

MAX_LABELLED_CLASSES = 60  # with more classes, names and counts would not be readable


def plot_text(text: str) -> str:
    """Shorten text, replace control characters, and escape what matplotlib would read as mathematics."""
    text = printable(text)
    return (text if len(text) <= 60 else text[:57] + "...").replace("$", r"\$")


def confusion_figure(predictions: Predictions, title: str) -> Figure:
    """The confusion matrix: colours show shares of the true class, numbers show counts."""
    names = predictions.classes
    counts = confusion_matrix(predictions.y_true(), predictions.probabilities().argmax(1), len(names))
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [plot_text(name) for name in names]
    side = min(max(4.5, 0.52 * len(names) + 2.2), 16)
    figure = Figure(figsize=(side + 0.8, side), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    for i, row in enumerate(counts if len(names) <= MAX_LABELLED_CLASSES else []):
        for j, n in enumerate(row):
            if n:
                axes.text(
                    j,
                    i,
                    str(n),
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="white" if fractions[i, j] > 0.55 else "black",
                )
    if len(names) <= MAX_LABELLED_CLASSES:
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(plot_text(title), fontsize=10)
    bar = figure.colorbar(image, shrink=0.8)
    bar.set_label("share of the true class", fontsize=9)
    choose_fonts(figure)
    return figure


def curves_figure(rows: list[dict[str, float]], best: int | None = None, label_smoothing: float = 0.0) -> Figure | None:
    """Training and validation curves, a panel per metric; None if there are fewer than two epochs or no metric.

    Epochs and rounds are numbered from 1, as in the summary.

    Args:
        rows: the values of each epoch or round.
        best: the best epoch or round, from 0, whose model is used.
        label_smoothing: of the training loss; the legend says so, since validation loss has none.
    """
    logged = dict.fromkeys(name.removeprefix("valid/") for row in rows for name in row if name.startswith("valid/"))
    order = ("loss", *METRIC_LABELS)
    names = [n for n in order if n in logged] + [n for n in logged if n not in order]
    if len(rows) < 2 or not names:
        return None
    figure = Figure(figsize=(4 * len(names), 3), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for panel, name in enumerate(names, start=1):
        axes = figure.add_subplot(1, len(names), panel)
        for split, style in (("train", "--"), ("valid", "-")):
            points = [(row["epoch"] + 1, row[f"{split}/{name}"]) for row in rows if f"{split}/{name}" in row]
            smoothed = split == "train" and name == "loss" and label_smoothing
            label = f"train (label smoothing {label_smoothing:g})" if smoothed else split
            if points:
                axes.plot(*zip(*points, strict=True), style, label=label, linewidth=1.5)
        if best is not None:
            axes.axvline(best + 1, color="gray", linewidth=1, linestyle=":", label=f"best: {best + 1}")
        axes.set_xlabel("epoch or round")
        axes.set_title(METRIC_LABELS.get(name, name), fontsize=10)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
    return figure


def learning_rate_figure(rates: list[float], losses: list[float], suggestion: float | None) -> Figure:
    """The smoothed loss of a learning rate range test over the learning rate, with the suggested rate."""
    figure = Figure(figsize=(5, 3.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(rates, losses, linewidth=1.5)
    if suggestion is not None:
        axes.axvline(suggestion, color="gray", linewidth=1, linestyle=":", label=f"steepest slope: {suggestion:g}")
        axes.legend(frameon=False, fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("smoothed training loss")
    axes.grid(alpha=0.3)
    return figure


def spectrogram_figure(spectrograms: np.ndarray, names: list[str], seconds: float) -> Figure:
    """Standardised log-mel spectrograms, the input of a network, in a grid.

    Args:
        spectrograms: (n, mels, frames), n of 8 at most.
        names: the class of each.
        seconds: per frame.
    """
    columns = min(4, len(spectrograms))
    rows = -(-len(spectrograms) // columns)
    figure = Figure(figsize=(3 * columns, 2.2 * rows), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for panel, (spectrogram, name) in enumerate(zip(spectrograms, names, strict=True), start=1):
        axes = figure.add_subplot(rows, columns, panel)
        axes.imshow(spectrogram, origin="lower", aspect="auto", cmap="magma", vmin=-3, vmax=3,
                    extent=(0, seconds * spectrogram.shape[1], 0, spectrogram.shape[0]))  # fmt: skip
        axes.set_title(plot_text(name), fontsize=9)
        axes.tick_params(labelsize=7)
        if panel > columns * (rows - 1):
            axes.set_xlabel("s", fontsize=8)
        if panel % columns == 1 or columns == 1:
            axes.set_ylabel("mel band", fontsize=8)
    choose_fonts(figure)
    return figure


def save_figure(figure: Figure, path: Path, dpi: int | None = None) -> None:
    """Write a figure as PNG, PDF or SVG, and fix the layout so that it is not computed again for the next file or TensorBoard.

    Args:
        figure: the figure.
        path: ends in `.png`, `.pdf` or `.svg`.
        dpi: dots per inch of a PNG; None: those of the figure.
    """
    path.parent.mkdir(exist_ok=True)
    # without the date and random ids, equal figures are equal files
    undated: dict[str, None] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(path.suffix, {})
    with replacing(path) as temporary, rc_context({"svg.hashsalt": "musicreclass"}):
        figure.savefig(temporary, format=path.suffix[1:], dpi=dpi or "figure", metadata=undated)
    figure.set_layout_engine("none")


def save_for_print(figure: Figure, path: Path) -> np.ndarray:
    """Write a PNG, and a PDF of the same name, which LaTeX includes and which is sharp at any size.

    Returns:
        The pixels of the PNG, uint8 (height, width, 3), so that TensorBoard need not draw the figure again.
    """
    fix_layout(figure)
    save_figure(figure, path)
    assert isinstance(figure.canvas, FigureCanvasAgg)
    pixels = np.array(figure.canvas.buffer_rgba())[..., :3]
    save_figure(figure, path.with_suffix(".pdf"))
    return pixels


def fix_layout(figure: Figure) -> None:
    """Compute the layout now. A figure with a layout engine would be drawn twice for each file, first to compute its layout."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    with rc_context({"figure.autolayout": False, "figure.constrained_layout.use": False}):  # None means these
        figure.set_layout_engine(None)
