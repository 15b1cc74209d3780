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
    numbered_labels,
    p_value_text,
    row_marks,
    seeds_text,
    statistical_tests,
)
from musicreclass.evaluation.metric_names import METRIC_LABELS
from musicreclass.evaluation.paired import Pair

MAX_PAIRS_UNFOLDED = 15  # longer tables of paired tests get a scroll box
TABLE_WIDTH = 1190  # pixels, on a page of 1,280
OTHER_WIDTH, SCORE_WIDTH, CHARACTER_WIDTH, PADDING = (
    530,
    104,
    8,
    15,
)  # pixels: of the columns besides scores and settings, ...
SORT_MARK = 2  # characters


def badge(text: str, colour: str) -> Element:
    """A coloured label."""
    return tag("span", text, class_=f"badge {colour}")


def with_spaces(elements: list[Element]) -> list[Element | str]:
    """Put a space before each element."""
    return [part for element in elements for part in (" ", element)]


def score_table(table: Table) -> Element:
    """Ranked rows, then unranked rows in a block that sorting keeps separate."""
    scored = [(split, metric) for split in table.sizes for metric in table.metrics]
    settings, device = setting_columns(table, len(scored)), common_device(table)
    heads = [
        tag("th", "#", class_="n"),
        tag("th", "configuration"),
        *(tag("th", name, class_="setting") for name in settings),
        tag("th", "seeds", class_="n"),
        *(tag("th", SPLIT_LABELS[s], tag("br"), METRIC_LABELS[m], class_="n", data_down="") for s, m in scored),
        tag("th", "fit", class_="n"),
        tag("th", "peak", tag("br"), "memory", class_="n"),
        tag("th", "parameters", class_="n"),
        None if device else tag("th", "device"),
    ]
    heads = [head for head in heads if head is not None]
    ranked = [score_line(table, row, str(rank), scored, settings) for rank, row in enumerate(table.ranked, start=1)]
    bodies = [tag("tbody", *ranked)] if ranked else []
    if table.unranked:
        reason = tag("tr", tag("th", NOT_RANKED, colspan=len(heads)), class_="block-title")
        bodies.append(tag("tbody", reason, *(score_line(table, row, "", scored, settings) for row in table.unranked)))
    return tag("table", tag("thead", tag("tr", *heads)), *bodies, class_="sortable")


def setting_columns(table: Table, n_scores: int) -> list[str]:
    """The settings that get a column, all or none; without columns they are listed under the model."""
    names = list(dict.fromkeys(name for row in table.rows for name in row.differences))
    texts = [max(len(name) + SORT_MARK, *(len(row.differences.get(name, "")) for row in table.rows)) for name in names]
    devices = [] if common_device(table) else [max(len(row.cost.device) for row in table.rows)]
    models = max(len(row.model) for row in table.rows) - len("configuration")
    width = OTHER_WIDTH + SCORE_WIDTH * n_scores + CHARACTER_WIDTH * max(models, 0)
    width += sum(CHARACTER_WIDTH * length + PADDING for length in [*texts, *devices])
    return names if width <= TABLE_WIDTH else []


def common_device(table: Table) -> str:
    """The device that all rows were trained on; empty if they differ."""
    devices = {row.cost.device for row in table.rows}
    return devices.pop() if len(devices) == 1 else ""


def score_line(table: Table, row: Row, rank: str, scored: list[tuple[str, str]], settings: list[str]) -> Element:
    """The cells of one row."""
    cost = row.cost
    seconds, memory, parameters, device = cost_texts(cost)
    return tag(
        "tr",
        number_cell(rank, float(rank) if rank else None),
        tag("th", *configuration_parts(table, row, not settings), class_="name", scope="row", data_v=row.label),
        *(text_cell(row.differences.get(name, ""), "setting") for name in settings),
        number_cell(seeds_text(row, next(iter(row.predictions))), len(row.seeds)),
        *(score_cell(row, split, metric) for split, metric in scored),
        number_cell(seconds, cost.seconds),
        number_cell(memory, cost.memory),
        number_cell(parameters, cost.parameters),
        None if common_device(table) else text_cell(device),
    )


def configuration_parts(table: Table, row: Row, list_settings: bool) -> list[Element | str]:
    """The model and marks of a row, and its settings below if they have no columns."""
    badges = [badge(mark, "bad" if mark in row.exclusions else "warn") for mark in row_marks(table, row)]
    badges += [badge(SELECTED, "muted")] if is_selected(row) and not all_selected(table) else []
    differences = ", ".join(f"{name}={value}" for name, value in row.differences.items()) if list_settings else ""
    name = row.model + (" *" if row.stale else "")
    return [name, *with_spaces(badges), *([tag("small", differences)] if differences else [])]


def is_selected(row: Row) -> bool:
    """Whether the epoch or round of a row was chosen by its validation score."""
    return row.selected and "valid" in row.predictions


def all_selected(table: Table) -> bool:
    """Whether all rows of a table are: the heading says so, instead of each row."""
    return all(map(is_selected, table.rows))


def text_cell(text: str, class_: str | None = None) -> Element:
    """A cell that is sorted by its text."""
    return tag("td", text, data_v=text, class_=class_)


def number_cell(text: str, value: float | None) -> Element:
    """A cell that is sorted by its value; None comes last."""
    return tag("td", text, class_="n", data_v=value)


def score_cell(row: Row, split: str, metric: str) -> Element:
    """A score with its deviation and interval below; empty without a score."""
    if (split, metric) not in row.scores:
        return number_cell("", None)
    estimate = row.scores[split, metric]
    sd = None if estimate.sd is None else tag("span", f" ±{100 * estimate.sd:.1f}", class_="muted")
    interval = tag("small", interval_text(estimate))
    return tag("td", f"{100 * estimate.mean:.1f}", sd, interval, class_="n", data_v=estimate.mean)


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
    labels = [label for label, _ in numbered_labels(table)]
    cells = [
        tag("th", labels[index], class_="name", scope="row", data_v=index, title=table.ranked[index].label)
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
