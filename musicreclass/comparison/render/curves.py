"""Learning curves of the page: a small chart per row, with the same axis of scores in all charts of a table."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from musicreclass.comparison.render.markup import Element, tag
from musicreclass.comparison.rows import Row, number_at
from musicreclass.comparison.tables import Table
from musicreclass.comparison.wording import numbered_labels
from musicreclass.evaluation.metric_names import METRIC_LABELS
from musicreclass.plurals import counted
from musicreclass.runs.history import read_history

MAX_CHARTS = 24  # rows of a table with charts
MAX_POINTS = 150  # of a line
MAX_SEEDS = 10  # runs of a row that are drawn
HIGH_LOSS = 98  # percentile of the losses at which the axis ends, so that one outlier does not flatten all curves
SPLITS = ("train", "valid")


@dataclass(frozen=True)
class Curve:
    """The history of one run.

    Attributes:
        epochs: epochs or rounds, from 1, (n,).
        values: `train/loss`, `valid/macro_f1`, ... -> (n,), NaN where not logged.
        best: the epoch or round of the model, from 1, None where it is not recorded.
        unit: `epoch` or `round`.
    """

    epochs: np.ndarray
    values: dict[str, np.ndarray]
    best: int | None
    unit: str


def read_curve(folder: Path, model: object) -> Curve | None:
    """The history of a run; None if it has fewer than two epochs.

    Args:
        folder: the run folder.
        model: the record of the model in provenance.json.
    """
    rows = read_history(folder)
    if len(rows) < 2:
        return None
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name.startswith(SPLITS)]
    values = {name: np.array([row.get(name, np.nan) for row in rows]) for name in names}
    best = {unit: number_at(model, f"best_{unit}") for unit in ("epoch", "round")}
    unit = "round" if best["round"] is not None else "epoch"
    number = best[unit]
    return Curve(
        np.array([row["epoch"] + 1 for row in rows]), values, None if number is None else int(number) + 1, unit
    )


def curve_section(table: Table) -> list[Element]:
    """The charts of all rows with a history, below a heading; empty without one."""
    curves: list[tuple[str, Row, list[Curve]]] = []
    for label, row in numbered_labels(table):
        of_row = [read_curve(run.folder, run.provenance.get("model")) for run in row.runs[:MAX_SEEDS]]
        if any(of_row):
            curves.append((label, row, [curve for curve in of_row if curve]))
    metrics = logged_in([curve for _, _, of_row in curves for curve in of_row], ["loss", table.metrics[1]])
    if not metrics:
        return []
    shown = [entry for entry in curves if logged_in(entry[2], metrics)][:MAX_CHARTS]
    ranges = {name: value_range(name, [curve for _, _, of_row in shown for curve in of_row]) for name in metrics}
    charts = [
        tag(
            "div",
            tag("h4", label, title=row.label),
            *(chart(of_row, name, ranges[name]) for name in logged_in(of_row, metrics)),
        )
        for label, row, of_row in shown
    ]
    legend = [tag("span", "training", class_="train"), tag("span", "validation", class_="valid")]
    left_out = len(curves) - len(shown)
    return [
        tag("h3", "Learning curves"),
        tag("p", "A line per run; dotted: the epoch or round of the model. The charts share their vertical axes.", class_="note"),
        tag("div", *legend, class_="legend lines"),
        tag("div", *charts, class_="curves"),
        *([tag("p", f"{counted(left_out, 'more row is', 'more rows are')} not shown; see figures/ in their run folders.", class_="note")] if left_out else []),
    ]  # fmt: skip


def logged_in(curves: list[Curve], metrics: list[str]) -> list[str]:
    """Those of some metrics that a run has logged."""
    return [name for name in metrics if any(f"valid/{name}" in curve.values for curve in curves)]


def value_range(name: str, curves: list[Curve]) -> tuple[float, float]:
    """The lowest and the highest value of a vertical axis."""
    columns = [curve.values[key] for curve in curves for split in SPLITS if (key := f"{split}/{name}") in curve.values]
    values = np.concatenate(columns)
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    if name != "loss":
        return float(np.floor(10 * values.min()) / 10), 1.0
    return 0.0, max(float(np.percentile(values, HIGH_LOSS)), 1e-6)


def chart(curves: list[Curve], name: str, limits: tuple[float, float]) -> Element:
    """One metric of the runs of a row."""
    last = max(int(curve.epochs[-1]) for curve in curves)
    low, high = limits
    lines = []
    for curve in curves:
        if curve.best is not None:
            x = 100 * (curve.best - 1) / max(last - 1, 1)
            lines.append(tag("path", d=f"M{x:.1f} 0V100", class_="best"))
        for split in SPLITS:
            if (key := f"{split}/{name}") in curve.values:
                heights = 100 * (high - curve.values[key]) / (high - low or 1)
                lines.append(tag("path", d=path_of(100 * (curve.epochs - 1) / max(last - 1, 1), heights), class_=split))
    scale = 1 if name == "loss" else 100
    label = METRIC_LABELS.get(name, name)
    picture = tag(
        "svg",
        *lines,
        viewBox="0 0 100 100",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{label} over {counted(last, curves[0].unit)}",
    )
    ends = [tag("span", f"{scale * value:.2g}" if scale == 1 else f"{scale * value:.0f}") for value in (high, low)]
    axis = tag("div", tag("span", "1"), tag("span", counted(last, curves[0].unit)), class_="epochs")
    return tag("figure", tag("figcaption", label + (", %" if scale == 100 else "")), tag("div", *ends, class_="ends"), picture, axis)  # fmt: skip


def path_of(x: np.ndarray, y: np.ndarray) -> str:
    """The path of an SVG through points, thinned to `MAX_POINTS`; interrupted where a value is missing."""
    indices = np.unique(np.linspace(0, len(x) - 1, min(len(x), MAX_POINTS)).round().astype(int))
    finite = [bool(np.isfinite(y[i])) for i in indices]
    commands = ["L" if before else "M" for before, _ in pairwise([False, *finite])]
    return "".join(
        f"{command}{x[i]:.1f} {np.clip(y[i], -50, 150):.1f}"
        for i, command, ok in zip(indices, commands, finite, strict=True)
        if ok
    )
