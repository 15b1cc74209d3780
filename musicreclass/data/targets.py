"""Class names and sets of tags as the targets of tracks: read, tidied and counted."""

from __future__ import annotations

from typing import Any

import pandas as pd

from musicreclass.data.names import class_names
from musicreclass.evaluation.tag_sets import has_tag_sets, tag_sets
from musicreclass.plurals import agreeing, counted


def split_tags(texts: pd.Series[Any], separator: str) -> pd.Series[Any]:
    """Texts such as `rock|guitar` as sets of tags; None for a missing text.

    Args:
        texts: None if missing.
        separator: between tags; blanks around a tag are ignored.
    """
    sets = [None if text is None else [tag.strip() for tag in str(text).split(separator)] for text in texts]
    return tag_sets(None if tags is None else [tag for tag in tags if tag] for tags in sets).set_axis(texts.index)


def each_label(target: pd.Series[Any]) -> pd.Series[Any]:
    """The class names of all tracks; the index repeats that of a track with several tags, and lacks that of one without."""
    return target.explode().dropna()


def has_label(target: pd.Series[Any], name: str) -> pd.Series[bool]:
    """Which tracks are of a class, or have a tag."""
    if not has_tag_sets(target):
        return target == name
    return target.map(lambda tags: tags is not None and name in tags).astype(bool)


def named_alike(target: pd.Series[Any]) -> tuple[pd.Series[Any], list[str]]:
    """Targets with class names or tags that are equal in their normal form as one; see `class_names`.

    Returns:
        the targets, and a note for everything that was changed.
    """
    if not has_tag_sets(target):
        return class_names(target)
    names, notes = class_names(target.explode().reset_index(drop=True).astype(object))
    return regrouped(names, target), notes


def regrouped(names: pd.Series[Any], target: pd.Series[Any]) -> pd.Series[Any]:
    """Sets of tags from the tags of `target.explode()` in another form; those that are None are left out."""
    rows = target.reset_index(drop=True).explode().index
    by_row = names.set_axis(rows).dropna().groupby(level=0).agg(list).to_dict()
    sets = [None if value is None else by_row.get(row, []) for row, value in enumerate(target)]
    return tag_sets(sets).set_axis(target.index)


def without_labels(target: pd.Series[Any], left_out: set[str]) -> pd.Series[Any]:
    """Targets without some classes: None for a track of such a class, sets of tags without such tags."""
    if not has_tag_sets(target):
        return target.where(~target.isin(left_out), None)
    return tag_sets(None if tags is None else set(tags) - left_out for tags in target).set_axis(target.index)


def small_tags_note(small: set[str], limit: int) -> str:
    """A note on tags that are left out because they have too few tracks."""
    shown = ", ".join(sorted(small)[:6]) + (", ..." if len(small) > 6 else "")
    return f"{counted(len(small), 'tag')} with fewer than {limit} tracks {agreeing(len(small), 'was', 'were')} left out ({shown}); their tracks remain"


def main_labels(target: pd.Series[Any]) -> pd.Series[Any]:
    """The class of each track, or the most frequent one of its tags; None for a track without tags."""
    if not has_tag_sets(target):
        return target
    counts = each_label(target).value_counts()
    return target.map(lambda tags: max(tags, key=lambda tag: int(counts[tag])) if tags else None).astype(object)
