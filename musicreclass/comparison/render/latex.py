r"""Comparison tables as LaTeX with booktabs, to `\input` into a thesis or paper."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import pairwise

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
    "`": r"\textasciigrave{}",
    "±": r"$\pm$",
    "…": r"\ldots{}",
    "\N{EN DASH}": "--",
    "\N{MINUS SIGN}": "$-$",
    "\N{REPLACEMENT CHARACTER}": "?",
}
FOREIGN = (
    "% pdfLaTeX prints these characters as codes unless a package defines them; with \\listoftables, copy the lines to the preamble.\n"
    "% LuaLaTeX and XeLaTeX print them with a font that has them."
)
LAST_LATIN_1 = "\xff"
P_VALUE = "$p$"
SCORE_WIDTH = 0.16  # of the text's, for a column of scores
CHARACTERS = 75  # in the text's width


def as_latex(tables: list[Table]) -> str:
    """A table environment for each table, followed by one with its paired tests if it has any."""
    floats = []
    for number, table in enumerate(tables, start=1):
        floats.append(score_float(table, number))
        if table.pairs:
            floats.append(pair_float(table, number))
    return "\n\n".join(["\n".join([HEAD, *replacements("".join(floats))]), *floats]) + "\n"


def replacements(text: str) -> list[str]:
    """Definitions of the characters that pdfLaTeX may not know: their code, unless the document defines them."""
    characters = sorted({character for character in text if character > LAST_LATIN_1})
    lines = [
        rf"\expandafter\providecommand\csname u8:\detokenize{{{character}}}\endcsname{{[U+{ord(character):04X}]}}"
        for character in characters
    ]
    return [FOREIGN, *lines] if lines else []


def score_float(table: Table, number: int) -> str:
    """The scores: two lines per row, the second with the seeds and the intervals."""
    splits = [split for split in SPLIT_LABELS if split in table.sizes]
    width = len(table.metrics)
    groups = [rf"\multicolumn{{{width}}}{{c}}{{{escape_latex(SPLIT_LABELS[split])}}}" for split in splits]
    rules = [rf"\cmidrule(lr){{{first}-{first + width - 1}}}" for first in range(3, 3 + width * len(splits), width)]
    titles = [escape_latex(METRIC_LABELS[metric]) for _ in splits for metric in table.metrics]
    rank = "rank" if table.is_ordered_by_score else "row"
    body = [line(["", "", *groups]), "".join(rules), line([rank, "configuration", *titles]), r"\midrule"]
    texts = [row_texts(table, row) for _, row in table.numbered_rows()]
    fraction = 0.92 - SCORE_WIDTH * len(titles)
    limit = int(CHARACTERS * fraction)
    wraps = max(len(text) for pair in texts for text in pair) > limit
    for (position, row), pair in zip(table.numbered_rows(), texts, strict=True):
        if body[-1] != r"\midrule":
            body.append(r"\addlinespace")
        cells = [rf"\raggedright {breakable(text, limit)}" if wraps else escape_latex(text) for text in pair]
        body += score_lines(row, [position, *cells], table.metrics, splits)
    column = rf"p{{{fraction:.2f}\linewidth}}" if wraps else "l"
    data, split, sizes_and_leaks = heading(table)
    notes = [*table_notes(table), stale_note(table), NOT_RANKED if table.unranked else ""]
    short = f"{escape_latex(data)}, split {escape_latex(split)}"
    caption = rf"\caption[{{{short}}}]{{{short}: {escape_latex(sizes_and_leaks)}. {SCORES}}}"
    return latex_float(caption, f"scores-{number}", f"r{column}" + "r" * len(titles), body, notes)


def row_texts(table: Table, row: Row) -> tuple[str, str]:
    """The configuration of a row, and what is below it: the seeds, and what limits the comparison with other rows."""
    marks = [*row_marks(table, row), *(["selected"] if split_text(row, "valid") != "valid" else [])]
    seeds = seeds_text(row, next(iter(row.predictions)))
    if not seeds.startswith("seed"):
        seeds += " seed" if seeds == "1" else " seeds"
    return row.label + (" *" if row.stale else ""), ", ".join([seeds, *marks])


def score_lines(row: Row, cells: list[str], metrics: Sequence[str], splits: list[str]) -> list[str]:
    """The scores of a row, and its intervals below.

    Args:
        row: the row.
        cells: LaTeX: its position, its configuration, and what is below the configuration.
        metrics: of the table.
        splits: of the table.
    """
    scores = [score_text(row, split, metric).partition(" [") for split in splits for metric in metrics]
    intervals = [rf"\footnotesize [{escape_latex(interval)}" if interval else "" for _, _, interval in scores]
    position, configuration, below = cells
    return [
        line([position, configuration, *(escape_latex(score) for score, _, _ in scores)]),
        line(["", rf"\footnotesize {below}", *intervals]),
    ]


def pair_float(table: Table, number: int) -> str:
    """The paired tests; with many rows, only those with the best."""
    titles = [title for metric in table.metrics for title in (escape_latex(METRIC_LABELS[metric]), P_VALUE)]
    body = [line(["rows", "set", *titles]), r"\midrule"]
    for split, pairs in table.pairs.items():
        for first, second in dict.fromkeys((pair.first, pair.second) for pair in pairs):
            if first and len(table.ranked) > MAX_ROWS_ALL_PAIRS:
                continue
            by_metric = {pair.metric: pair for pair in pairs if (pair.first, pair.second) == (first, second)}
            cells = [f"{first + 1} vs {second + 1}", SPLIT_LABELS[split]]
            for metric in table.metrics:
                pair = by_metric[metric]
                cells += [difference_text(pair).replace("-", "\N{MINUS SIGN}"), p_value_text(pair.adjusted)]
            body.append(line(map(escape_latex, cells)))
    caption = rf"\caption{{Paired tests of the rows of Table~\ref{{tab:scores-{number}}}.}}"
    note = PAIRS_NOTE + "; ".join(statistical_tests(table))
    return latex_float(caption, f"pairs-{number}", "ll" + "rr" * len(table.metrics), body, [note])


def latex_float(caption: str, label: str, columns: str, body: list[str], notes: list[str]) -> str:
    """A table environment.

    Args:
        caption: LaTeX, the command included.
        label: what follows `tab:`.
        columns: the alignment of each column.
        body: the lines between the rules at the top and at the bottom.
        notes: text to print below.
    """
    lines = [
        r"\begin{table}",
        r"  \centering",
        f"  {caption}",
        f"  \\label{{tab:{label}}}",
        r"  \par\smallskip",
        r"  \small\setlength{\tabcolsep}{4pt}",
        f"  \\begin{{tabular}}{{{columns}}}",
        r"    \toprule",
        *(f"    {text}" for text in body),
        r"    \bottomrule",
        r"  \end{tabular}",
        *(rf"  \par\smallskip{{\footnotesize\raggedright {escape_latex(note)}\par}}" for note in notes if note),
        r"\end{table}",
    ]
    return "\n".join(lines)


def line(cells: Iterable[str]) -> str:
    """A line of a tabular."""
    return " & ".join(cells) + r" \\"


def breakable(text: str, limit: int) -> str:
    """Escaped text, in which words that are longer than a number of characters may be broken, after punctuation if possible."""
    pieces = (
        r"\allowbreak{}".join(map(escape_latex, re.findall(rf".[^\W_]{{0,{limit - 3}}}[=,/.:_-]*", word)))
        if len(word) > limit
        else escape_latex(word)
        for word in unicodedata.normalize("NFC", text).split(" ")
    )
    return " ".join(pieces)


def escape_latex(text: str) -> str:
    """Escape the characters that LaTeX would interpret, and compose accents, which pdfLaTeX requires."""
    text = unicodedata.normalize("NFC", printable(text))
    escaped = (ESCAPES.get(character, character) for character in text)
    return "".join(f"{{}}{after}" if before == after == "-" else after for before, after in pairwise(["", *escaped]))
