"""Tables as CSV, for programs, and as Markdown, for people."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

from musicreclass.compare.rows import Row
from musicreclass.compare.tables import Table
from musicreclass.compare.wording import (
    METRIC_NAMES,
    NOT_RANKED,
    SPLIT_NAMES,
    chance,
    count,
    gap,
    heading,
    marks,
    methods,
    notes,
    score,
    scored_seeds,
    seconds,
    stale_note,
)
from musicreclass.errors import printable
from musicreclass.evaluation.intervals import METRICS


def as_csv(tables: list[Table]) -> str:
    """A line per row and split; scores between 0 and 1, the intervals' ends in columns of their own."""
    lines = []
    for number, table in enumerate(tables, start=1):
        for rank, row in [*enumerate(table.ranked, start=1), *(("", row) for row in table.unranked)]:
            lines += [{"table": number, "rank": rank, **csv_line(row, split)} for split in row.scored]
    lines = [{printable(name): printable(v) if isinstance(v, str) else v for name, v in line.items()} for line in lines]
    names = list(dict.fromkeys(name for line in lines for name in line))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def csv_line(row: Row, split: str) -> dict[str, Any]:
    """A row's scores on one split."""
    run, cost = row.runs[0], row.cost
    line: dict[str, Any] = {
        "run": row.name,
        "configuration": row.label,
        "data": run.data,
        "split": run.split,
        "leaky": row.leaky,
        "random encoder": "yes" if run.random_encoder else "no",
        "pretraining overlap": "yes" if row.overlap else "no",
        "model": row.model,
        "seeds": " ".join(map(str, row.seeds)),
        "folds": " ".join(map(str, row.folds)),
        "scored on": split,
        "n seeds": len(row.scored[split]),
        "n": len(row.scored[split][0].ids),
        "stale": "yes" if row.stale else "no",
    }
    for metric, name in METRIC_NAMES.items():
        found = row.scores[split, metric]
        line |= {name: found.mean, f"{name} sd": found.sd, f"{name} low": found.low, f"{name} high": found.high}
    line |= {"fit seconds": cost.seconds, "peak memory MiB": cost.memory, "parameters": cost.parameters}
    line["device"] = cost.device
    return {**line, **{f"setting {name}": value for name, value in row.differs.items()}}


def as_markdown(tables: list[Table]) -> str:
    """A section per table: scores in percent with 95 % intervals, costs, paired tests, notes."""
    return "\n".join(line for table in tables for line in [*section(table), ""])


def section(table: Table) -> list[str]:
    """One table's lines."""
    data, split, facts = heading(table)
    lines = [f"## {safe(data)}, split {safe(split)}", "", f"{facts}. Percent, ± over seeds, with 95 % intervals.", ""]
    splits = [split for split in SPLIT_NAMES if split in table.sizes]
    scored = [(split, metric) for split in splits for metric in METRICS]
    titles = [f"{SPLIT_NAMES[split]} {METRIC_NAMES[metric]}" for split, metric in scored]
    lines += head("rank", "configuration", "seeds", *titles, "fit", "peak memory", "parameters", "device")
    for rank, row in [*enumerate(table.ranked, start=1), *(("-", row) for row in table.unranked)]:
        told = [*marks(table, row), *(["stale"] if row.stale else [])]
        name = row.label + (f" ({', '.join(told)})" if told else "")
        cost = [seconds(row.cost.seconds), count(row.cost.memory, " MiB"), count(row.cost.parameters), row.cost.device]
        lines.append(
            line(rank, name, scored_seeds(row, next(iter(row.scored))), *(score(row, *s) for s in scored), *cost)
        )
    told = [*notes(table), stale_note(table).replace("* ", ""), NOT_RANKED if table.unranked else ""]
    lines += ["", *(f"- {note}" for note in told if note)] if any(told) else []
    for split, pairs in table.pairs.items():
        lines += ["", f"Paired tests on {SPLIT_NAMES[split]}, differences in points; {'; '.join(methods(table))}.", ""]
        lines += head("rows", "metric", "difference", "p", "p by Holm")
        for pair in pairs:
            rows = f"{pair.first + 1} vs {pair.second + 1}"
            lines.append(line(rows, METRIC_NAMES[pair.metric], gap(pair), chance(pair.p), chance(pair.adjusted)))
    lines += ["", "Runs:", ""]
    return lines + [f"- {safe(row.label)}: {safe(row.name)}" for row in table.rows]


def head(*names: str) -> list[str]:
    """A Markdown table's first two lines."""
    return [line(*names), "|" + " --- |" * len(names)]


def line(*cells: object) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(safe(str(cell)) for cell in cells) + " |"


def safe(text: str) -> str:
    """Text that Markdown shows as it stands."""
    return re.sub(r"([\\|<>&`*\[\]])", r"\\\1", printable(text))
