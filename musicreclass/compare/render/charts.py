"""Pictures on the page, of nothing but elements and style: they follow the reader's colours and width."""

from __future__ import annotations

import numpy as np

from musicreclass.compare.entries import Scored
from musicreclass.compare.render.markup import Element, scrolling, tag
from musicreclass.compare.rows import Row
from musicreclass.compare.tables import Table
from musicreclass.compare.wording import METRIC_NAMES, SPLIT_NAMES, marked
from musicreclass.evaluation.confusion import class_scores, confusion_matrix
from musicreclass.evaluation.intervals import METRICS

STEPS = (0.01, 0.02, 0.05, 0.1, 0.2)  # between the marks of an axis
CELLS = 25_000  # of confusion matrices, at most so many on a table's part of the page


def interval_plots(table: Table) -> list[Element]:
    """A plot for each metric: a line per row, a mark and an interval per split."""
    splits = list(table.sizes)
    key = tag("div", *(tag("span", SPLIT_NAMES[split], class_=split) for split in splits), class_="key")
    return [key, tag("div", *(interval_plot(table, metric, splits) for metric in METRICS), class_="plots")]


def interval_plot(table: Table, metric: str, splits: list[str]) -> Element:
    """One metric of all rows; those that are not ranked are pale."""
    shown = [row.scores[split, metric] for row in table.rows for split in splits if (split, metric) in row.scores]
    low, high = min(found.low for found in shown), max(found.high for found in shown)
    step = next((step for step in STEPS if (high - low) / step <= 6), STEPS[-1])
    start, end = np.floor(low / step + 1e-9) * step, np.ceil(high / step - 1e-9) * step
    end = max(end, start + step)

    def place(value: float) -> float:
        return 100 * (value - start) / (end - start)

    marks = np.arange(start, end + step / 2, step)
    lines = [tag("i", style=f"left:{place(mark):.2f}%") for mark in marks]
    rows = []
    for row in table.rows:
        track = [*(tag("i", style=line.get("style")) for line in lines)]
        for split, where in zip(splits, ("one", "two") if len(splits) > 1 else ("",), strict=True):
            if (split, metric) in row.scores:
                found = row.scores[split, metric]
                told = f"{SPLIT_NAMES[split]}: {100 * found.mean:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"
                width = place(found.high) - place(found.low)
                track.append(
                    tag("b", class_=f"{split} {where}", style=f"left:{place(found.low):.2f}%;width:{width:.2f}%")
                )
                track.append(tag("u", class_=f"{split} {where}", style=f"left:{place(found.mean):.2f}%", title=told))
        pale = " aside" if row.marks else ""
        line = tag("div", *track, class_=f"track{pale}", role="img", aria_label=alternative(row, metric, splits))
        rows.append(tag("div", tag("span", marked(row)), line, class_="row"))
    axis = tag(
        "div", *(tag("span", f"{100 * mark:.0f}", style=f"left:{place(mark):.2f}%") for mark in marks), class_="axis"
    )
    return tag("div", tag("h4", METRIC_NAMES[metric], ", %"), tag("div", *rows, tag("span"), axis, class_="plot"))


def alternative(row: Row, metric: str, splits: list[str]) -> str:
    """A line of a plot in words."""
    found = [(SPLIT_NAMES[split], row.scores[split, metric]) for split in splits if (split, metric) in row.scores]
    return "; ".join(f"{split} {100 * s.mean:.1f}, {100 * s.low:.1f} to {100 * s.high:.1f}" for split, s in found)


def matrices(seeds: list[Scored]) -> np.ndarray:
    """The confusion matrix of each seed, (seeds, C, C)."""
    return np.stack([confusion_matrix(found.y_true, found.y_pred, len(found.classes)) for found in seeds])


def class_heat(table: Table, split: str) -> list[Element]:
    """F1 of each class, the mean over seeds, for every row that was scored on a split."""
    rows = [row for row in table.rows if split in row.scored]
    classes = rows[0].scored[split][0].classes
    lines = []
    for row in rows:
        found = class_scores(matrices(row.scored[split]))["f1"].mean(0)
        cells = [
            heat(100 * value, f"{100 * value:.0f}", f"{name}: {100 * value:.1f}")
            for name, value in zip(classes, found, strict=True)
        ]
        lines.append(tag("tr", tag("th", marked(row), scope="row"), *cells))
    grid = tag(
        "table",
        tag("thead", tag("tr", tag("th"), *(tag("th", name) for name in classes))),
        tag("tbody", *lines),
        class_="heat slant",
    )
    opened = {"open": "open"} if split == "valid" or "valid" not in table.sizes else {}
    label = f"F1 by class on {SPLIT_NAMES[split]}"
    return [tag("details", tag("summary", f"on {SPLIT_NAMES[split]}, %"), scrolling(grid, label), **opened)]


def confusions(table: Table) -> list[Element]:
    """A row's confusion matrices, all seeds together, as far as there is room on a page."""
    parts, room = [], CELLS
    for number, row in enumerate(table.rows):
        cells = sum(len(found[0].classes) ** 2 for found in row.scored.values())
        if cells > room:
            told = f"The matrices of {len(table.rows) - number} more rows are in their run folders, under figures/."
            parts.append(tag("p", told, class_="note"))
            break
        room -= cells
        drawn = [
            tag("div", tag("h4", SPLIT_NAMES[split]), scrolling(matrix(found), f"confusions on {SPLIT_NAMES[split]}"))
            for split, found in row.scored.items()
        ]
        opened = {"open": "open"} if number == 0 else {}
        parts.append(tag("details", tag("summary", marked(row)), tag("div", *drawn, class_="matrices"), **opened))
    if parts:
        parts.insert(
            0,
            tag(
                "p",
                "Rows are true classes, columns are guesses; cells are the share of the true class in percent.",
                class_="note",
            ),
        )
    return parts


def matrix(seeds: list[Scored]) -> Element:
    """A confusion matrix."""
    counts, classes = matrices(seeds).sum(0), seeds[0].classes
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    lines = []
    for i, name in enumerate(classes):
        cells = [
            heat(
                share[i, j],
                f"{share[i, j]:.0f}" if counts[i, j] else "",
                f"{name} as {other}: {counts[i, j]} of {counts[i].sum()}",
            )
            for j, other in enumerate(classes)
        ]
        lines.append(tag("tr", tag("th", name, scope="row"), *cells))
    heads = [tag("th", name) for name in classes]
    return tag("table", tag("thead", tag("tr", tag("th"), *heads)), tag("tbody", *lines), class_="heat slant")


def heat(percent: float, text: str, title: str) -> Element:
    """A cell as dark as its value is high."""
    return tag("td", text, class_="hi" if percent > 65 else None, style=f"--v:{percent:.0f}", title=title)
