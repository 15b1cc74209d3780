"""Interval plots and heat maps of the page, drawn with HTML elements and CSS so that they follow its colours and width."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from musicreclass.comparison.entries import PredictedClasses
from musicreclass.comparison.layers import layer_sweeps
from musicreclass.comparison.render.markup import Element, scroll_box, tag
from musicreclass.comparison.rows import Row
from musicreclass.comparison.tables import Table
from musicreclass.comparison.wording import SPLIT_LABELS, interval_text, numbered_labels
from musicreclass.evaluation.confusion import class_scores, confusion_matrix
from musicreclass.evaluation.metric_names import METRIC_LABELS
from musicreclass.evaluation.ranking import Rankings
from musicreclass.plurals import counted

TICK_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2)  # the first that gives at most six is used
MAX_CONFUSION_CELLS = 25_000  # of all confusion matrices of a table


@dataclass(frozen=True)
class Axis:
    """The range of scores that a plot covers.

    Attributes:
        start, end: between 0 and 1.
        ticks: the scores with a grid line.
    """

    start: float
    end: float
    ticks: np.ndarray

    @classmethod
    def covering(cls, low: float, high: float) -> Axis:
        """The axis from the tick below `low` to the tick above `high`."""
        step = next((step for step in TICK_STEPS if (high - low) / step <= 6), TICK_STEPS[-1])
        start, end = np.floor(low / step + 1e-9) * step, np.ceil(high / step - 1e-9) * step
        end = max(end, start + step)
        return cls(start, end, np.arange(start, end + step / 2, step))

    def percent(self, score: float) -> float:
        """The position of a score along the axis, in percent."""
        return 100 * (score - self.start) / (self.end - self.start)


def interval_plots(labelled: list[tuple[str, Row]], splits: list[str]) -> list[Element]:
    """A plot for each metric: a line per row with its label, a point with an interval per split."""
    legend = tag("div", *(tag("span", SPLIT_LABELS[split], class_=split) for split in splits), class_="legend")
    metrics = labelled[0][1].metrics
    return [legend, tag("div", *(interval_plot(labelled, metric, splits) for metric in metrics), class_="plots")]


def score_plots(table: Table) -> list[Element]:
    """The plots of all rows of a table."""
    return interval_plots(numbered_labels(table), list(table.sizes))


def layer_plots(table: Table) -> list[Element]:
    """The plots of each sweep over the layers of an encoder, below a heading; nothing without a sweep."""
    elements: list[Element] = []
    for sweep in layer_sweeps(table):
        labelled = list(zip(sweep.layers, sweep.rows, strict=True))
        elements += [
            tag("h3", f"By layer, from input to output: {sweep.label}"),
            *interval_plots(labelled, list(table.sizes)),
        ]
    return elements


def interval_plot(labelled: list[tuple[str, Row]], metric: str, splits: list[str]) -> Element:
    """One metric of some rows; unranked rows are pale."""
    estimates = [row.scores[split, metric] for _, row in labelled for split in splits if (split, metric) in row.scores]
    axis = Axis.covering(min(e.low for e in estimates), max(e.high for e in estimates))
    lines = []
    for label, row in labelled:
        line = tag(
            "div",
            *(tag("i", style=f"left:{axis.percent(tick):.2f}%") for tick in axis.ticks),
            *plot_points(row, metric, splits, axis),
            class_="track unranked" if row.exclusions else "track",
            role="img",
            aria_label=plot_description(row, metric, splits),
        )
        lines.append(tag("div", tag("span", label, title=row.label), line, class_="row"))
    tick_labels = [tag("span", f"{100 * tick:.0f}", style=f"left:{axis.percent(tick):.2f}%") for tick in axis.ticks]
    plot = tag("div", *lines, tag("span"), tag("div", *tick_labels, class_="axis"), class_="plot")
    return tag("div", tag("h4", METRIC_LABELS[metric], ", %"), plot)


def plot_points(row: Row, metric: str, splits: list[str], axis: Axis) -> list[Element]:
    """The interval and the point of each split that was scored."""
    elements = []
    for split, position in zip(splits, ("upper", "lower") if len(splits) > 1 else ("",), strict=True):
        if (split, metric) in row.scores:
            estimate = row.scores[split, metric]
            title = f"{SPLIT_LABELS[split]}: {100 * estimate.mean:.1f} {interval_text(estimate)}"
            left = axis.percent(estimate.low)
            width = axis.percent(estimate.high) - left
            elements += [
                tag("b", class_=f"{split} {position}", style=f"left:{left:.2f}%;width:{width:.2f}%"),
                tag("u", class_=f"{split} {position}", style=f"left:{axis.percent(estimate.mean):.2f}%", title=title),
            ]
    return elements


def plot_description(row: Row, metric: str, splits: list[str]) -> str:
    """A line of a plot as text, for screen readers."""
    estimates = [(SPLIT_LABELS[split], row.scores[split, metric]) for split in splits if (split, metric) in row.scores]
    return "; ".join(
        f"{label} {100 * e.mean:.1f}, interval {100 * e.low:.1f} to {100 * e.high:.1f}" for label, e in estimates
    )


def confusion_matrices(seeds: list[PredictedClasses]) -> np.ndarray:
    """The confusion matrix of each seed, (seeds, C, C)."""
    return np.stack([confusion_matrix(seed.y_true, seed.y_pred, len(seed.classes)) for seed in seeds])


def class_scores_of(seeds: list[PredictedClasses]) -> np.ndarray:
    """F1 of each class, or PR-AUC of each tag, averaged over seeds, (C,); NaN for a tag that cannot be scored."""
    if seeds[0].is_multi:
        return np.mean([Rankings(seed.y_true, seed.y_pred).per_tag()["pr_auc"] for seed in seeds], axis=0)
    return np.asarray(class_scores(confusion_matrices(seeds))["f1"].mean(0))


def class_table(table: Table, split: str) -> Element:
    """F1 of each class, or PR-AUC of each tag, for every row that was scored on a split."""
    labelled = [(label, row) for label, row in numbered_labels(table) if split in row.predictions]
    classes = labelled[0][1].predictions[split][0].classes
    lines = []
    for label, row in labelled:
        cells = [
            heat_cell(0, "", f"{name}: undefined")
            if np.isnan(value)
            else heat_cell(100 * value, f"{100 * value:.0f}", f"{name}: {100 * value:.1f}")
            for name, value in zip(classes, class_scores_of(row.predictions[split]), strict=True)
        ]
        lines.append(tag("tr", tag("th", label, scope="row", title=row.label), *cells))
    is_open = {"open": "open"} if split == "valid" or "valid" not in table.sizes else {}
    grid = scroll_box(heat_table(classes, lines), f"{class_heading(table)} on {SPLIT_LABELS[split]}")
    return tag("details", tag("summary", f"on {SPLIT_LABELS[split]}, %"), grid, **is_open)


def class_heading(table: Table) -> str:
    """What the table of classes has."""
    return "PR-AUC by tag" if is_of_tags(table) else "F1 by class"


def is_of_tags(table: Table) -> bool:
    """Whether the rows predict sets of tags."""
    return next(iter(table.rows[0].predictions.values()))[0].is_multi


def confusion_sections(table: Table) -> list[Element]:
    """The confusion matrices of each row below a heading, summed over seeds, up to a limit of cells; none of tags."""
    if is_of_tags(table):
        return []
    sections, free_cells = [], MAX_CONFUSION_CELLS
    for number, (label, row) in enumerate(numbered_labels(table)):
        cells = sum(len(seeds[0].classes) ** 2 for seeds in row.predictions.values())
        if cells > free_cells:
            note = f"{counted(len(table.rows) - number, 'more row is', 'more rows are')} not shown; see figures/ in their run folders."
            sections.append(tag("p", note, class_="note"))
            break
        free_cells -= cells
        matrices = [
            tag(
                "div",
                tag("h4", SPLIT_LABELS[split]),
                scroll_box(confusion_table(seeds), f"confusion matrix on {SPLIT_LABELS[split]}"),
            )
            for split, seeds in row.predictions.items()
        ]
        is_open = {"open": "open"} if number == 0 else {}
        summary = tag("summary", label)
        sections.append(tag("details", summary, tag("div", *matrices, class_="matrices"), **is_open))
    caption = "Rows are true classes, columns are predicted classes; cells are percentages of the true class."
    return [tag("h3", "Confusion matrices"), tag("p", caption, class_="note"), *sections]


def confusion_table(seeds: list[PredictedClasses]) -> Element:
    """A confusion matrix, summed over seeds."""
    counts, classes = confusion_matrices(seeds).sum(0), seeds[0].classes
    percent = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    lines = []
    for i, name in enumerate(classes):
        cells = [
            heat_cell(
                percent[i, j],
                f"{percent[i, j]:.0f}" if counts[i, j] else "",
                f"{name} predicted as {other}: {counts[i, j]} of {counts[i].sum()}",
            )
            for j, other in enumerate(classes)
        ]
        lines.append(tag("tr", tag("th", name, scope="row"), *cells))
    return heat_table(classes, lines)


def heat_table(classes: tuple[str, ...], lines: list[Element]) -> Element:
    """A table of heat cells with a column per class."""
    head = tag("tr", tag("th"), *(tag("th", name) for name in classes))
    return tag("table", tag("thead", head), tag("tbody", *lines), class_="heat slant")


def heat_cell(percent: float, text: str, title: str) -> Element:
    """A cell that is darker for higher values."""
    return tag("td", text, class_="dark" if percent > 65 else None, style=f"--v:{percent:.0f}", title=title)
