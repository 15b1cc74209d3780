"""Sets of tags as the targets of tracks, where a track may have several labels (`task=multi`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from musicreclass.errors import DataError

SEPARATOR = "|"  # between the tags of a track, where they are one text


def is_tag_set(value: Any) -> bool:
    """Whether a target is a set of tags; an empty one is that of a track without any of the tags."""
    return isinstance(value, (tuple, list, set, frozenset))


def is_missing(value: Any) -> bool:
    """Whether a target is unknown: None or NaN."""
    return value is None or (isinstance(value, float) and value != value)


def tag_sets(values: Iterable[Any]) -> pd.Series[Any]:
    """Targets as sorted tuples of tags without repetitions; None, for an unlabelled track, stays."""
    return pd.Series([tuple(sorted(set(v))) if is_tag_set(v) else None for v in values], dtype=object)


def has_tag_sets(target: Iterable[Any] | None) -> bool:
    """Whether targets are sets of tags.

    Raises:
        DataError: if only some of them are.
    """
    kinds = {is_tag_set(value) for value in (() if target is None else target) if not is_missing(value)}
    if len(kinds) > 1:
        raise DataError("target: must be either class names or sets of tags, not both", "mixed_targets", "target")
    return True in kinds


def class_numbers(target: pd.Series[Any], classes: Sequence[str]) -> np.ndarray:
    """Targets as class numbers (n,) int64, or as indicators of tags (n, C) uint8."""
    number = {name: i for i, name in enumerate(classes)}
    if not has_tag_sets(target):
        return target.map(number).to_numpy(np.int64)
    indicators = np.zeros((len(target), len(classes)), np.uint8)
    for row, tags in enumerate(target):
        indicators[row, [number[tag] for tag in tags]] = 1
    return indicators


def target_text(value: Any) -> Any:
    """A target as text: a class name, or tags with a separator; None stays."""
    return SEPARATOR.join(value) if is_tag_set(value) else value
