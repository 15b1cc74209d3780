r"""Comparison tables as LaTeX with booktabs, to `\input` into a thesis or paper."""

from __future__ import annotations

from collections.abc import Iterable

from musicreclass.comparison.render.terminal import MAX_ROWS_ALL_PAIRS, PAIRS_NOTE
from musicreclass.comparison.rows import Row
from musicreclass.comparison.tables import Table
from musicreclass.comparison.wording import (
    NOT_RANKED,
    SPLIT_LABELS,
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

HEAD = r"% written by musicreclass compare; requires \usepackage{booktabs} in the preamble"
SCORES = r"Scores in percent: mean $\pm$ standard deviation over seeds, with 95\,\% intervals in brackets."
ESCAPES = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "±": r"$\pm$",
    "…": r"\ldots{}",
    "\N{EN DASH}": "--",
    "\N{MINUS SIGN}": "$-$",
}


def as_latex(tables: list[Table]) -> str:
    """A table environment for each table, followed by one with its paired tests if it has any."""
    floats = [HEAD]
    for number, table in enumerate(tables, start=1):
        floats.append(score_float(table, number))
        if table.pairs:
            floats.append(pair_float(table, number))
    return "\n\n".join(floats) + "\n"


def score_float(table: Table, number: int) -> str:
    """The scores: two lines per row, the second with the intervals."""
    splits = [split for split in SPLIT_LABELS if split in table.sizes]
    width = len(table.metrics)
    groups = [rf"\multicolumn{{{width}}}{{c}}{{{escape_latex(SPLIT_LABELS[split])}}}" for split in splits]
    rules = [rf"\cmidrule(lr){{{first}-{first + width - 1}}}" for first in range(4, 4 + width * len(splits), width)]
    titles = [escape_latex(METRIC_LABELS[metric]) for _ in splits for metric in table.metrics]
    rank = "rank" if table.is_ordered_by_score else "row"
    body = [line(["", "", "", *groups]), "".join(rules), line([rank, "configuration", "seeds", *titles]), r"\midrule"]
    for position, row in table.numbered_rows():
        body += score_lines(table, row, position, splits)
    data, split, sizes_and_leaks = heading(table)
    notes = [*table_notes(table), stale_note(table), NOT_RANKED if table.unranked else ""]
    caption = f"{escape_latex(data)}, split {escape_latex(split)}: {escape_latex(sizes_and_leaks)}. {SCORES}"
    return latex_float(caption, f"scores-{number}", "rll" + "r" * len(titles), body, notes)


def score_lines(table: Table, row: Row, position: str, splits: list[str]) -> list[str]:
    """The scores of a row, and its intervals below."""
    marks = [*row_marks(table, row), *(["selected"] if split_text(row, "valid") != "valid" else [])]
    name = row.label + (" *" if row.stale else "") + (f" ({', '.join(marks)})" if marks else "")
    scores = [score_text(row, split, metric).partition(" [") for split in splits for metric in table.metrics]
    intervals = [rf"\footnotesize [{escape_latex(interval)}" if interval else "" for _, _, interval in scores]
    cells = [position, name, seeds_text(row, next(iter(row.predictions))), *(score for score, _, _ in scores)]
    return [line(map(escape_latex, cells)), line(["", "", "", *intervals])]


def pair_float(table: Table, number: int) -> str:
    """The paired tests; with many rows, only those with the best."""
    titles = [title for metric in table.metrics for title in (METRIC_LABELS[metric], "p")]
    body = [line(["rows", "set", *map(escape_latex, titles)]), r"\midrule"]
    for split, pairs in table.pairs.items():
        for first, second in dict.fromkeys((pair.first, pair.second) for pair in pairs):
            if first and len(table.ranked) > MAX_ROWS_ALL_PAIRS:
                continue
            by_metric = {pair.metric: pair for pair in pairs if (pair.first, pair.second) == (first, second)}
            cells = [f"{first + 1} vs {second + 1}", SPLIT_LABELS[split]]
            for metric in table.metrics:
                pair = by_metric[metric]
                cells += [difference_text(pair), p_value_text(pair.adjusted)]
            body.append(line(map(escape_latex, cells)))
    caption = f"Paired tests of the rows of Table~\\ref{{tab:scores-{number}}}."
    note = PAIRS_NOTE + "; ".join(statistical_tests(table))
    return latex_float(caption, f"pairs-{number}", "ll" + "rr" * len(table.metrics), body, [note])


def latex_float(caption: str, label: str, columns: str, body: list[str], notes: list[str]) -> str:
    """A table environment.

    Args:
        caption: LaTeX.
        label: what follows `tab:`.
        columns: the alignment of each column.
        body: the lines between the rules at the top and at the bottom.
        notes: text to print below.
    """
    lines = [
        r"\begin{table}",
        r"  \centering",
        f"  \\caption{{{caption}}}",
        f"  \\label{{tab:{label}}}",
        f"  \\begin{{tabular}}{{{columns}}}",
        r"    \toprule",
        *(f"    {text}" for text in body),
        r"    \bottomrule",
        r"  \end{tabular}",
        *(rf"  \par\smallskip{{\footnotesize {escape_latex(note)}\par}}" for note in notes if note),
        r"\end{table}",
    ]
    return "\n".join(lines)


def line(cells: Iterable[str]) -> str:
    """A line of a tabular."""
    return " & ".join(cells) + r" \\"


def escape_latex(text: str) -> str:
    """Escape the characters that LaTeX would interpret."""
    return "".join(ESCAPES.get(character, character) for character in printable(text))
