"""The tables of the page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from musicreclass.analysis.wording import association_rows, format_totals
from musicreclass.comparison.render.markup import Element, tag
from musicreclass.config.settings.data import SPLITS
from musicreclass.plurals import counted

MAX_VALUES = 8  # columns of a table of formats


def build_table(heads: Iterable[Element], rows: Iterable[Element], kind: str | None = None) -> Element:
    """A table with one head row."""
    return tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows), class_=kind)


def genre_table(classes: list[dict[str, Any]]) -> Element:
    """Counts per genre and split, with a bar of the splits."""
    largest = max(entry["total"] for entry in classes)
    heads = [
        tag("th", "genre"),
        tag("th", "", class_="bar"),
        *(tag("th", name, class_="n") for name in (*SPLITS, "total")),
    ]
    rows = []
    for entry in classes:
        parts = [
            tag("i", class_=split, style=f"--w:{100 * entry[split] / largest:.2f}") for split in SPLITS if entry[split]
        ]
        counts = (tag("td", f"{entry[name]:,}", class_="n") for name in (*SPLITS, "total"))
        rows.append(
            tag("tr", tag("th", entry["name"], class_="name"), tag("td", tag("div", *parts), class_="bar"), *counts)
        )
    return build_table(heads, rows, "genres")


def association_table(formats: dict[str, Any]) -> Element:
    """How far each property of the format tells the genre."""
    heads = [
        tag("th", "property"),
        tag("th", "balanced accuracy alone", class_="n"),
        tag("th", "Cramer's V", class_="n"),
    ]
    rows = [
        tag("tr", tag("th", name), tag("td", accuracy, class_="n"), tag("td", v, class_="n"))
        for name, accuracy, v in association_rows(formats)
    ]
    return build_table(heads, rows)


def formats_table(formats: dict[str, Any], property_name: str) -> Element | None:
    """The number of recordings of each genre with each value of a property; None if all have the same value."""
    totals = format_totals(formats)[property_name]
    if len(totals) < 2:
        return None
    values = list(totals)[:MAX_VALUES]
    rest = list(totals)[MAX_VALUES:]
    heads = [tag("th", "genre"), *(tag("th", value, class_="n") for value in values)]
    heads += [tag("th", f"{counted(len(rest), 'other')}", class_="n")] if rest else []
    rows = []
    for name, counts in formats["per_class"][property_name].items():
        cells = [counts.get(value, 0) for value in values] + ([sum(counts.get(v, 0) for v in rest)] if rest else [])
        total = sum(cells)
        marked = (
            tag("td", str(count) if count else "", class_="n dark" if count > 0.6 * total else "n",
                style=f"--v:{round(100 * count / total)}")
            for count in cells
        )  # fmt: skip
        rows.append(tag("tr", tag("th", name), *marked))
    return build_table(heads, rows, "heat")


def suspicious_table(columns: dict[str, Any]) -> Element | None:
    """Columns that are probably no features; None if there are none."""
    if not columns["suspicious"]:
        return None
    rows = [
        tag("tr", tag("td", entry["column"], class_="text"), tag("td", entry["reason"], class_="text"))
        for entry in columns["suspicious"]
    ]
    return build_table([tag("th", "column"), tag("th", "reason")], rows)


def alone_table(columns: dict[str, Any]) -> Element | None:
    """The columns that tell the most by themselves; None if they were not compared."""
    if not columns["alone"]:
        return None
    rows = [
        tag(
            "tr",
            tag("td", entry["column"], class_="text"),
            tag("td", f"{100 * entry['balanced_accuracy']:.1f} %", class_="n"),
        )
        for entry in columns["alone"]
    ]
    return build_table([tag("th", "column"), tag("th", "balanced accuracy", class_="n")], rows)


def missing_table(columns: dict[str, Any]) -> Element | None:
    """Columns with missing values, the emptiest first; None if there are none."""
    if not columns["missing"]:
        return None
    rows = [
        tag("tr", tag("td", entry["column"], class_="text"), tag("td", f"{entry['rows']:,}", class_="n"),
            tag("td", f"{100 * entry['fraction']:.3g} %", class_="n"))
        for entry in columns["missing"]
    ]  # fmt: skip
    heads = [tag("th", f"column (of {columns['columns_with_missing']})"), tag("th", "rows", class_="n")]
    return build_table([*heads, tag("th", "of all", class_="n")], rows)


def correlated_table(columns: dict[str, Any]) -> Element | None:
    """Pairs of columns that say nearly the same; None if there are none."""
    if not columns["correlated"]:
        return None
    rows = [
        tag(
            "tr",
            *(tag("td", name, class_="text") for name in pair["columns"]),
            tag("td", f"{pair['r']:.4f}", class_="n"),
        )
        for pair in columns["correlated"]
    ]
    heads = [tag("th", f"pair (of {columns['correlated_pairs']})"), tag("th", ""), tag("th", "r", class_="n")]
    return build_table(heads, rows)
