"""Sentences that the terminal and the page have in common."""

from __future__ import annotations

from collections import Counter
from typing import Any

from musicreclass.config.settings.data import SPLITS
from musicreclass.data.tracks import some
from musicreclass.plurals import counted

LEAKS = {
    "yes": "leaky: the same artists or recordings are in several splits",
    "unknown": "leaks unknown",
    "no": "no shared artist or identical recording",
}
NOT_READ = (
    "Test tracks are counted, and compared with the other splits to find leaks. Features, formats and samples are described for "
    "train and valid only, since test is scored only once."
)


def data_text(summary: dict[str, Any]) -> str:
    """The data, its features and its source."""
    features = "" if summary["features"] == "none" else f" features={summary['features']}"
    source = f" ({summary['source']})" if summary["source"] else ""
    return f"{summary['data']}{features}{source}"


def headline(summary: dict[str, Any]) -> str:
    """The data and its size."""
    return f"{data_text(summary)}: {counted(summary['tracks']['total'], 'track')}, {counted(len(summary['classes']), labels_name(summary))}"


def labels_name(summary: dict[str, Any]) -> str:
    """What a class is called: `genre`, or `tag` where tracks have several."""
    return "tag" if summary["has_tags"] else "genre"


def balance_text(summary: dict[str, Any]) -> str:
    """Imbalance ratio and effective number of classes of the training split."""
    balance = summary["balance"]
    if balance["ratio"] is None:
        return "no training tracks"
    return (
        f"training split: imbalance ratio {balance['ratio']:.3g} (largest to smallest {labels_name(summary)}), effective number of classes "
        f"{balance['effective_classes']:.2f} of {balance['classes']}"
    )


def duration_text(durations: dict[str, Any]) -> str:
    """The range of the durations and their sum."""
    low, median, high = (f"{durations[name]:.1f}" for name in ("min", "median", "max"))
    return f"durations: {low} to {high} s, median {median} s; {durations['hours']:.2f} hours in train and valid"


def leak_lines(protocol: dict[str, Any]) -> list[str]:
    """The split and whether it leaks, then the counts, cautions and overlaps."""
    return [
        f"split {protocol['split']}: {LEAKS[protocol['leaky']]}",
        *protocol["why"],
        *(f"{mark}: {text}" for mark, text in protocol["cautions"].items()),
        *(f"pretraining overlap: {text}" for text in protocol["pretraining_overlap"]),
    ]


def left_out_lines(summary: dict[str, Any]) -> list[str]:
    """Tracks that are left out, by reason."""
    return [f"left out: {count} {reason}" for reason, count in summary["left_out"].items()]


def format_totals(formats: dict[str, Any]) -> dict[str, dict[str, int]]:
    """The number of recordings by property and value, the most frequent first."""
    totals = {}
    for name, per_class in formats["per_class"].items():
        total: Counter[str] = Counter()
        for counts in per_class.values():
            total.update(counts)
        totals[name] = dict(total.most_common())
    return totals


def format_lines(formats: dict[str, Any]) -> list[str]:
    """The values of each property of the format."""
    lines = []
    for name, total in format_totals(formats).items():
        if total:
            values = some([f"{value} ({count})" if len(total) > 1 else value for value, count in total.items()], 6)
            lines.append(f"{name}: {values}")
    if not formats["compared"]:
        lines.append("too few training tracks to compare formats with genres")
    return lines


def association_rows(formats: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Property, balanced accuracy and Cramer's V of each property that varies, the best first."""
    return [
        (name, f"{100 * values['balanced_accuracy']:.1f} %", f"{values['cramers_v']:.2f}")
        for name, values in formats["association"].items()
    ]


def association_text(formats: dict[str, Any]) -> str:
    """How the table of associations is to be read."""
    guess_rate = formats["guess_rate"]
    chance = (
        ""
        if formats["chance"] is None
        else f"; with permuted genres the best property reaches {100 * formats['chance']:.1f} %"
    )
    return (
        f"Each property by itself, over {counted(formats['compared'], 'training track')}: balanced accuracy of the genre that it predicts "
        f"(cross-validated over two folds that do not divide artists; a guess has {100 * guess_rate:.1f} %{chance}), and Cramer's V, from "
        "0 (no association) to 1."
    )


def column_lines(columns: dict[str, Any]) -> list[str]:
    """Counts of the columns and the most notable ones."""
    lines = [f"features: {counted(columns['columns'], 'column')}, {counted(columns['rows'], 'row')} of train and valid"]
    missing = [f"{entry['column']} ({100 * entry['fraction']:.3g} %)" for entry in columns["missing"]]
    if missing:
        lines.append(f"columns with missing values: {columns['columns_with_missing']} ({some(missing)})")
    if columns["constant"]:
        lines.append(f"constant columns: {len(columns['constant'])} ({some(columns['constant'])})")
    if columns["correlated"]:
        pairs = [
            f"{first} ~ {second} {pair['r']:.3f}"
            for pair in columns["correlated"]
            for first, second in [pair["columns"]]
        ]
        lines.append(f"pairs with |r| > 0.98: {columns['correlated_pairs']} ({some(pairs, 2)})")
    if columns["alone"]:
        best = [f"{entry['column']} {100 * entry['balanced_accuracy']:.0f} %" for entry in columns["alone"]]
        lines.append(f"best columns alone (balanced accuracy): {some(best)}")
    lines += [f"suspicious column: {entry['column']} {entry['reason']}" for entry in columns["suspicious"]]
    return lines


def split_text(summary: dict[str, Any]) -> str:
    """The size of each split."""
    return ", ".join(f"{summary['tracks'][split]} {split}" for split in SPLITS)
