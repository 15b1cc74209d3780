"""The summary of an analysis on the terminal, readable from 80 columns on."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from musicreclass.analysis.wording import (
    NOT_READ,
    association_rows,
    balance_text,
    column_lines,
    duration_text,
    format_lines,
    headline,
    labels_name,
    leak_lines,
    left_out_lines,
)
from musicreclass.config.settings.data import SPLITS
from musicreclass.plurals import counted

MAX_CLASSES = 30
MAX_NOTES = 12
LEAK_STYLES = {"yes": "bold red", "unknown": "dark_orange3", "no": "green4"}


def render_analysis(summary: dict[str, Any]) -> RenderableType:
    """Tables and lines for the content of analysis.json."""
    parts: list[RenderableType] = [Text(headline(summary), "bold"), class_grid(summary), Text(balance_text(summary))]
    if summary["durations"] is not None:
        parts.append(Text(duration_text(summary["durations"])))
    leaks = leak_lines(summary["protocol"])
    parts += ["", Text(leaks[0], LEAK_STYLES[summary["protocol"]["leaky"]]), *map(indented, leaks[1:])]
    if lines := left_out_lines(summary):
        parts += ["", *map(Text, lines)]
    if summary["formats"] is not None:
        parts += ["", *map(Text, format_lines(summary["formats"]))]
        if summary["formats"]["association"]:
            parts.append(association_grid(summary["formats"]))
    if summary["columns"] is not None:
        parts += ["", *map(Text, column_lines(summary["columns"]))]
    if summary["notes"]:
        more = len(summary["notes"]) - MAX_NOTES
        parts += ["", Text("notes", "bold"), *map(indented, summary["notes"][:MAX_NOTES])]
        parts += [Text(f"  ... and {more} more", "dim")] if more > 0 else []
    if summary["refusal"] is not None:
        parts += ["", Text(f"training is refused: {summary['refusal']['message']}", "bold red")]
    parts += ["", *suggestion_parts(summary["suggestions"]), "", Text(NOT_READ, "dim")]
    return Group(*parts)


def indented(text: str, left: int = 2) -> Padding:
    """A paragraph with a margin on the left."""
    return Padding(Text(text), (0, 0, 0, left), expand=False)


def class_grid(summary: dict[str, Any]) -> Table:
    """Tracks per genre and split."""
    grid = Table(box=None, header_style="dim", pad_edge=False)
    grid.add_column(labels_name(summary), overflow="fold")
    for name in (*SPLITS, "total", "%"):
        grid.add_column(name, justify="right", no_wrap=True)
    total = max(1, summary["tracks"]["total"])
    classes = summary["classes"]
    for entry in classes[:MAX_CLASSES]:
        counts = [str(entry[name]) for name in (*SPLITS, "total")]
        grid.add_row(Text(entry["name"]), *counts, f"{100 * entry['total'] / total:.1f}")
    rest = classes[MAX_CLASSES:]
    if rest:
        sums = [str(sum(entry[name] for entry in rest)) for name in (*SPLITS, "total")]
        grid.add_row(Text(counted(len(rest), "smaller one"), "dim"), *sums, "")
    if len(classes) > 1:
        grid.add_row("all", *(str(summary["tracks"][name]) for name in (*SPLITS, "total")), "", style="dim")
    return grid


def association_grid(formats: dict[str, Any]) -> Table:
    """How far each property of the format tells the genre."""
    grid = Table(box=None, header_style="dim", pad_edge=False)
    grid.add_column("property of the format", overflow="fold")
    grid.add_column("balanced accuracy alone", justify="right")
    grid.add_column("Cramer's V", justify="right")
    for row in association_rows(formats):
        grid.add_row(*row)
    return grid


def suggestion_parts(suggestions: list[dict[str, str]]) -> list[RenderableType]:
    """The overrides to copy, each followed by its reason."""
    if not suggestions:
        return [Text("no suggestions", "dim")]
    parts: list[RenderableType] = [Text("suggestions", "bold")]
    for suggestion in suggestions:
        parts += [Text(f"  {suggestion['override']}", "bold", overflow="fold"), indented(suggestion["reason"], 6)]
    return parts
