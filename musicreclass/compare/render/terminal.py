"""Tables on the terminal, in a hundred columns."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table as Grid
from rich.text import Text

from musicreclass.compare.tables import Table
from musicreclass.compare.wording import (
    METRIC_NAMES,
    NOT_RANKED,
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

FEW = 3  # up to so many ranked rows all pairs are shown, else those with the best


def show(tables: list[Table]) -> None:
    """Print tables."""
    parts = [part for table in tables for part in shown(table)]
    if any(table.unranked for table in tables):
        parts.append(Text(f"- {NOT_RANKED}", "dim"))
    Console(highlight=False).print(Group(*parts))


def shown(table: Table) -> list[RenderableType]:
    """A table of scores, one of costs, one of paired tests."""
    data, split, facts = heading(table)
    parts: list[RenderableType] = [
        Text.from_markup(f"[bold]{escape(data)}[/], split {escape(split)}: {escape(facts)}"),
        scores(table),
        *(Text(note, "dim") for note in notes(table)),
    ]
    if table.stale:
        parts.append(Text(stale_note(table), "yellow"))
    parts += ["", costs(table)]
    if table.pairs:
        parts += ["", tests(table)]
        parts.append(
            Text(
                f"points by which the first row is better; its interval, of this pair alone; p by Holm's method over all pairs; {'; '.join(methods(table))}",
                "dim",
            )
        )
    return [*parts, ""]


def grid(*columns: str, left: tuple[str, ...] = ()) -> Grid:
    """An empty table; numbers stand to the right."""
    found = Grid(box=None, header_style="dim", pad_edge=False)
    for name in columns:
        wraps = name in ("configuration", "run", "device")
        found.add_column(name, justify="left" if name in left else "right", no_wrap=not wraps, overflow="fold")
    return found


def scores(table: Table) -> Grid:
    """A row's scores, a line for each split; percent, ± over seeds, with 95 % intervals."""
    found = grid("", "configuration", "seeds", "on", "accuracy", "macro-F1", left=("configuration", "on"))
    ranks = [*(str(i) for i, _ in enumerate(table.ranked, start=1)), *("-" for _ in table.unranked)]
    for rank, row in zip(ranks, table.rows, strict=True):
        name = Text(printable(row.label) + (" *" if row.stale else ""))
        if told := marks(table, row):
            name.append(" " + ", ".join(told), "bold red" if row.marks else "yellow")
        columns = [[scored_seeds(row, split), split, *(score(row, split, m) for m in METRICS)] for split in row.scored]
        found.add_row(rank, name, *(stacked(lines) for lines in zip(*columns, strict=True)))
    return found


def stacked(lines: tuple[str, ...]) -> Text:
    """Lines in one cell, all but the first dim."""
    return Text("\n").join(Text(line, "dim" if i else "") for i, line in enumerate(lines))


def costs(table: Table) -> Grid:
    """What each row took, and where it lies."""
    found = grid("", "fit", "peak memory", "parameters", "device", "run", left=("device", "run"))
    ranks = [*(str(i) for i, _ in enumerate(table.ranked, start=1)), *("-" for _ in table.unranked)]
    for rank, row in zip(ranks, table.rows, strict=True):
        cost, folder = row.cost, row.runs[0].folder
        more = f" and {len(row.runs) - 1} more" if len(row.runs) > 1 else ""
        values = (seconds(cost.seconds), count(cost.memory, " MiB"), count(cost.parameters), printable(cost.device))
        found.add_row(rank, *values, Text(printable(folder.name) + more, "dim"))
    return found


def tests(table: Table) -> Grid:
    """The paired tests; of many rows, those with the best."""
    names = [name for metric in METRICS for name in (METRIC_NAMES[metric], "p")]
    found = grid("rows", "on", *names, left=("rows", "on"))
    for split, pairs in table.pairs.items():
        for first, second in dict.fromkeys((pair.first, pair.second) for pair in pairs):
            if first and len(table.ranked) > FEW:
                continue
            here = {pair.metric: pair for pair in pairs if (pair.first, pair.second) == (first, second)}
            values = [text for m in METRICS for text in (gap(here[m]), chance(here[m].adjusted))]
            certain = min(pair.adjusted for pair in here.values()) <= 0.05
            found.add_row(f"{first + 1} vs {second + 1}", split, *values, style="bold" if certain else "")
    return found
