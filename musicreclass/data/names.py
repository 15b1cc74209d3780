"""Normal forms of artist and class names, and placeholders for unknown ones."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Any

import pandas as pd

from musicreclass.plurals import agreeing, counted

# Written in place of an unknown artist or album, in folded form. "NA" is not listed, since it is an artist's name.
UNKNOWN_NAMES = frozenset(
    ("", "-", "--", "?", "-1", "nan", "n/a", "none", "null", "<na>", "va", "v.a.", "v/a", "various", "various artists",
     "various artist", "unknown", "[unknown]", "<unknown>", "(unknown)", "unknown artist", "[unknown artist]",
     "<unknown artist>", "unknown artists", "unknown album", "[no artist]", "no artist")
)  # fmt: skip
NO_LABEL = frozenset(("", "-", "?", "nan", "na", "n/a", "#n/a", "<na>", "nat", "none", "null"))  # in folded form
FEATURED = re.compile(r"(?<=\S)\s*[(\[]?(?<!\w)(?:feat|ft|featuring)(?:\.\s*|\s+)\S.*$")
NUMBER, CODE = re.compile(r"-?\d+(\.0)?"), re.compile(r".*\d.*")
TYPICAL = 0.8  # share of the names of a vocabulary that have its form
ARTICLE = re.compile(r"^the\s+(?=\S)|(?<=\S)\s*,\s*the$")


def without_blanks(text: str) -> str:
    """Text with single blanks, none at its ends, and without invisible characters."""
    visible = "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Cc") or c.isspace())
    return " ".join(visible.split())


def fixed_point(step: Callable[[str], str], text: str) -> str:
    """Repeat a step until it changes nothing."""
    while (changed := step(text)) != text:
        text = changed
    return text


def folded(name: str) -> str:
    """A name in Unicode's NFKC form, without case, with single blanks and without invisible characters."""
    return fixed_point(lambda text: without_blanks(unicodedata.normalize("NFKC", text).casefold()), name)


def artist_key(name: str) -> str | None:
    """The normal form by which artists are compared; None for a placeholder.

    Beyond `folded`, featured artists and the article are left out: `The X feat. Y`, `X, The` and `x` are equal.
    """
    text = folded(name)
    if text in UNKNOWN_NAMES:
        return None
    short = fixed_point(lambda t: ARTICLE.sub("", FEATURED.sub("", t)).strip(), text)
    return text if short in UNKNOWN_NAMES else short


def class_key(name: str) -> str | None:
    """The normal form by which class names are compared; None if the name stands for a missing label."""
    text = folded(name)
    return None if text in NO_LABEL else fixed_point(lambda t: unicodedata.normalize("NFC", t).casefold(), tidy(name))


def tidy(name: str) -> str:
    """A class name in Unicode's NFC form, with single blanks and without invisible characters."""
    return fixed_point(lambda text: without_blanks(unicodedata.normalize("NFC", text)), name)


def spelled_alike(names: pd.Series[Any], key: Callable[[str], str | None]) -> pd.Series[Any]:
    """Each name in the most frequent spelling of its normal form, the first in alphabetical order among equals.

    Args:
        names: text, or None if unknown.
        key: a name's normal form, or None if it is a placeholder.

    Returns:
        the spellings; None for unknown names and placeholders.
    """
    counts = names.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    keys = {name: key(name) for name in counts.index}
    spelling: dict[str, str] = {}
    for name in counts.index:
        if (k := keys[name]) is not None:
            spelling.setdefault(k, name)
    result = {name: None if k is None else spelling[k] for name, k in keys.items()}
    return names.map(result).astype(object).where(lambda s: s.notna(), None)


def class_names(labels: pd.Series[Any]) -> tuple[pd.Series[Any], list[str]]:
    """Labels as class names: names that are equal in their normal form become one, placeholders become None.

    Returns:
        the class names, and a note for everything that was changed.
    """
    tidied = labels.map({name: tidy(name) for name in labels.dropna().unique()}).astype(object)
    names = spelled_alike(tidied.where(labels.notna(), None), class_key)
    missing = labels.notna() & names.isna()
    notes = []
    if missing.any():
        n, shown = int(missing.sum()), ", ".join(map(repr, sorted(labels[missing].unique())[:3]))
        outcome = agreeing(n, "this track counts", "these tracks count")
        notes.append(
            f"{counted(n, 'label is a placeholder', 'labels are placeholders')} ({shown}): {outcome} as unlabelled"
        )
    changed = labels[names.notna() & (names != labels)]
    merged = pd.DataFrame({"label": labels, "name": names}).dropna().groupby("name").label.unique()
    variants = {name: sorted(spellings) for name, spellings in merged.items() if len(spellings) > 1}
    if variants:
        shown = "; ".join(f"{', '.join(map(repr, s))} as {name!r}" for name, s in list(variants.items())[:3])
        notes.append(
            f"{counted(len(variants), 'class has', 'classes have')} several spellings, which were merged for {counted(len(changed), 'label')} ({shown})"
        )
    return names, notes + combination_notes(names)


def combination_notes(names: pd.Series[Any]) -> list[str]:
    """A note on classes that join several names, as `jazz;blues`; with a comma or slash only if each part is a class too."""
    counts = names.value_counts()
    keys = {class_key(name) for name in counts.index}
    combined = [name for name in counts.index if joins_names(name, keys)]
    if not combined:
        return []
    shown = ", ".join(map(repr, sorted(combined)[:3]))
    return [
        f"{counted(len(combined), 'class joins', 'classes join')} several names ({shown}), {counted(int(counts[combined].sum()), 'track')} in all: each combination "
        "is a class by itself; give these tracks one name each to merge them, or see docs/several_labels.md"
    ]


def joins_names(name: str, keys: set[str | None]) -> bool:
    """Whether a class name consists of several names.

    Args:
        name: of a class.
        keys: of all classes, as `class_key` returns them.
    """
    if len([part for part in re.split(r"[;|]", name) if part.strip()]) > 1:
        return True
    parts = [part for part in re.split(r"[,/+]", name) if part.strip()]
    return len(parts) > 1 and all(class_key(part) in keys for part in parts)


def artist_notes(names: pd.Series[Any]) -> list[str]:
    """Notes on artists with several spellings, and on placeholders.

    Args:
        names: the artist of each track as in the source, None if unknown.
    """
    keys = {name: artist_key(name) for name in names.dropna().unique()}
    notes = []
    placeholders = sorted(name for name, key in keys.items() if key is None)
    if placeholders:
        count = int(names.isin(placeholders).sum())
        shown = ", ".join(map(repr, placeholders[:3]))
        notes.append(
            f"{counted(count, 'track names', 'tracks name')} a placeholder as {agreeing(count, 'its', 'their')} artist ({shown}): the artist counts as unknown"
        )
    spellings = pd.Series(keys).dropna().value_counts()
    several = spellings.index[spellings > 1]
    if len(several):
        example = [name for name, key in keys.items() if key == several[0]]
        shown = ", ".join(map(repr, sorted(example)[:3]))
        notes.append(
            f"{counted(len(several), 'artist is', 'artists are')} written in several ways ({shown}): each counts as one"
        )
    return notes


def vocabulary_form(names: set[str]) -> str | None:
    """Whether names are numbers, codes that contain digits, or names; None if they are mixed, or there are none."""
    if not names:
        return None
    numbers = sum(bool(NUMBER.fullmatch(name)) for name in names) / len(names)
    digits = sum(bool(CODE.fullmatch(name)) for name in names) / len(names)
    if numbers >= TYPICAL:
        return "numbers"
    if digits >= TYPICAL:
        return "codes"
    return "names" if digits <= 1 - TYPICAL else None
