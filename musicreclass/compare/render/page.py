"""One self-contained page of all tables: nothing is fetched, and only sorting needs JavaScript."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from string import Template

from musicreclass.compare.render.charts import class_heat, confusions, interval_plots
from musicreclass.compare.render.markup import Element, html, scrolling, tag
from musicreclass.compare.render.page_tables import badge, paired_tables, score_table, spaced
from musicreclass.compare.tables import Table
from musicreclass.compare.wording import LEAK_NAMES, SPLIT_NAMES, leaks, notes, stale_note
from musicreclass.version import __version__

PARTS = Path(__file__).parent
COLOURS = {"no": "good", "unknown": "warn", "yes": "bad"}


def page(tables: list[Table]) -> str:
    """The page's HTML."""
    style, script = ((PARTS / f"page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    script_hash = base64.b64encode(hashlib.sha256(f"\n{script}".encode()).digest()).decode()
    runs = len({run.folder for table in tables for row in table.rows for run in row.runs})
    body = tag(
        "main",
        tag("h1", "Comparison of runs"),
        tag(
            "p",
            f"{runs} finished runs. Ranked by macro-F1 on validation, never by test. Scores are percentages, ± is the standard "
            "deviation over seeds, brackets are 95 % intervals over tracks, whole groups at a time where groups are known, and over seeds.",
            class_="soft",
        ),
        *(section(table, number) for number, table in enumerate(tables, start=1)),
        tag("p", f"musicreclass {__version__}", class_="note"),
    )
    template = Template((PARTS / "page.html").read_text(encoding="utf-8"))
    return template.substitute(hash=f"sha256-{script_hash}", style=style, script=script, body=html(body))


def section(table: Table, number: int) -> Element:
    """Everything about one table."""
    told = [*notes(table), *filter(None, [stale_note(table)])]
    return tag(
        "section",
        tag("h2", f"{table.data}, split {table.split}", *spaced([badge(LEAK_NAMES[mark], COLOURS[mark]) for mark in leaks(table)])),
        tag("p", "; ".join(f"{SPLIT_NAMES[split]} {size}" for split, size in table.sizes.items()), class_="soft"),
        scrolling(score_table(table), "scores"),
        *(tag("p", note, class_="note") for note in told),
        tag("h3", "Scores with 95 % intervals"),
        *interval_plots(table),
        *paired_tables(table),
        tag("h3", "F1 by class"),
        *(element for split in table.sizes for element in class_heat(table, split)),
        tag("h3", "Confusion matrices"),
        *confusions(table),
        tag("h3", "Run folders"),
        tag("details", tag("summary", "names"), *(tag("p", tag("b", row.label), f" {row.name}", class_="note") for row in table.rows)),
        id=f"table-{number}",
    )  # fmt: skip
