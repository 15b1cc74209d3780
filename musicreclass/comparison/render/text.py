"""Comparison tables as CSV, for programs, and as Markdown, for people."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

from musicreclass.comparison.layers import layer_sweeps
from musicreclass.comparison.rows import Row
from musicreclass.comparison.tables import Table
from musicreclass.comparison.wording import (
    NOT_RANKED,
    SELECTED,
    SPLIT_LABELS,
    cost_texts,
    difference_text,
    heading,
    p_value_text,
    row_marks,
    score_text,
    seeds_text,
    split_text,
    stale_note,
    statistical_tests,
    table_notes,
)
from musicreclass.errors import printable
from musicreclass.evaluation.metric_names import METRIC_LABELS


def as_csv(tables: list[Table]) -> str:
    """A line per row and split: scores between 0 and 1, interval bounds in separate columns."""
    lines = []
    for number, table in enumerate(tables, start=1):
        for rank, row in table.numbered_rows(unranked=""):
            rank = rank if table.is_ordered_by_score else ""
            distinction = {f"setting {name}": value for name, value in table.distinction.items()}
            lines += [
                {"table": number, "rank": rank, **csv_line(row, split), **distinction} for split in row.predictions
            ]
    lines = [{printable(name): printable(v) if isinstance(v, str) else v for name, v in line.items()} for line in lines]
    columns = list(dict.fromkeys(name for line in lines for name in line))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def csv_line(row: Row, split: str) -> dict[str, Any]:
    """The scores of a row on one split, as column -> value."""
    run, cost = row.runs[0], row.cost
    line: dict[str, Any] = {
        "run": row.folder_names,
        "configuration": row.label,
        "data": run.data,
        "split": run.split,
        "leaky": row.leaky,
        "random encoder": "yes" if run.random_encoder else "no",
        "cautions": "; ".join(row.cautions),
        "pretraining overlap": "yes" if row.overlap else "no",
        "model": row.model,
        "seeds": " ".join(map(str, row.seeds)),
        "folds": " ".join(map(str, row.folds)),
        "scored on": split,
        "n seeds": 1 if row.has_equal_seeds else len(row.predictions[split]),
        "n": len(row.predictions[split][0].ids),
        "stale": "yes" if row.stale else "no",
        "selected on": "valid" if row.selected else "",
    }
    for metric in row.metrics:
        name = METRIC_LABELS[metric]
        estimate = row.scores[split, metric]
        line |= {name: estimate.mean, f"{name} sd": estimate.sd}
        line |= {f"{name} low": estimate.low, f"{name} high": estimate.high}
    line |= {"fit seconds": cost.seconds, "peak memory MiB": cost.memory, "parameters": cost.parameters}
    line["device"] = cost.device
    return {**line, **{f"setting {name}": value for name, value in row.differences.items()}}


def as_markdown(tables: list[Table]) -> str:
    """A section per table: scores in percent with 95 % intervals, costs, notes, paired tests, run folders."""
    return "\n".join(line for table in tables for line in [*markdown_section(table), ""])


def markdown_section(table: Table) -> list[str]:
    """The lines of one table."""
    data, split, sizes_and_leaks = heading(table)
    return [
        f"## {escape_markdown(data)}, split {escape_markdown(split)}",
        "",
        f"{sizes_and_leaks}. Scores are percentages: mean ± standard deviation over seeds \\[95 % interval\\].",
        "",
        *markdown_scores(table),
        *markdown_notes(table),
        *markdown_layers(table),
        *markdown_pairs(table),
        "",
        "Runs:",
        "",
        *(f"- {escape_markdown(row.label)}: {escape_markdown(row.folder_names)}" for row in table.rows),
    ]


def markdown_scores(table: Table) -> list[str]:
    """The scores and costs of each row."""
    splits = [split for split in SPLIT_LABELS if split in table.sizes]
    scored = [(split, metric) for split in splits for metric in table.metrics]
    titles = [f"{SPLIT_LABELS[split]} {METRIC_LABELS[metric]}" for split, metric in scored]
    number = "rank" if table.is_ordered_by_score else "row"
    lines = table_head(number, "configuration", "seeds", *titles, "fit", "peak memory", "parameters", "device")
    for rank, row in table.numbered_rows():
        marks = [*row_marks(table, row), *(["stale"] if row.stale else [])]
        name = row.label + (f" ({', '.join(marks)})" if marks else "")
        selected = {split: f" ({SELECTED})" if split_text(row, split) != split else "" for split in splits}
        scores = [score_text(row, split, metric) + selected[split] for split, metric in scored]
        lines.append(
            table_line(rank, name, seeds_text(row, next(iter(row.predictions))), *scores, *cost_texts(row.cost))
        )
    return lines


def markdown_layers(table: Table) -> list[str]:
    """The scores by layer of each sweep over the layers of an encoder."""
    splits = [split for split in SPLIT_LABELS if split in table.sizes]
    scored = [(split, metric) for split in splits for metric in table.metrics]
    titles = [f"{SPLIT_LABELS[split]} {METRIC_LABELS[metric]}" for split, metric in scored]
    lines = []
    for sweep in layer_sweeps(table):
        lines += [
            "",
            f"By layer, from input to output: {escape_markdown(sweep.label)}",
            "",
            *table_head("layer", *titles),
        ]
        for layer, row in zip(sweep.layers, sweep.rows, strict=True):
            lines.append(table_line(layer, *(score_text(row, split, metric) for split, metric in scored)))
    return lines


def markdown_notes(table: Table) -> list[str]:
    """The notes as a list, after an empty line; nothing without notes."""
    notes = [*table_notes(table), stale_note(table).removeprefix("* "), NOT_RANKED if table.unranked else ""]
    return ["", *(f"- {note}" for note in notes if note)] if any(notes) else []


def markdown_pairs(table: Table) -> list[str]:
    """The paired tests, a table per split."""
    lines = []
    for split, pairs in table.pairs.items():
        lines += [
            "",
            f"Paired tests on {SPLIT_LABELS[split]}, differences in percentage points; {'; '.join(statistical_tests(table))}.",
            "",
            *table_head("rows", "metric", "difference", "p", "p (Holm)"),
        ]
        for pair in pairs:
            rows = f"{pair.first + 1} vs {pair.second + 1}"
            p_values = (p_value_text(pair.p), p_value_text(pair.adjusted))
            lines.append(table_line(rows, METRIC_LABELS[pair.metric], difference_text(pair), *p_values))
    return lines


def table_head(*names: str) -> list[str]:
    """The first two lines of a Markdown table."""
    return [table_line(*names), "|" + " --- |" * len(names)]


def table_line(*cells: object) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(escape_markdown(str(cell)) for cell in cells) + " |"


def escape_markdown(text: str) -> str:
    """Escape the characters that Markdown or HTML would interpret."""
    return re.sub(r"([\\|<>&`*\[\]])", r"\\\1", printable(text))
