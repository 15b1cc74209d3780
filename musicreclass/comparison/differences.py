"""The settings in which the rows of a table, or tables of one heading, differ, under the shortest names that are unique."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from musicreclass.comparison.rows import Row
from musicreclass.config.settings.data import CLIPS

MAX_VALUE_LENGTH = 60  # characters
MAX_LIST_LENGTH = 30  # characters of a list that is written out
MAX_LIST_ITEMS = 3
Value = str | tuple[str, ...]  # of a setting: a text, or the items of a list


def label_rows(rows: list[Row]) -> None:
    """Set the model and the differences of each row. Settings of an option are compared among the rows that chose it."""
    sections_of_rows = [row_sections(row) for row in rows]
    differing: defaultdict[str, dict[int, Value]] = defaultdict(dict)  # dotted setting -> row -> value
    for section in dict.fromkeys(name for sections in sections_of_rows for name in sections):
        chosen = {i: sections[section][0] for i, sections in enumerate(sections_of_rows) if section in sections}
        if section != "model" and len(set(chosen.values())) > 1:
            differing[section].update(chosen)
        for option in dict.fromkeys(chosen.values()):
            settings = {i: sections_of_rows[i][section][1] for i in chosen if chosen[i] == option}
            add_differing_settings(section, settings, differing)
    short = shortest_unique_names(list(differing))
    brief = {
        name: dict(zip(values, brief_texts(name, list(values.values())), strict=True))
        for name, values in differing.items()
    }
    for i, row in enumerate(rows):
        row.model = sections_of_rows[i]["model"][0]
        row.differences = {short[name]: texts[i] for name, texts in brief.items() if i in texts}
    separate_equal_labels(rows)
    for row in rows:
        row.short_label = short_label(row, rows)


def short_label(row: Row, rows: list[Row]) -> str:
    """The model, unless all rows have it, and the settings in which a row differs from others of its model: `mlp lr=0.01`."""
    same_model = [other for other in rows if other.model == row.model]
    differing = [
        f"{name}={value}"
        for name, value in row.differences.items()
        if any(other.differences.get(name) != value for other in same_model)
    ]
    return " ".join(differing if differing and len(same_model) == len(rows) else [row.model, *differing])


def add_differing_settings(
    section: str, settings: dict[int, dict[str, Value]], differing: defaultdict[str, dict[int, Value]]
) -> None:
    """Add the settings of one option of a section in which rows differ.

    Args:
        section: the name of the section.
        settings: row -> dotted name -> value.
        differing: dotted setting -> row -> value; modified in place.
    """
    for name in dict.fromkeys(name for values in settings.values() for name in values):
        optional = section == "data" and name in CLIPS  # a table of features has no clips
        values = {i: leaves.get(name, "-") for i, leaves in settings.items() if not optional or name in leaves}
        # skip a setting that copies one of another section, as the peak of a schedule copies the learning rate
        copied = any(values == other for key, other in differing.items() if not key.startswith(f"{section}."))
        if len(set(values.values())) > 1 and not copied:
            differing[f"{section}.{name}"].update(values)


def separate_equal_labels(rows: list[Row]) -> None:
    """Add what still differs to rows of equal labels: seeds, folds, data fingerprint, code version, run folder."""
    properties: dict[str, Callable[[Row], str]] = {
        "seed": lambda row: ",".join(map(str, row.seeds)),
        "fold": lambda row: ",".join(str(fold) for fold in dict.fromkeys(run.fold for run in row.runs)),
        "data": lambda row: str(row.runs[0].identity.fingerprint)[:6],
        "code": lambda row: row.runs[0].code,
        "run": lambda row: row.runs[0].folder.name,
    }
    for name, value in properties.items():
        by_label = defaultdict(list)
        for row in rows:
            by_label[row.label].append(row)
        for same_label in by_label.values():
            if len({value(row) for row in same_label}) > 1:
                for row in same_label:
                    row.differences = {**row.differences, name: value(row)}


def differing_data(tables: list[list[Row]]) -> list[dict[str, str]]:
    """The data settings in which tables differ, short name -> value; the data's fingerprint if none does.

    Args:
        tables: the rows of each table.
    """
    settings: list[dict[str, tuple[Value, ...]]] = []
    for rows in tables:
        by_row = [row_sections(row)["data"][1] for row in rows]
        names = dict.fromkeys(name for values in by_row for name in values)
        settings.append({
            f"data.{name}": tuple(dict.fromkeys(values.get(name, "-") for values in by_row)) for name in names
        })  # fmt: skip
    all_names = dict.fromkeys(name for values in settings for name in values)
    differing = [name for name in all_names if len({values.get(name) for values in settings}) > 1]
    if not differing:
        return [{"data": str(rows[0].runs[0].identity.fingerprint)[:6]} for rows in tables]
    short, brief = shortest_unique_names(differing), {}
    for name in differing:
        distinct = list(dict.fromkeys(value for values in settings for value in values.get(name, ())))
        brief[name] = dict(zip(distinct, brief_texts(name, distinct), strict=True))
    return [
        {short[name]: " or ".join(brief[name][value] for value in values[name]) for name in differing if name in values}
        for values in settings
    ]


def row_sections(row: Row) -> dict[str, tuple[str, dict[str, Value]]]:
    """The settings of a row: section -> (the chosen option, its leaves as dotted name -> value)."""
    run = row.runs[0]
    sections: dict[str, tuple[str, dict[str, Value]]] = {}
    for section, node in run.experiment.items():
        if section == "seed":
            continue
        if not isinstance(node, dict):
            sections[section] = (value_text(node), {})
            continue
        option = run.choices.get(section) or str(node.get("_target_", "")).rpartition(".")[2] or "none"
        sections[section] = (str(option), leaf_values(node))
    # runs without this section differ from runs with it; an ensemble has only the names of its members' features
    return {"features": (str(run.choices.get("features") or "none"), {}), **sections}


def leaf_values(node: dict[str, Any], prefix: str = "") -> dict[str, Value]:
    """The leaves of a tree as dotted name -> value."""
    values: dict[str, Value] = {}
    for name, value in node.items():
        if isinstance(value, dict):
            values |= leaf_values(value, f"{prefix}{name}.")
        else:
            values[f"{prefix}{name}"] = tuple(map(str, value)) if isinstance(value, list) else value_text(value)
    return values


def value_text(value: Any) -> str:
    """The value of a setting as text."""
    return f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)


def brief_texts(name: str, values: list[Value]) -> list[str]:
    """The values of a setting as short texts: long lists as `12 columns`, with items that not all of equal length have.

    Args:
        name: the dotted setting, which names the items: `data.label_columns`.
        values: those of several rows.
    """
    noun = name.rpartition(".")[2].rpartition("_")[2]
    noun = noun if noun.endswith("s") else "values"
    lists = [value for value in values if isinstance(value, tuple)]
    texts = []
    for value in values:
        written_out = value if isinstance(value, str) else f"[{','.join(value)}]"
        if isinstance(value, str) or len(value) <= MAX_LIST_ITEMS or len(written_out) <= MAX_LIST_LENGTH:
            texts.append(shortened(written_out))
            continue
        common = set(value).intersection(*(other for other in lists if len(other) == len(value)))
        distinct = [item for item in value if item not in common]
        more = ",..." if len(distinct) > MAX_LIST_ITEMS else ""
        items = f" with {','.join(distinct[:MAX_LIST_ITEMS])}{more}" if distinct else ""
        texts.append(shortened(f"{len(value)} {noun}{items}"))
    return texts


def shortened(text: str) -> str:
    """A text cut to `MAX_VALUE_LENGTH`."""
    return text if len(text) <= MAX_VALUE_LENGTH else text[: MAX_VALUE_LENGTH - 1] + "…"


def shortest_unique_names(names: list[str]) -> dict[str, str]:
    """Shorten dotted names to their last parts, as few as keep them unique, two for `split.seed`, which is not the run's seed."""
    short: dict[str, str] = {}
    for name in names:
        parts = name.split(".")
        for n in range(2 if parts[-1] == "seed" else 1, len(parts) + 1):
            short[name] = ".".join(parts[-n:])
            if Counter(".".join(other.split(".")[-n:]) for other in names)[short[name]] == 1:
                break
    return short
