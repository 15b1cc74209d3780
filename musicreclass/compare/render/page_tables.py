"""The tables on the page: scores, paired tests."""

from __future__ import annotations

from musicreclass.compare.render.markup import Element, scrolling, tag
from musicreclass.compare.rows import Row
from musicreclass.compare.tables import Table
from musicreclass.compare.wording import (
    METRIC_NAMES,
    NOT_RANKED,
    SPLIT_NAMES,
    chance,
    count,
    gap,
    marks,
    methods,
    scored_seeds,
    seconds,
)
from musicreclass.evaluation.intervals import METRICS

MANY = 15  # more lines of paired tests scroll in a box of their own


def badge(text: str, colour: str) -> Element:
    """A mark."""
    return tag("span", text, class_=f"badge {colour}")


def spaced(elements: list[Element]) -> list[Element | str]:
    """Elements with a space before each."""
    return [part for element in elements for part in (" ", element)]


def score_table(table: Table) -> Element:
    """The rows, ranked ones first, the others in a block of their own, which sorting leaves apart."""
    scored = [(split, metric) for split in table.sizes for metric in METRICS]
    settings = list(dict.fromkeys(name for row in table.rows for name in row.differs))
    heads = [
        tag("th", "#", class_="n"),
        tag("th", "configuration"),
        tag("th", "seeds", class_="n"),
        *(tag("th", SPLIT_NAMES[s], tag("br"), METRIC_NAMES[m], class_="n", data_down="") for s, m in scored),
        tag("th", "fit", class_="n"),
        tag("th", "peak", tag("br"), "memory", class_="n"),
        tag("th", "parameters", class_="n"),
        tag("th", "device"),
        *(tag("th", name) for name in settings),
    ]
    ranked = [score_line(table, row, str(rank), scored, settings) for rank, row in enumerate(table.ranked, start=1)]
    bodies = [tag("tbody", *ranked)] if ranked else []
    if table.unranked:
        why = tag("tr", tag("th", NOT_RANKED, colspan=len(heads)), class_="apart")
        bodies.append(tag("tbody", why, *(score_line(table, row, "", scored, settings) for row in table.unranked)))
    return tag("table", tag("thead", tag("tr", *heads)), *bodies, class_="sortable")


def score_line(table: Table, row: Row, rank: str, scored: list[tuple[str, str]], settings: list[str]) -> Element:
    """A row."""
    cost = row.cost
    return tag(
        "tr",
        number(rank, float(rank) if rank else None),
        tag("th", *configuration(table, row), class_="name", scope="row", data_v=row.label),
        number(scored_seeds(row, next(iter(row.scored))), len(row.seeds)),
        *(score_cell(row, split, metric) for split, metric in scored),
        number(seconds(cost.seconds), cost.seconds),
        number(count(cost.memory, " MiB"), cost.memory),
        number(count(cost.parameters), cost.parameters),
        word(cost.device),
        *(word(row.differs.get(name, "")) for name in settings),
    )


def configuration(table: Table, row: Row) -> list[Element | str]:
    """A row's model and marks, and below how it differs."""
    found = [badge(mark, "bad" if mark in row.marks else "warn") for mark in marks(table, row)]
    differs = ", ".join(f"{name}={value}" for name, value in row.differs.items())
    name = row.model + (" *" if row.stale else "")
    return [name, *spaced(found), *([tag("small", differs)] if differs else [])]


def word(text: str) -> Element:
    """A cell that sorts by its text."""
    return tag("td", text, data_v=text)


def number(text: str, value: float | None) -> Element:
    """A cell that sorts by its value."""
    return tag("td", text, class_="n", data_v=value)


def score_cell(row: Row, split: str, metric: str) -> Element:
    """A score."""
    if (split, metric) not in row.scores:
        return number("", None)
    found = row.scores[split, metric]
    spread = "" if found.sd is None else f"±{100 * found.sd:.1f} "
    interval = tag("small", f"{spread}[{100 * found.low:.1f}, {100 * found.high:.1f}]")
    return tag("td", f"{100 * found.mean:.1f}", interval, class_="n", data_v=found.mean)


def paired_tables(table: Table) -> list[Element]:
    """The paired tests, split by split."""
    if not table.pairs:
        return []
    told = (
        "Differences in points, the first row's score over the second's, with intervals of each pair alone. Bold: p by Holm's method, over all pairs of a split and "
        f"metric, is at most 0.05. Tests: {'; '.join(methods(table))}."
    )
    parts = [tag("h3", "Paired tests"), tag("p", told, class_="note")]
    titles = [title for metric in METRICS for title in (METRIC_NAMES[metric], "p", "p by Holm")]
    heads = [tag("th", "first"), tag("th", "second"), *(tag("th", title, class_="n") for title in titles)]
    for split, pairs in table.pairs.items():
        lines = []
        for first, second in dict.fromkeys((pair.first, pair.second) for pair in pairs):
            cells = [
                tag("th", f"{row + 1} {table.ranked[row].label}", class_="name", scope="row", data_v=row)
                for row in (first, second)
            ]
            for metric in METRICS:
                pair = next(p for p in pairs if (p.first, p.second, p.metric) == (first, second, metric))
                holm = chance(pair.adjusted)
                cells += [number(gap(pair), pair.difference), number(chance(pair.p), pair.p)]
                cells.append(
                    tag("td", tag("b", holm) if pair.adjusted <= 0.05 else holm, class_="n", data_v=pair.adjusted)
                )
            lines.append(tag("tr", *cells))
        grid = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *lines), class_="sortable")
        summary = tag("summary", f"on {SPLIT_NAMES[split]}")
        opened = {"open": "open"} if len(lines) <= MANY or split == "valid" else {}
        box = scrolling(grid, f"paired tests on {SPLIT_NAMES[split]}", tall=len(lines) > MANY)
        parts.append(tag("details", summary, box, **opened))
    return parts
