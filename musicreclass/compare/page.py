"""One self-contained page of all tables: nothing is fetched, and only sorting needs JavaScript."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from string import Template

from musicreclass import __version__
from musicreclass.compare.charts import class_heat, confusions, interval_plots
from musicreclass.compare.intervals import METRICS
from musicreclass.compare.markup import Element, html, scrolling, tag
from musicreclass.compare.rows import Row
from musicreclass.compare.tables import Table
from musicreclass.compare.wording import (
    LEAK_NAMES,
    METRIC_NAMES,
    NOT_RANKED,
    SPLIT_NAMES,
    chance,
    count,
    gap,
    leaks,
    marks,
    methods,
    notes,
    printable,
    scored_seeds,
    seconds,
    stale_note,
)

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
        *tests(table),
        tag("h3", "F1 by class"),
        *(element for split in table.sizes for element in class_heat(table, split)),
        tag("h3", "Confusion matrices"),
        *confusions(table),
        tag("h3", "Run folders"),
        tag("details", tag("summary", "names"), *(tag("p", tag("b", row.label), f" {row.name}", class_="note") for row in table.rows)),
        id=f"table-{number}",
    )  # fmt: skip


def badge(text: str, colour: str) -> Element:
    """A mark."""
    return tag("span", text, class_=f"badge {colour}")


def spaced(elements: list[Element]) -> list[Element | str]:
    """Marks with a space before each."""
    return [part for mark in elements for part in (" ", mark)]


def score_table(table: Table) -> Element:
    """The rows, ranked ones first, the others in a block of their own."""
    scored = [(split, metric) for split in table.sizes for metric in METRICS]
    settings = list(dict.fromkeys(name for row in table.rows for name in row.differs))
    heads = [
        tag("th", "#", class_="n"),
        tag("th", "model"),
        *(tag("th", name) for name in settings),
        tag("th", "seeds", class_="n"),
        *(
            tag("th", SPLIT_NAMES[split], tag("br"), METRIC_NAMES[metric], class_="n", data_down="")
            for split, metric in scored
        ),
        tag("th", "fit", class_="n"),
        tag("th", "peak", tag("br"), "memory", class_="n"),
        tag("th", "parameters", class_="n"),
        tag("th", "device"),
    ]

    def line(rank: int | None, row: Row) -> Element:
        cost = row.cost
        return tag(
            "tr",
            number("" if rank is None else str(rank), rank),
            tag(
                "th",
                row.model,
                " *" if row.stale else None,
                *spaced(badges(table, row)),
                class_="name",
                scope="row",
                data_v=row.model,
            ),
            *(tag("td", row.differs.get(name, ""), data_v=row.differs.get(name, "")) for name in settings),
            number(scored_seeds(row, next(iter(row.scored))), len(row.seeds)),
            *(score_cell(row, split, metric) for split, metric in scored),
            number(seconds(cost.seconds), cost.seconds),
            number(count(cost.memory, " MiB"), cost.memory),
            number(count(cost.parameters), cost.parameters),
            tag("td", cost.device, data_v=cost.device),
        )

    bodies = (
        [tag("tbody", *(line(rank, row) for rank, row in enumerate(table.ranked, start=1)))] if table.ranked else []
    )
    if table.unranked:
        why = tag("tr", tag("th", NOT_RANKED, colspan=len(heads)), class_="apart")
        bodies.append(tag("tbody", why, *(line(None, row) for row in table.unranked)))
    return tag("table", tag("thead", tag("tr", *heads)), *bodies, class_="sortable")


def badges(table: Table, row: Row) -> list[Element]:
    """What is to be known of a row's runs."""
    return [badge(mark, "bad" if mark in row.marks else "warn") for mark in marks(table, row)]


def number(text: str, value: float | None) -> Element:
    """A cell that sorts by its value."""
    return tag("td", text, class_="n", data_v=value)


def score_cell(row: Row, split: str, metric: str) -> Element:
    """A score."""
    if (split, metric) not in row.scores:
        return number("", None)
    found = row.scores[split, metric]
    spread = "" if found.sd is None else f" ±{100 * found.sd:.1f}"
    interval = tag("small", f"{spread} [{100 * found.low:.1f}, {100 * found.high:.1f}]")
    return tag("td", f"{100 * found.mean:.1f}", interval, class_="n", data_v=found.mean)


def tests(table: Table) -> list[Element]:
    """The paired tests, split by split."""
    if not table.pairs:
        return []
    parts = [
        tag("h3", "Paired tests"),
        tag("p", "Differences in points, the first row's score over the second's. Bold: p by Holm's method, over all pairs here, "
            f"at most 0.05. Tests: {'; '.join(methods(table))}.", class_="note"),
    ]  # fmt: skip
    titles = [title for metric in METRICS for title in (METRIC_NAMES[metric], "p", "p by Holm")]
    for split, pairs in table.pairs.items():
        lines = []
        for pair in dict.fromkeys((pair.first, pair.second) for pair in pairs):
            here = {found.metric: found for found in pairs if (found.first, found.second) == pair}
            cells = []
            for metric in METRICS:
                found = here[metric]
                cells += [
                    tag("td", gap(found), class_="n certain" if found.adjusted <= 0.05 else "n", data_v=found.difference),
                    number(chance(found.p), found.p),
                    tag("td", tag("b", chance(found.adjusted)) if found.adjusted <= 0.05 else chance(found.adjusted),
                        class_="n", data_v=found.adjusted),
                ]  # fmt: skip
            names = [f"{row + 1} {printable(table.ranked[row].label)}" for row in pair]
            lines.append(
                tag("tr", *(tag("th", name, class_="name", scope="row", data_v=name) for name in names), *cells)
            )
        heads = [tag("th", "first"), tag("th", "second"), *(tag("th", title, class_="n") for title in titles)]
        grid = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *lines), class_="sortable")
        summary = tag("summary", f"on {SPLIT_NAMES[split]}")
        opened = {"open": "open"} if len(lines) <= 15 or split == "valid" else {}
        parts.append(tag("details", summary, scrolling(grid, f"paired tests on {SPLIT_NAMES[split]}"), **opened))
    return parts
