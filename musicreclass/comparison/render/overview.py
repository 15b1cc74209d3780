"""The overview above several tables of the page: the best row of each, and links to the tables."""

from __future__ import annotations

from musicreclass.comparison.render.markup import Element, scroll_box, tag
from musicreclass.comparison.render.page_tables import badge, number_cell, score_cell
from musicreclass.comparison.tables import Table
from musicreclass.comparison.wording import LEAK_LABELS, SPLIT_LABELS, leak_levels
from musicreclass.evaluation.metric_names import METRIC_LABELS

LEAK_COLOURS = {"no": "good", "unknown": "warn", "yes": "bad"}


def leak_badges(table: Table) -> list[Element]:
    """The leak levels of a table's ranked rows."""
    return [badge(LEAK_LABELS[level], LEAK_COLOURS[level]) for level in leak_levels(table)]


def overview(tables: list[Table]) -> Element:
    """A line per table: its data, its rows, and the scores of the row that is best on validation."""
    splits = [split for split in SPLIT_LABELS if any(split in table.sizes for table in tables)]
    metrics = list(dict.fromkeys(table.metrics[1] for table in tables))
    heads = [
        tag("th", "table"),
        tag("th", "rows", class_="n"),
        tag("th", "best on validation"),
        *(tag("th", SPLIT_LABELS[s], tag("br"), METRIC_LABELS[m], class_="n", data_down="") for s in splits for m in metrics),
        tag("th", "leaks"),
    ]  # fmt: skip
    lines = [line(table, number, splits, metrics) for number, table in enumerate(tables, start=1)]
    grid = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *lines), class_="sortable")
    return tag("section", tag("h2", "Overview"), scroll_box(grid, "overview"), id="overview")


def line(table: Table, number: int, splits: list[str], metrics: list[str]) -> Element:
    """The line of a table."""
    title = f"{table.data}, split {table.split}"
    best = table.ranked[0] if table.ranked and table.is_ordered_by_score else None
    scores = [
        score_cell(best, split, metric) if best else number_cell("", None) for split in splits for metric in metrics
    ]
    return tag(
        "tr",
        tag("th", tag("a", title, href=f"#table-{number}"), class_="name", scope="row", data_v=title),
        number_cell(str(len(table.rows)), len(table.rows)),
        tag("td", best.label if best else "not ranked", class_="name", data_v=best.label if best else ""),
        *scores,
        tag("td", *leak_badges(table), data_v=" ".join(leak_levels(table))),
    )
