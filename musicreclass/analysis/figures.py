"""Figures of an analysis."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from musicreclass.analysis.columns import Projection
from musicreclass.analysis.dataset import Analysis
from musicreclass.analysis.spectrograms import Example, Spectra, class_spectra
from musicreclass.config.settings.data import SPLITS
from musicreclass.data.targets import has_label
from musicreclass.report.figures import plot_text
from musicreclass.report.fonts import choose_fonts

SPLIT_COLOURS = {"train": "#6b7683", "valid": "#1f6fc5", "test": "#c2560a"}
SIMILAR = 0.1  # durations that differ by less are not drawn
MAX_BARS = 40
MAX_COLOURS = 18  # classes of the projection; the others are grey
PANELS = 4  # in a row
DYNAMIC_RANGE = 70  # dB of a spectrogram
OTHER = "others"
NAMES = re.compile(r"class_counts|durations|projection|mean_spectra|mean_spectrograms|example_\d{2,}")


def draw_figures(analysis: Analysis) -> dict[str, Figure]:
    """The figures that the data allows, by the name of their file."""
    summary, figures = analysis.summary, {}
    names = [entry["name"] for entry in summary["classes"]]
    figures["class_counts"] = counts_figure(summary["classes"])
    durations = summary["durations"]
    if durations is not None and durations["max"] - durations["min"] > SIMILAR * durations["max"]:
        figures["durations"] = durations_figure(analysis.tracks, names)
    if analysis.projection is not None:
        figures["projection"] = projection_figure(analysis.projection, names)
    if analysis.spectra is not None:
        figures["mean_spectra"] = spectra_figure(analysis.spectra)
        figures["mean_spectrograms"] = spectrograms_figure(analysis.spectra)
        for number, example in enumerate(analysis.spectra.examples, start=1):
            figures[f"example_{number:02d}"] = example_figure(example, analysis.spectra)
    for figure in figures.values():
        choose_fonts(figure)
    return figures


def is_figure(name: str) -> bool:
    """Whether `draw_figures` may draw a figure of this name."""
    return NAMES.fullmatch(name) is not None


def new_figure(width: float, height: float) -> Figure:
    """A figure of a size in inches that fits its content."""
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def tidy(axes: Axes) -> None:
    """Hide the frame above and on the right."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def class_label(name: str, limit: int = 32) -> str:
    """The name of a class, shortened."""
    return plot_text(name if len(name) <= limit else f"{name[: limit - 1]}…")


def shown_classes(names: Sequence[str], title: str) -> tuple[list[str], str]:
    """The classes to draw, and the title, which says how many are left out."""
    left_out = len(names) - MAX_BARS
    return list(names[:MAX_BARS]), title + (f"; the {left_out} smallest are not shown" if left_out > 0 else "")


def counts_figure(classes: list[dict[str, Any]]) -> Figure:
    """Tracks of each class by split, as stacked bars."""
    names, title = shown_classes([entry["name"] for entry in classes], "tracks per genre")
    figure = new_figure(7.5, 1.2 + 0.24 * len(names))
    axes, left = figure.add_subplot(), np.zeros(len(names))
    for split in SPLITS:
        values = np.array([entry[split] for entry in classes[: len(names)]], float)
        if values.any():
            axes.barh(range(len(names)), values, left=left, label=split, color=SPLIT_COLOURS[split], height=0.72)
        left += values
    axes.set_yticks(range(len(names)), [class_label(name) for name in names])
    axes.invert_yaxis()
    axes.set_title(title, fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    tidy(axes)
    return figure


def durations_figure(tracks: pd.DataFrame, classes: Sequence[str]) -> Figure:
    """Durations by class, as box plots."""
    lengths = {name: tracks.duration[has_label(tracks.target, name)].dropna().to_numpy() for name in classes}
    names, title = shown_classes([name for name, values in lengths.items() if len(values)], "duration in seconds")
    figure = new_figure(7.5, 1.2 + 0.24 * len(names))
    axes = figure.add_subplot()
    style = {"color": "#1f6fc5"}
    axes.boxplot(
        [lengths[name] for name in names], orientation="horizontal", widths=0.6, boxprops=style, whiskerprops=style,
        capprops=style, medianprops={"color": "#c2560a"},
        flierprops={"marker": ".", "markersize": 4, "markeredgecolor": "#6b7683"},
    )  # fmt: skip
    axes.set_yticks(range(1, len(names) + 1), [class_label(name) for name in names])
    axes.invert_yaxis()
    every = np.concatenate([lengths[name] for name in names])
    if every.min() > 0 and every.max() > 30 * every.min():
        axes.set_xscale("log")
    axes.set_title(title, fontsize=10)
    axes.grid(axis="x", alpha=0.3)
    tidy(axes)
    return figure


def projection_figure(projection: Projection, classes: Sequence[str]) -> Figure:
    """The first two principal components, a colour per class; the axes leave out the outermost percent of the points."""
    figure = new_figure(7.5, 5.2)
    axes = figure.add_subplot()
    colours = matplotlib.colormaps["tab10" if len(classes) <= 10 else "tab20"].colors  # type: ignore[attr-defined]
    if len(classes) > MAX_COLOURS:
        colours = [colour for colour in colours if max(colour) > min(colour)]  # the others are grey
    present = [name for name in classes if (projection.target == name).any()]
    coloured = present if len(present) <= MAX_COLOURS else present[: MAX_COLOURS - 1]
    size = 26 if len(projection.points) <= 500 else 9
    others = ~np.isin(projection.target, np.array(coloured, dtype=object))
    if others.any():
        axes.scatter(
            projection.points[others, 0],
            projection.points[others, 1],
            s=size,
            color="#b8bcc2",
            alpha=0.6,
            linewidths=0,
            label=OTHER,
        )
    for name, colour in zip(coloured, colours, strict=False):
        points = projection.points[projection.target == name]
        axes.scatter(
            points[:, 0], points[:, 1], s=size, color=colour, alpha=0.75, linewidths=0, label=class_label(name, 24)
        )
    for axis, values in zip("xy", projection.points.T, strict=True):
        low, high = np.quantile(values, [0.005, 0.995])
        margin = 0.06 * (high - low) or 1.0
        getattr(axes, f"set_{axis}lim")(low - margin, high + margin)
    first, second = (f"{100 * fraction:.0f} %" for fraction in projection.explained)
    axes.set_xlabel(f"first component ({first} of the variance)", fontsize=9)
    axes.set_ylabel(f"second component ({second})", fontsize=9)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), markerscale=1.2)
    tidy(axes)
    return figure


def spectra_figure(spectra: Spectra) -> Figure:
    """The mean spectrum of each class relative to the mean of all classes, in dB."""
    table = class_spectra(spectra)
    difference = table - table.mean(axis=0)
    figure = new_figure(7.5, 1.5 + 0.27 * len(table))
    axes = figure.add_subplot()
    limit = max(3.0, float(np.quantile(np.abs(difference.to_numpy()), 0.98)))
    image = axes.imshow(difference.to_numpy(), aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes.set_yticks(range(len(table)), [class_label(name) for name in table.index])
    bands = np.linspace(0, len(spectra.frequencies) - 1, 8).astype(int)
    axes.set_xticks(bands, [frequency_text(spectra.frequencies[band]) for band in bands])
    axes.set_xlabel("Hz", fontsize=9)
    axes.tick_params(labelsize=8)
    bar = figure.colorbar(image)
    bar.set_label("dB, relative to the mean", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure


def frequency_text(frequency: float) -> str:
    """A frequency in hertz or kilohertz: `440`, `3.2k`."""
    return f"{frequency:.0f}" if frequency < 1000 else f"{frequency / 1000:.1f}k"


def spectrograms_figure(spectra: Spectra) -> Figure:
    """The mean spectrogram of each class, with one colour scale."""
    names = list(spectra.means)
    rows = -(-len(names) // PANELS)
    figure = new_figure(10, 0.5 + 1.75 * rows)
    high = max(float(mean.max()) for mean in spectra.means.values())
    for panel, name in enumerate(names, start=1):
        axes = figure.add_subplot(rows, min(PANELS, len(names)), panel)
        draw_spectrogram(axes, spectra.means[name], spectra, high)
        axes.set_title(f"{class_label(name, 22)} ({spectra.tracks[name]})", fontsize=9)
        if panel <= len(names) - PANELS:
            axes.set_xlabel("")
        if panel % PANELS != 1:
            axes.set_ylabel("")
    return figure


def example_figure(example: Example, spectra: Spectra) -> Figure:
    """The spectrogram of an example."""
    figure = new_figure(5, 2.1)
    draw_spectrogram(figure.add_subplot(), example.decibels, spectra, float(example.decibels.max()))
    return figure


def draw_spectrogram(axes: Axes, decibels: np.ndarray, spectra: Spectra, high: float) -> None:
    """Draw mel power in dB, (mels, frames), down to `DYNAMIC_RANGE` below `high`."""
    extent = (0, decibels.shape[1] * spectra.frame_seconds, 0, len(decibels))
    axes.imshow(
        decibels, origin="lower", aspect="auto", cmap="magma", vmin=high - DYNAMIC_RANGE, vmax=high, extent=extent
    )
    bands = np.linspace(0, len(decibels) - 1, 4).astype(int)
    axes.set_yticks(bands + 0.5, [frequency_text(spectra.frequencies[band]) for band in bands])
    axes.tick_params(labelsize=7)
    axes.set_xlabel("s", fontsize=8)
    axes.set_ylabel("Hz", fontsize=8)
