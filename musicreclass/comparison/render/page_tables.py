"""The sortable tables of the page: scores and paired tests."""

from __future__ import annotations

from musicreclass.comparison.render.markup import Element, scroll_box, tag
from musicreclass.comparison.rows import Row
from musicreclass.comparison.tables import Table
from musicreclass.comparison.wording import (
    NOT_RANKED,
    SELECTED,
    SPLIT_LABELS,
    cost_texts,
    difference_text,
    interval_text,
    p_value_text,
    row_marks,
    seeds_text,
    split_text,
    statistical_tests,
)
from musicreclass.evaluation.metric_names import METRIC_LABELS
from musicreclass.evaluation.paired import Pair

MAX_PAIRS_UNFOLDED = 15  # longer tables of paired tests get a scroll box


def badge(text: str, colour: str) -> Element:
    """A coloured label."""
    return tag("span", text, class_=f"badge {colour}")


def with_spaces(elements: list[Element]) -> list[Element | str]:
    """Put a space before each element."""
    return [part for element in elements for part in (" ", element)]


def score_table(table: Table) -> Element:
    """Ranked rows, then unranked rows in a block that sorting keeps separate."""
    scored = [(split, metric) for split in table.sizes for metric in table.metrics]
    settings = list(dict.fromkeys(name for row in table.rows for name in row.differences))
    heads = [
        tag("th", "#", class_="n"),
        tag("th", "configuration"),
        tag("th", "seeds", class_="n"),
        *(tag("th", SPLIT_LABELS[s], tag("br"), METRIC_LABELS[m], class_="n", data_down="") for s, m in scored),
        tag("th", "fit", class_="n"),
        tag("th", "peak", tag("br"), "memory", class_="n"),
        tag("th", "parameters", class_="n"),
        tag("th", "device"),
        *(tag("th", name) for name in settings),
    ]
    ranked = [score_line(table, row, str(rank), scored, settings) for rank, row in enumerate(table.ranked, start=1)]
    bodies = [tag("tbody", *ranked)] if ranked else []
    if table.unranked:
        reason = tag("tr", tag("th", NOT_RANKED, colspan=len(heads)), class_="block-title")
        bodies.append(tag("tbody", reason, *(score_line(table, row, "", scored, settings) for row in table.unranked)))
    return tag("table", tag("thead", tag("tr", *heads)), *bodies, class_="sortable")


def score_line(table: Table, row: Row, rank: str, scored: list[tuple[str, str]], settings: list[str]) -> Element:
    """The cells of one row."""
    cost = row.cost
    seconds, memory, parameters, device = cost_texts(cost)
    return tag(
        "tr",
        number_cell(rank, float(rank) if rank else None),
        tag("th", *configuration_parts(table, row), class_="name", scope="row", data_v=row.label),
        number_cell(seeds_text(row, next(iter(row.predictions))), len(row.seeds)),
        *(score_cell(row, split, metric) for split, metric in scored),
        number_cell(seconds, cost.seconds),
        number_cell(memory, cost.memory),
        number_cell(parameters, cost.parameters),
        text_cell(device),
        *(text_cell(row.differences.get(name, "")) for name in settings),
    )


def configuration_parts(table: Table, row: Row) -> list[Element | str]:
    """The model and marks of a row, and its differences below."""
    badges = [badge(mark, "bad" if mark in row.exclusions else "warn") for mark in row_marks(table, row)]
    differences = ", ".join(f"{name}={value}" for name, value in row.differences.items())
    name = row.model + (" *" if row.stale else "")
    return [name, *with_spaces(badges), *([tag("small", differences)] if differences else [])]


def text_cell(text: str) -> Element:
    """A cell that is sorted by its text."""
    return tag("td", text, data_v=text)


def number_cell(text: str, value: float | None) -> Element:
    """A cell that is sorted by its value; None comes last."""
    return tag("td", text, class_="n", data_v=value)


def score_cell(row: Row, split: str, metric: str) -> Element:
    """A score with its deviation and interval below; empty without a score."""
    if (split, metric) not in row.scores:
        return number_cell("", None)
    estimate = row.scores[split, metric]
    sd = "" if estimate.sd is None else f"±{100 * estimate.sd:.1f} "
    selected = f" {SELECTED}" if split_text(row, split) != split else ""
    interval = tag("small", f"{sd}{interval_text(estimate)}{selected}")
    return tag("td", f"{100 * estimate.mean:.1f}", interval, class_="n", data_v=estimate.mean)


def pair_section(table: Table) -> list[Element]:
    """The paired tests, a table per split; empty if there are none."""
    if not table.pairs:
        return []
    note = (
        "Differences in percentage points, first row minus second, with unadjusted 95 % intervals. "
        "p (Holm) is adjusted over all pairs of a split and metric; bold if at most 0.05. "
        f"Tests: {'; '.join(statistical_tests(table))}."
    )
    parts = [tag("h3", "Paired tests"), tag("p", note, class_="note")]
    for split, pairs in table.pairs.items():
        lines = [
            pair_line(table, [pair for pair in pairs if (pair.first, pair.second) == rows])
            for rows in dict.fromkeys((pair.first, pair.second) for pair in pairs)
        ]
        is_open = {"open": "open"} if len(lines) <= MAX_PAIRS_UNFOLDED or split == "valid" else {}
        label = f"paired tests on {SPLIT_LABELS[split]}"
        box = scroll_box(pair_table(table, lines), label, tall=len(lines) > MAX_PAIRS_UNFOLDED)
        parts.append(tag("details", tag("summary", f"on {SPLIT_LABELS[split]}"), box, **is_open))
    return parts


def pair_table(table: Table, lines: list[Element]) -> Element:
    """A table of paired tests."""
    titles = [title for metric in table.metrics for title in (METRIC_LABELS[metric], "p", "p (Holm)")]
    heads = [tag("th", "first"), tag("th", "second"), *(tag("th", title, class_="n") for title in titles)]
    return tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *lines), class_="sortable")


def pair_line(table: Table, pairs: list[Pair]) -> Element:
    """Two rows, compared by each metric."""
    cells = [
        tag("th", f"{index + 1} {table.ranked[index].label}", class_="name", scope="row", data_v=index)
        for index in (pairs[0].first, pairs[0].second)
    ]
    by_metric = {pair.metric: pair for pair in pairs}
    for pair in (by_metric[metric] for metric in table.metrics):
        adjusted = p_value_text(pair.adjusted)
        cells += [
            number_cell(difference_text(pair), pair.difference),
            number_cell(p_value_text(pair.p), pair.p),
            tag("td", tag("b", adjusted) if pair.adjusted <= 0.05 else adjusted, class_="n", data_v=pair.adjusted),
        ]
    return tag("tr", *cells)
