"""Labels, numbers and notes as text, shared by the terminal, text files and the page."""

from __future__ import annotations

from musicreclass.comparison.rows import UNKNOWN_LEAKS, Cost, Row, number_at
from musicreclass.comparison.tables import MAX_TESTED_ROWS, Table
from musicreclass.errors import printable
from musicreclass.evaluation.intervals import Estimate, few_tracks
from musicreclass.evaluation.metric_names import METRIC_LABELS
from musicreclass.evaluation.paired import Pair
from musicreclass.plurals import agreeing, counted
from musicreclass.runs.score_log import SetUse

SPLIT_LABELS = {"valid": "validation", "test": "test"}
LEAK_LABELS = {"yes": "leaky", "unknown": "leaks unknown", "no": "no shared artist or identical recording"}
SELECTED = "selected"
ONE_MEMBER = "one member"
SELECTED_NOTE = f"{SELECTED}: the epoch or round was chosen on the validation tracks, so their score is optimistic"
NOT_ORDERED = (
    "rows are numbered, not ranked: folds are validated on the test tracks of other folds, so the test score of a row that is "
    "chosen by validation is too high"
)
NOT_RANKED = "not ranked: leaky splits, unknown leaks beside rows without leaks, random encoders, and rows without a validation score"


def interval_text(estimate: Estimate) -> str:
    """A 95 % interval in percent: `[74.0, 88.1]`."""
    return f"[{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def score_text(row: Row, split: str, metric: str) -> str:
    """Mean, standard deviation over seeds and interval in percent: `81.2 ±0.6 [74.0, 88.1]`; empty without a score."""
    if (split, metric) not in row.scores:
        return ""
    estimate = row.scores[split, metric]
    sd = "" if estimate.sd is None else f" ±{100 * estimate.sd:.1f}"
    return f"{100 * estimate.mean:.1f}{sd} {interval_text(estimate)}"


def split_text(row: Row, split: str) -> str:
    """The name of a split, with a mark if the epoch or round was chosen by its scores: `valid (selected)`."""
    return f"{split} ({SELECTED})" if split == "valid" and row.selected else split


def difference_text(pair: Pair) -> str:
    """A difference in percentage points with its interval: `+2.8 [-1.4, 7.0]`."""
    return f"{100 * pair.difference:+.1f} [{100 * pair.low:.1f}, {100 * pair.high:.1f}]"


def p_value_text(p: float) -> str:
    """A p value with two or three digits."""
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def duration_text(seconds: float | None) -> str:
    """A duration in seconds, minutes or hours; a dash for None."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def count_text(value: float | None, unit: str = "") -> str:
    """A whole number with its unit; a dash for None."""
    return "-" if value is None else f"{value:,.0f}{unit}"


def cost_texts(cost: Cost) -> tuple[str, str, str, str]:
    """The time of the fit, the peak memory, the number of parameters and the device."""
    return duration_text(cost.seconds), count_text(cost.memory, " MiB"), count_text(cost.parameters), cost.device


def seeds_text(row: Row, split: str) -> str:
    """The number of seeds that a score averages, or the seed itself if there is one: `3`, `3 equal`, `seed 0`."""
    n = len(row.predictions.get(split, []))
    if n > 1 and row.has_equal_seeds:
        return f"{n} equal"
    return f"{n}" if n > 1 else f"seed {row.seeds[0]}" if len(row.seeds) == 1 else "1"


def leak_levels(table: Table) -> list[str]:
    """The leak levels of the ranked rows, or of all rows if none is ranked: `no`, `unknown`, `yes`."""
    return list(dict.fromkeys(row.leaky for row in table.ranked or table.rows))


def row_marks(table: Table, row: Row) -> list[str]:
    """Why a row is not ranked, and what else limits its comparison with the other rows."""
    overlap = ["pretraining overlap"] if row.overlap else []
    doubtful = row.leaky == "unknown" and not row.apart and leak_levels(table) != ["unknown"]
    single = [ONE_MEMBER] if row.only_members else []
    return [*row.exclusions, *([UNKNOWN_LEAKS] if doubtful else []), *row.cautions, *overlap, *single]


def numbered_labels(table: Table) -> list[tuple[str, Row]]:
    """The rank and short label of each row, or why it is not ranked: `1 mlp lr=0.01`, `cnn (random encoder)`."""
    return [
        (f"{row.short_label} ({', '.join(row.exclusions)})" if row.exclusions else f"{rank} {row.short_label}", row)
        for rank, row in table.numbered_rows()
    ]


def heading(table: Table) -> tuple[str, str, str]:
    """The data of a table, its split protocol, and a text with sizes and leak levels."""
    leaks = " or ".join(LEAK_LABELS[level] for level in leak_levels(table))
    sizes = [f"{split} {size}" for split, size in table.sizes.items()]
    return printable(table.data), printable(table.split), ", ".join([*sizes, leaks])


def table_notes(table: Table) -> list[str]:
    """What limits the comparison of a table's rows, one line each."""
    pools = dict.fromkeys(pooled_folds(row) for row in table.rows if row.folds)
    notes = [f"{folds}: predictions pooled before scoring" for folds in pools]
    if not table.is_ordered_by_score:
        notes.append(NOT_ORDERED)
    notes += dict.fromkeys(filter(None, map(use_note, table.test_sets)))
    if any(row.selected and "valid" in row.predictions for row in table.rows):
        notes.append(SELECTED_NOTE)
    if len(table.ranked) > MAX_TESTED_ROWS:
        notes.append(f"paired tests cover the first {MAX_TESTED_ROWS} of {counted(len(table.ranked), 'row')}")
    sizes = {(split, len(row.predictions[split][0].ids)) for row in table.rows for split in row.predictions}
    notes += [f"{SPLIT_LABELS[split]}: {few}" for split, n in sorted(sizes) if (few := few_tracks(n))]
    if any(row.has_equal_seeds for row in table.rows):
        notes.append("equal: all seeds of the row have the same predictions; they are treated as a single run")
    notes += disagreement_notes(table)
    if table.split_mismatches:
        splits = " and ".join(table.split_mismatches)
        notes.append(f"not all rows were scored on the same {splits} tracks; rows on different tracks are not paired")
    notes += dict.fromkeys(f"{mark}: {text}" for row in table.rows for mark, text in row.cautions.items())
    notes += dict.fromkeys(f"pretraining overlap: {line}" for row in table.rows for line in row.overlap)
    notes += dict.fromkeys(
        f"{ONE_MEMBER}: the ensemble gives all weight to {printable(name)}, and predicts what that run predicts"
        for row in table.rows
        for name in row.only_members
    )
    notes += absent_class_notes(table)
    notes += [micro_batch_note(row) for row in table.rows if row.micro_batches]
    notes += dict.fromkeys(
        f"{printable(row.label)}: its own modules are not found from this folder; whether they have changed is unknown"
        for row in table.rows
        if any(run.lacks_code for run in row.runs)
    )
    incomplete = [
        split
        for split in table.sizes
        if any(len(row.predictions.get(split, [])) not in (0, len(row.seeds)) for row in table.rows)
    ]
    if incomplete:
        notes.append(f"some seeds were not scored on {' and '.join(incomplete)}")
    return notes


def disagreement_notes(table: Table) -> list[str]:
    """A note on paired tests in which the interval includes 0 although p is at most 0.05, or the reverse."""
    pairs = [
        f"{pair.first + 1} vs {pair.second + 1} ({SPLIT_LABELS[split]} {METRIC_LABELS[pair.metric]})"
        for split, of_split in table.pairs.items()
        for pair in of_split
        if (pair.low <= 0 <= pair.high) == (pair.p <= 0.05)
    ]
    if not pairs:
        return []
    shown = ", ".join(pairs[:3]) + (f" and {len(pairs) - 3} more" if len(pairs) > 3 else "")
    return [f"interval and unadjusted p disagree at the 5 % level for {shown}: the result is borderline, and p decides"]


def use_note(use: SetUse) -> str:
    """How many configurations were scored on a test set, or on a part of it; empty if only one was."""
    if use.configurations <= 1 and not use.shares:
        return ""
    models = f" ({counted(use.models, 'model')})" if use.models > use.configurations else ""
    text = f"{counted(use.configurations, 'configuration')}{models}, not counting seeds and folds, {agreeing(use.configurations, 'was', 'were')} scored on {agreeing(use.n, 'this', 'these')} {counted(use.n, 'test track')}"
    if use.shares:
        low, high = (f"{100 * fraction:.0f}" for fraction in (use.shares[0], use.shares[-1]))
        text += f", {len(use.shares)} more on {low if low == high else f'{low} to {high}'} % of them"
    return text


def absent_class_notes(table: Table) -> list[str]:
    """Classes without tracks in a split, and macro-F1 over the others; their F1 of 0 is part of macro-F1."""
    notes = []
    for split in table.sizes:
        predicted = next(row.predictions[split][0] for row in table.rows if split in row.predictions)
        absent = predicted.absent_classes()
        if absent and predicted.is_multi:
            names = printable(", ".join(absent))
            notes.append(f"{SPLIT_LABELS[split]}: all or no tracks have {names}, which the means leave out")
        elif absent:
            factor = len(predicted.classes) / (len(predicted.classes) - len(absent))
            notes.append(
                f"{SPLIT_LABELS[split]} has no tracks of {printable(', '.join(absent))}, whose F1 counts as 0: macro-F1 over the "
                f"classes present is {factor:.2f} times as high"
            )
    return notes


def micro_batch_note(row: Row) -> str:
    """A note on batch statistics that were computed on less than a batch."""
    sizes = " or ".join(map(str, row.micro_batches))
    return f"{printable(row.label)}: batch statistics over micro-batches of {sizes} tracks, not over whole batches"


def pooled_folds(row: Row) -> str:
    """The pooled folds, and the total where it is known: `folds 0, 1, 2 of 5`."""
    total = number_at(row.runs[0].settings.data.as_dict(), "split", "folds")
    return f"folds {', '.join(map(str, row.folds))}" + (f" of {total:.0f}" if total else "")


def stale_note(table: Table) -> str:
    """The meaning of the star at stale rows; empty if there are none."""
    return (
        "* stale: trained by a different version of the code or of a library; force=true trains it again"
        if table.stale
        else ""
    )


def statistical_tests(table: Table) -> list[str]:
    """The statistical tests that were used."""
    return list(dict.fromkeys(pair.method for pairs in table.pairs.values() for pair in pairs))
