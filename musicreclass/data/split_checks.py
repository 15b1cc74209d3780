"""Checks of splits: whether a model can be trained on them and scored."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from musicreclass.data.groups import group_of
from musicreclass.data.targets import each_label
from musicreclass.data.tracks import some
from musicreclass.errors import DataError
from musicreclass.evaluation.tag_sets import has_tag_sets
from musicreclass.plurals import agreeing, counted


def check_splits(
    tracks: pd.DataFrame,
    name: str,
    needs: Sequence[str],
    *,
    drawn: bool,
    needs_test: bool,
    allow_untrained_classes: bool,
    incomplete: str,
) -> None:
    """Check that the splits can be trained on and scored.

    Args:
        tracks: the Tracks table, with the split of each.
        name: of the protocol.
        needs: the splits that must not be empty; none for data that is only scored.
        drawn: whether the splits were drawn, not read from the dataset.
        needs_test: whether test must not be empty either, if artists are unknown and the protocol is `grouped`.
        allow_untrained_classes: whether classes that are scored may lack training tracks.
        incomplete: a note on what of the dataset is missing, for messages; may be empty.

    Raises:
        DataError: if a split is empty, or classes cannot be learned.
    """
    if not needs:
        return
    n_unknown = int(group_of(tracks).isna().sum()) if name == "grouped" else 0
    for split in [*needs, *(["test"] if n_unknown and needs_test else [])]:
        if not (tracks.split == split).any():
            raise empty_split(tracks, split, name, drawn, n_unknown)
    trained = set(each_label(tracks.target[tracks.split == "train"]))
    if len(trained) < (1 if has_tag_sets(tracks.target) else 2):
        raise DataError(
            f"the train split contains only one class ({some(sorted(trained))}); at least two are needed",
            kind="one_training_class",
            key="train",
            value=some(sorted(trained)),
        )
    if not trained & set(each_label(tracks.target[tracks.split == "valid"])):
        raise DataError(
            "the train and valid splits have no class in common; choose another data/split",
            kind="no_common_class",
            key="valid",
        )
    untrained = sorted(set(each_label(tracks.target)) - trained)
    if untrained and not allow_untrained_classes:
        raise untrained_classes(tracks, untrained, drawn, incomplete)


def empty_split(tracks: pd.DataFrame, split: str, name: str, drawn: bool, n_unknown: int) -> DataError:
    """The error for a split without tracks; `n_unknown` counts the tracks that `grouped` must put into train."""
    if n_unknown:
        return DataError(
            f"the {split} split is empty: data/split=grouped scores tracks of known artists only, and the artist "
            f"of {n_unknown} of {counted(len(tracks), 'track')} is unknown; name more artists, or use data/split=random",
            kind="too_few_artists",
            key=split,
            value=n_unknown,
        )
    remedy = f"assign tracks to {split} in the split column"
    if drawn:
        remedy = "add tracks, choose another data/split, or increase data.split.valid"
    return DataError(
        f"the {split} split is empty ({counted(len(tracks), 'track')}, split: {name}): {remedy}",
        kind="empty_split",
        key=split,
    )


def untrained_classes(tracks: pd.DataFrame, untrained: list[str], drawn: bool, incomplete: str) -> DataError:
    """The error for classes without training tracks."""
    has_groups = group_of(tracks).notna().any()
    remedy = f"data/split={'grouped' if has_groups else 'random'} splits the {counted(len(tracks), 'track')} anew"
    if drawn:
        remedy = "data.min_class_tracks=N leaves out small classes"
    prefix = f"{incomplete}; " if incomplete else ""
    return DataError(
        f"{prefix}{len(untrained)} of {counted(each_label(tracks.target).nunique(), 'class')} {agreeing(len(untrained), 'has', 'have')} no training track ({some(untrained, 6)}), so "
        f"no model can predict them: {remedy}, or train all the same with allow_untrained_classes=true",
        kind="untrained_classes",
        key="train",
        value=len(untrained),
        suggestion="allow_untrained_classes=true",
    )
