"""In what the rows of a table differ: only the settings that do, under names as short as they can be."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from musicreclass.compare.rows import Row
from musicreclass.config.science import CLIPS

LAST = 60  # characters of a value that are shown


def describe(rows: list[Row]) -> None:
    """Fill in each row's model and how it differs; the settings of a model, say, are compared among rows of that model."""
    facts = [sections(row) for row in rows]
    held: dict[str, dict[int, str]] = defaultdict(dict)  # setting -> row -> value, of the settings that differ
    for section in dict.fromkeys(name for found in facts for name in found):
        having = [i for i, found in enumerate(facts) if section in found]
        names = {i: facts[i][section][0] for i in having}
        if section != "model" and len(set(names.values())) > 1:
            held[section].update(names)
        for name in dict.fromkeys(names.values()):
            same = [i for i in having if names[i] == name]
            for leaf in dict.fromkeys(leaf for i in same for leaf in facts[i][section][1]):
                clips = section == "data" and leaf in CLIPS  # of which a table of features has none
                values = {
                    i: facts[i][section][1].get(leaf, "-") for i in same if not clips or leaf in facts[i][section][1]
                }
                taken_over = any(values == other for key, other in held.items() if not key.startswith(f"{section}."))
                if len(set(values.values())) > 1 and not taken_over:  # as a schedule's peak is the learning rate
                    held[f"{section}.{leaf}"].update(values)
    short = short_names(list(held))
    for i, row in enumerate(rows):
        row.model = facts[i]["model"][0]
        row.differs = {short[key]: values[i] for key, values in held.items() if i in values}
    tell_apart(rows)


def tell_apart(rows: list[Row]) -> None:
    """Rows that read alike get what still differs: seed, fold, code, data."""
    facts: dict[str, Any] = {
        "seed": lambda row: ",".join(map(str, row.seeds)),
        "fold": lambda row: ",".join(str(fold) for fold in dict.fromkeys(run.fold for run in row.runs)),
        "data": lambda row: row.runs[0].identity["fingerprint"][:6],
        "run": lambda row: row.runs[0].folder.name,
    }
    for name, value in facts.items():
        alike = defaultdict(list)
        for row in rows:
            alike[row.label].append(row)
        for same in alike.values():
            if len({value(row) for row in same}) > 1:
                for row in same:
                    row.differs = {**row.differs, name: value(row)}


def sections(row: Row) -> dict[str, tuple[str, dict[str, str]]]:
    """A row's settings: section -> (what was chosen for it, its leaves as dotted name -> value)."""
    run = row.runs[0]
    found: dict[str, tuple[str, dict[str, str]]] = {}
    for section, node in run.settings.items():
        if section == "seed":
            continue
        if not isinstance(node, dict):
            found[section] = (text(node), {})
            continue
        chosen = run.choices.get(section) or str(node.get("_target_", "")).rpartition(".")[2] or "none"
        found[section] = (str(chosen), leaves(node))
    return {"features": ("none", {}), **found}  # a section that not every run has, and that tells where one has it


def leaves(node: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """The leaves of a tree under dotted names, as text."""
    found: dict[str, str] = {}
    for name, value in node.items():
        if isinstance(value, dict):
            found |= leaves(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = text(value)
    return found


def text(value: Any) -> str:
    """A setting as it is shown."""
    shown = f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)
    return shown if len(shown) <= LAST else shown[: LAST - 1] + "…"


def short_names(names: list[str]) -> dict[str, str]:
    """Dotted names by their last parts, as few as tell them apart."""
    found: dict[str, str] = {}
    for name in names:
        parts = name.split(".")
        for n in range(1, len(parts) + 1):
            found[name] = ".".join(parts[-n:])
            if Counter(".".join(other.split(".")[-n:]) for other in names)[found[name]] == 1:
                break
    return found
