"""The figure of a comparison for print: scores with 95 % intervals, a line per row and a panel per metric."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from musicreclass.comparison.rows import Row
from musicreclass.comparison.tables import Table
from musicreclass.comparison.wording import SPLIT_LABELS, heading, numbered_labels
from musicreclass.evaluation.metric_names import METRIC_LABELS
from musicreclass.report.figures import plot_text
from musicreclass.report.fonts import choose_fonts

STYLES = {"valid": ("#1f6fc5", "o"), "test": ("#c2560a", "s")}  # colour and marker, as on the page
MAX_ROWS = 40  # of a table


def score_figure(tables: list[Table]) -> Figure:
    """The main metrics of all tables, one table below the other."""
    labelled = [numbered_labels(table)[:MAX_ROWS] for table in tables]
    heights = [0.9 + 0.3 * len(rows) for rows in labelled]
    figure = Figure(figsize=(7.2, sum(heights) + 0.4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subfigures(len(tables), 1, height_ratios=heights, squeeze=False)[:, 0]
    for table, rows, panel in zip(tables, labelled, panels, strict=True):
        data, split, sizes = heading(table)
        panel.suptitle(plot_text(f"{data}, split {split}"), fontsize=9, x=0.01, ha="left", fontweight="bold")
        for number, (metric, axes) in enumerate(zip(table.metrics, panel.subplots(1, 2, sharey=True), strict=True)):
            draw_metric(axes, rows, metric)
            if number == 0:
                axes.set_yticks(range(len(rows)), [plot_text(label) for label, _ in rows], fontsize=8)
                axes.set_ylim(len(rows) - 0.4, -0.6)
        panel.supxlabel(sizes, fontsize=7, color="0.35")
    handles = {label: handle for axes in figure.get_axes() for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}  # fmt: skip
    if len(handles) > 1:
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    choose_fonts(figure)
    return figure


def draw_metric(axes: Axes, rows: list[tuple[str, Row]], metric: str) -> None:
    """Draw the points and intervals of one metric; unranked rows are pale."""
    splits = [split for split in STYLES if any((split, metric) in row.scores for _, row in rows)]
    for shift, split in zip((-0.13, 0.13) if len(splits) > 1 else (0.0,), splits, strict=True):
        colour, marker = STYLES[split]
        for y, (_, row) in enumerate(rows):
            if (split, metric) in row.scores:
                score = row.scores[split, metric]
                alpha = 0.45 if row.exclusions else 1
                axes.plot(
                    [100 * score.low, 100 * score.high], [y + shift] * 2, color=colour, linewidth=1.4, alpha=alpha
                )
                axes.plot(100 * score.mean, y + shift, marker, color=colour, markersize=4.5, alpha=alpha, linestyle="",
                          label=SPLIT_LABELS[split])  # fmt: skip
    axes.set_xlabel(f"{METRIC_LABELS[metric]}, % (95 % interval)", fontsize=8)
    axes.tick_params(labelsize=8, left=False)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right", "left"]].set_visible(False)
