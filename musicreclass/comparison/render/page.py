"""All tables as one self-contained HTML page: nothing is loaded from elsewhere, and only sorting needs JavaScript."""

from __future__ import annotations

from pathlib import Path

from musicreclass.comparison.render.charts import (
    class_heading,
    class_table,
    confusion_sections,
    layer_plots,
    score_plots,
)
from musicreclass.comparison.render.curves import curve_section
from musicreclass.comparison.render.document import html_document
from musicreclass.comparison.render.markup import Element, scroll_box, tag
from musicreclass.comparison.render.overview import leak_badges, overview
from musicreclass.comparison.render.page_tables import (
    all_selected,
    badge,
    common_device,
    pair_section,
    score_table,
    with_spaces,
)
from musicreclass.comparison.tables import Table
from musicreclass.comparison.wording import SELECTED, SPLIT_LABELS, numbered_labels, stale_note, table_notes
from musicreclass.plurals import counted
from musicreclass.version import __version__

SCRIPT = Path(__file__).with_name("page.js")  # sorts tables


def render_page(tables: list[Table]) -> str:
    """The HTML of the page."""
    runs = len({run.folder for table in tables for row in table.rows for run in row.runs})
    body = tag(
        "main",
        tag("h1", "Comparison of runs"),
        tag(
            "p",
            f"{counted(runs, 'finished run')}, ranked by macro-F1 (PR-AUC for tags) on validation, never by test scores, and not ranked if folds are pooled. Scores are percentages; ± is the "
            "standard deviation over seeds, and brackets are 95 % intervals over tracks and seeds (over whole groups of tracks "
            "where groups are known).",
            class_="muted",
        ),
        *([overview(tables)] if len(tables) > 1 else []),
        *(table_section(table, number) for number, table in enumerate(tables, start=1)),
        tag("p", f"musicreclass {__version__}", class_="note"),
    )
    return html_document("Comparison of runs", body, script=SCRIPT)


def table_section(table: Table, number: int) -> Element:
    """The section of one table."""
    notes = [*table_notes(table), *filter(None, [stale_note(table)])]
    folders = [
        tag("p", tag("b", label), f" {row.folder_names}", class_="note") for label, row in numbered_labels(table)
    ]
    selected = [badge(SELECTED, "muted")] if all_selected(table) else []
    sizes_and_device = [f"{SPLIT_LABELS[split]} {size}" for split, size in table.sizes.items()]
    sizes_and_device += [f"all trained on {device}"] if (device := common_device(table)) else []
    return tag(
        "section",
        tag("h2", f"{table.data}, split {table.split}", *with_spaces([*leak_badges(table), *selected])),
        tag("p", "; ".join(sizes_and_device), class_="muted"),
        scroll_box(score_table(table), "scores"),
        *(tag("p", note, class_="note") for note in notes),
        tag("h3", "Scores with 95 % intervals"),
        *score_plots(table),
        *layer_plots(table),
        *curve_section(table),
        *pair_section(table),
        tag("h3", class_heading(table)),
        *(class_table(table, split) for split in table.sizes),
        *confusion_sections(table),
        tag("details", tag("summary", "Run folders"), *folders, class_="folders"),
        id=f"table-{number}",
    )
