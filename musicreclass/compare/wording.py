"""How compare words things, wherever it shows them."""

from __future__ import annotations

from musicreclass.compare.rows import Row, number
from musicreclass.compare.tables import TESTED, Table
from musicreclass.errors import printable
from musicreclass.evaluation.paired import Pair

METRIC_NAMES = {"accuracy": "accuracy", "macro_f1": "macro-F1"}
SPLIT_NAMES = {"valid": "validation", "test": "test"}
LEAK_NAMES = {"yes": "leaky", "unknown": "leaks unknown", "no": "no leak found"}
NOT_RANKED = "not ranked: leaky splits and random encoders do not stand beside honest, pretrained runs"


def score(row: Row, split: str, metric: str) -> str:
    """A score in percent: `81.2 ±0.6 [74.0, 88.1]`, mean, standard deviation over seeds, interval; empty if there is none."""
    if (split, metric) not in row.scores:
        return ""
    found = row.scores[split, metric]
    spread = "" if found.sd is None else f" ±{100 * found.sd:.1f}"
    return f"{100 * found.mean:.1f}{spread} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def gap(pair: Pair) -> str:
    """A difference in points: `+2.8 [-1.4, 7.0]`."""
    return f"{100 * pair.difference:+.1f} [{100 * pair.low:.1f}, {100 * pair.high:.1f}]"


def chance(p: float) -> str:
    """A p value."""
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def seconds(value: float | None) -> str:
    """A duration."""
    if value is None:
        return "-"
    return (
        f"{value:.2f} s"
        if value < 1
        else f"{value:.1f} s"
        if value < 100
        else f"{value / 60:.1f} min"
        if value < 6000
        else f"{value / 3600:.1f} h"
    )


def count(value: float | None, unit: str = "") -> str:
    """A whole number, or a dash."""
    return "-" if value is None else f"{value:,.0f}{unit}"


def scored_seeds(row: Row, split: str) -> str:
    """How many seeds a score is the mean of; which one, if it is one."""
    n = len(row.scored.get(split, []))
    return f"{n}" if n > 1 else f"s{row.seeds[0]}" if len(row.seeds) == 1 else "1"


def leaks(table: Table) -> list[str]:
    """What is known of the protocols of the ranked rows, or of all where none is ranked: `no`, `unknown`, `yes`."""
    return list(dict.fromkeys(row.leaky for row in table.ranked or table.rows))


def marks(table: Table, row: Row) -> list[str]:
    """What sets a row apart."""
    doubtful = row.leaky == "unknown" and leaks(table) != ["unknown"]
    return [*row.marks, *(["leaks unknown"] if doubtful else []), *(["pretraining overlap"] if row.overlap else [])]


def marked(row: Row) -> str:
    """A row in words, with what keeps it from being ranked."""
    return row.label + (f" ({', '.join(row.marks)})" if row.marks else "")


def heading(table: Table) -> tuple[str, str, str]:
    """What a table is of: the data, the protocol, then leaks and sizes."""
    told = [" or ".join(LEAK_NAMES[mark] for mark in leaks(table)), *(f"{s} {size}" for s, size in table.sizes.items())]
    return printable(table.data), printable(table.split), ", ".join(told)


def notes(table: Table) -> list[str]:
    """What is to be known of a table."""
    pools = dict.fromkeys(pooled_folds(row) for row in table.rows if row.folds)
    found = [f"{folds} pooled into one table before scoring" for folds in pools]
    if table.looks > 1:
        found.append(f"{table.looks} configurations, seeds and folds aside, have been scored on this test set")
    if len(table.ranked) > TESTED:
        found.append(f"paired tests among the first {TESTED} of {len(table.ranked)} rows")
    if table.mixed:
        found.append(f"rows were scored on other {' and '.join(table.mixed)} tracks than others: those are not paired")
    uneven = [
        split
        for split in table.sizes
        if any(len(row.scored.get(split, [])) not in (0, len(row.seeds)) for row in table.rows)
    ]
    found += dict.fromkeys(f"pretraining overlap: {line}" for row in table.rows for line in row.overlap)
    for row in table.rows:
        if row.micro_batches:
            sizes = " or ".join(map(str, row.micro_batches))
            found.append(
                f"{printable(row.label)}: {sizes} tracks at a time passed through it, and batch statistics are of so many"
            )
    if uneven:
        found.append(f"not all seeds of each row were scored on {' and '.join(uneven)}")
    return found


def pooled_folds(row: Row) -> str:
    """Which folds, and of how many where that is known: `folds 0, 1, 2 of 5`."""
    of = number(row.runs[0].config, "data", "split", "folds")
    return f"folds {', '.join(map(str, row.folds))}" + (f" of {of:.0f}" if of else "")


def stale_note(table: Table) -> str:
    """What a star means."""
    return "* stale: made by other code than this; force=true trains it again" if table.stale else ""


def methods(table: Table) -> list[str]:
    """The tests that were used."""
    return list(dict.fromkeys(pair.method for pairs in table.pairs.values() for pair in pairs))
