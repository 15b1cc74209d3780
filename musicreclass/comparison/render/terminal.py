"""Comparison tables for the terminal, readable from 80 columns on."""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.markup import escape
from rich.table import Table as Grid
from rich.text import Text

from musicreclass.comparison.layers import LayerSweep, layer_sweeps
from musicreclass.comparison.tables import Table
from musicreclass.comparison.wording import (
    NOT_RANKED,
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

MAX_ROWS_ALL_PAIRS = 3  # with more ranked rows only pairs with the best one are shown
UNLIMITED = 10_000  # columns, for measuring
SCORES_NOTE = "scores in percent: mean ±standard deviation over seeds [95 % interval]"
PAIRS_NOTE = (
    "differences in percentage points, first row minus second, with unadjusted 95 % intervals; p adjusted by Holm's method "
    "over all pairs of a split and metric; tests: "
)


def render_tables(tables: list[Table]) -> RenderableType:
    """All tables, with a legend below."""
    parts = [part for table in tables for part in table_parts(table)]
    parts.append(Text(SCORES_NOTE, "dim"))
    if any(table.unranked for table in tables):
        parts.append(Text(f"- {NOT_RANKED}", "dim"))
    return Group(*parts)


def table_parts(table: Table) -> list[RenderableType]:
    """The heading of a table, its scores, notes, costs and paired tests."""
    data, split, sizes_and_leaks = heading(table)
    parts: list[RenderableType] = [
        Text.from_markup(f"[bold]{escape(data)}[/], split {escape(split)}: {escape(sizes_and_leaks)}"),
        score_lines(table),
        *(Text(note, "dim") for note in table_notes(table)),
    ]
    if table.stale:
        parts.append(Text(stale_note(table), "dark_orange3"))
    for sweep in layer_sweeps(table):
        parts += ["", Text(f"by layer, from input to output: {printable(sweep.label)}"), layer_grid(sweep)]
    parts += ["", cost_lines(table)]
    if table.pairs:
        parts += ["", pair_grid(table), Text(PAIRS_NOTE + "; ".join(statistical_tests(table)), "dim")]
    return [*parts, ""]


class NamedLines:
    """A table in which each row has a name, such as a configuration: a column if all fits, and otherwise above the row's cells.

    Args:
        title: of the names.
        columns: titles of the other columns, the first of which numbers the rows.
        left: titles of left-aligned columns.
        name_column: the position of the names among the columns.
    """

    def __init__(self, title: str, columns: list[str], left: tuple[str, ...], name_column: int) -> None:
        self.title, self.columns, self.left, self.name_column = title, columns, left, name_column
        self.rows: list[tuple[Text, list[list[str]]]] = []

    def add(self, name: Text, lines: list[list[str]]) -> None:
        """Add a row: its name, and one or more lines of cells; cells of the first column are empty but in the first line."""
        self.rows.append((name, lines))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        grid = self.grid()
        needed = console.measure(grid, options=options.update(max_width=UNLIMITED)).maximum
        fits = needed <= options.max_width
        yield grid if fits else self.stacked()

    def grid(self) -> Grid:
        """Names as a column."""
        titles = [*self.columns[: self.name_column], self.title, *self.columns[self.name_column :]]
        grid = empty_grid(*titles, left=(*self.left, self.title))
        for name, lines in self.rows:
            cells: list[Text] = [multiline_cell(column) for column in zip(*lines, strict=True)]
            grid.add_row(*cells[: self.name_column], name, *cells[self.name_column :])
        return grid

    def stacked(self) -> Group:
        """Names above the cells."""
        lines = [cells for _, of_row in self.rows for cells in of_row]
        widths = [max(map(cell_len, column)) for column in zip(self.columns, *lines, strict=True)]
        parts: list[RenderableType] = [Text(self.padded(self.columns, widths), "dim")]
        for name, of_row in self.rows:
            parts.append(Text.assemble(f"{of_row[0][0]:>{widths[0]}}  ", name))
            parts += [Text(self.padded(["", *cells[1:]], widths), "dim" if i else "") for i, cells in enumerate(of_row)]
        return Group(*parts)

    def padded(self, cells: list[str], widths: list[int]) -> str:
        """A line of cells in columns of some widths."""
        texts = []
        for title, cell, width in zip(self.columns, cells, widths, strict=True):
            space = " " * (width - cell_len(cell))
            texts.append(cell + space if title in self.left else space + cell)
        return "  ".join(texts).rstrip()


def empty_grid(*columns: str, left: tuple[str, ...] = ()) -> Grid:
    """A table without borders; columns not in `left` are right-aligned."""
    grid = Grid(box=None, header_style="dim", pad_edge=False)
    for name in columns:
        grid.add_column(name, justify="left" if name in left else "right", no_wrap=True, overflow="fold")
    return grid


def score_lines(table: Table) -> NamedLines:
    """The scores of each row, one line per split."""
    titles = ["", "seeds", "set", *(METRIC_LABELS[m] for m in table.metrics)]
    grid = NamedLines("configuration", titles, left=("set",), name_column=1)
    for rank, row in table.numbered_rows():
        name = Text(printable(row.label) + (" *" if row.stale else ""))
        if marks := row_marks(table, row):
            name.append(f" ({', '.join(marks)})", "bold red" if row.exclusions else "dark_orange3")
        lines = [
            [seeds_text(row, split), split_text(row, split), *(score_text(row, split, m) for m in table.metrics)]
            for split in row.predictions
        ]
        grid.add(name, [["" if i else rank, *cells] for i, cells in enumerate(lines)])
    return grid


def layer_grid(sweep: LayerSweep) -> Grid:
    """The scores of each layer, one line per split."""
    metrics = sweep.rows[0].metrics
    grid = empty_grid("layer", "set", *(METRIC_LABELS[m] for m in metrics), left=("layer", "set"))
    for layer, row in zip(sweep.layers, sweep.rows, strict=True):
        lines = [[split_text(row, split), *(score_text(row, split, m) for m in metrics)] for split in row.predictions]
        grid.add_row(printable(layer), *(multiline_cell(cells) for cells in zip(*lines, strict=True)))
    return grid


def multiline_cell(lines: tuple[str, ...]) -> Text:
    """A cell of several lines, all but the first dim."""
    return Text("\n").join(Text(line, "dim" if i else "") for i, line in enumerate(lines))


def cost_lines(table: Table) -> NamedLines:
    """The cost and the run folder of each row."""
    grid = NamedLines("run", ["", "fit", "peak memory", "parameters", "device"], left=("device",), name_column=5)
    for rank, row in table.numbered_rows():
        others = f" and {len(row.runs) - 1} more" if len(row.runs) > 1 else ""
        cells = [printable(text) for text in cost_texts(row.cost)]
        grid.add(Text(printable(row.runs[0].folder.name) + others, "dim"), [[rank, *cells]])
    return grid


def pair_grid(table: Table) -> Grid:
    """The paired tests; with many rows, only those with the best."""
    names = [name for metric in table.metrics for name in (METRIC_LABELS[metric], "p")]
    grid = empty_grid("rows", "set", *names, left=("rows", "set"))
    for split, pairs in table.pairs.items():
        for first, second in dict.fromkeys((pair.first, pair.second) for pair in pairs):
            if first and len(table.ranked) > MAX_ROWS_ALL_PAIRS:
                continue
            by_metric = {pair.metric: pair for pair in pairs if (pair.first, pair.second) == (first, second)}
            cells = [
                cell
                for m in table.metrics
                for cell in (Text(difference_text(by_metric[m])), p_value_cell(by_metric[m].adjusted))
            ]
            grid.add_row(f"{first + 1} vs {second + 1}", split, *cells)
    return grid


def p_value_cell(p: float) -> Text:
    """An adjusted p value, bold up to 0.05."""
    return Text(p_value_text(p), "bold" if p <= 0.05 else "")
