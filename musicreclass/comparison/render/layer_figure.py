"""The figure of accuracy by layer, a panel for each sweep over the layers of an encoder."""

from __future__ import annotations

import textwrap

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from musicreclass.comparison.layers import LayerSweep, layer_sweeps
from musicreclass.comparison.tables import Table
from musicreclass.comparison.wording import SPLIT_LABELS, heading, split_text
from musicreclass.evaluation.metric_names import METRIC_LABELS
from musicreclass.report.figures import plot_text
from musicreclass.report.fonts import choose_fonts

COLUMNS = 3  # panels in a row
STYLES = {"valid": ("tab:blue", "o", -0.08), "test": ("tab:orange", "s", 0.08)}  # colour, marker, shift


def layer_figure(tables: list[Table]) -> Figure | None:
    """Accuracy, or ROC-AUC of tags, with 95 % intervals over the layers; None if no rows differ in nothing but the layer."""
    panels = [(table, sweep) for table in tables for sweep in layer_sweeps(table)]
    if not panels:
        return None
    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    width = max(5.0, 0.5 * max(len(sweep.layers) for _, sweep in panels) + 1.5)
    figure = Figure(figsize=(width * columns, 4 * lines), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    first: Axes | None = None
    for number, (table, sweep) in enumerate(panels, start=1):
        axes = figure.add_subplot(lines, columns, number, sharey=first)
        first = first or axes
        draw_sweep(axes, table, sweep)
    choose_fonts(figure)
    return figure


def draw_sweep(axes: Axes, table: Table, sweep: LayerSweep) -> None:
    """Draw the points and intervals of one sweep, and a line through the points."""
    data, split, sizes = heading(table)
    metric = table.metrics[0]
    for name, (colour, marker, shift) in STYLES.items():
        points = [(x, row.scores[name, metric]) for x, row in enumerate(sweep.rows) if (name, metric) in row.scores]
        if not points:
            continue
        x = [position + shift for position, _ in points]
        y = [100 * score.mean for _, score in points]
        errors = [
            [100 * (score.mean - score.low) for _, score in points],
            [100 * (score.high - score.mean) for _, score in points],
        ]
        label = split_text(sweep.rows[0], name).replace(name, SPLIT_LABELS[name], 1)
        axes.errorbar(
            x,
            y,
            errors,
            color=colour,
            marker=marker,
            markersize=5,
            linewidth=0.8,
            elinewidth=1.5,
            capsize=3,
            label=label,
        )
    axes.set_xticks(range(len(sweep.layers)), [plot_text(layer) for layer in sweep.layers])
    axes.set_xlim(-0.5, len(sweep.layers) - 0.5)
    axes.set_xlabel("layer, from input to output")
    axes.set_ylabel(f"{METRIC_LABELS[metric]}, % (95 % interval)")
    title = [sweep.label, f"{data}, split {split}", sizes]
    axes.set_title(
        "\n".join(plot_text(line) for text in title for line in textwrap.wrap(text, 58)), fontsize=9, loc="left"
    )
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
