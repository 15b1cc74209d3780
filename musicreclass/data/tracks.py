"""The Tracks table, one row per recording: how it is built and checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from musicreclass.config.messages import nearest, suggestion
from musicreclass.errors import DataError
from musicreclass.evaluation.tag_sets import has_tag_sets, tag_sets
from musicreclass.plurals import counted

COLUMNS = ("track_id", "path", "target", "split", "group", "album", "duration", "checksum", "content")
SYNONYMS = {"artist": "group", "label": "target", "genre": "target", "fold": "split"}  # to suggest a column


def make_tracks(track_id: Any, target: Any, **metadata: Any) -> pd.DataFrame:
    """A Tracks table.

    Args:
        track_id: one unique id per recording; converted to text.
        target: class names, or sets of tags; None for a track without a label.
        metadata: any of the other columns (`split`, `group` for the artist, `album`, `path`, `duration` in seconds,
            `checksum` of the file, `content` for a digest of the sound in it); None marks an unknown value, or an unknown column.

    Returns:
        a table with `COLUMNS`; text columns are of dtype object, with None for unknown values.

    Raises:
        DataError: if ids are not unique, a column does not exist, or columns differ in length.
    """
    check_columns({"target": target, **metadata}, len(track_id))
    tracks = pd.DataFrame(
        {"track_id": np.asarray(track_id, dtype=object).astype(str).astype(object), "target": as_targets(target)}
    )
    for column in COLUMNS:
        if column == "duration":
            tracks[column] = pd.Series(metadata.get(column), index=tracks.index, dtype=float)
        elif column not in tracks:
            tracks[column] = to_text(metadata.get(column), index=tracks.index)
    repeated = tracks.track_id[tracks.track_id.duplicated()]
    if len(repeated):
        raise duplicate_ids(repeated)
    return tracks[list(COLUMNS)]


def unify_copies(tracks: pd.DataFrame) -> pd.DataFrame:
    """Tracks with the checksum of the first one for all with the same sound, so that copies have equal checksums."""
    if "content" not in tracks:
        return tracks
    has_content = tracks.content.notna() & tracks.checksum.notna()
    first = tracks[has_content].drop_duplicates("content").set_index("content").checksum
    return tracks.assign(checksum=tracks.content.map(first).where(has_content, tracks.checksum).astype(object))


def check_columns(
    columns: dict[str, Any], n: int, unit: str = "there are {} track ids", allowed: tuple[str, ...] = COLUMNS
) -> None:
    """Check columns that are meant for the Tracks table.

    Args:
        columns: values by the name of their column; None for an unknown one.
        n: the number of values that each must have.
        unit: what there are n of, as text with {} for n.
        allowed: the names that columns may have.

    Raises:
        DataError: if a column has another name or another length.
    """
    for name, values in columns.items():
        if name not in allowed:
            similar = SYNONYMS.get(name, name)
            raise DataError(
                f"{name}: not a column of the Tracks table; {nearest(similar, allowed)}",
                kind="unknown_column",
                key=name,
                suggestion=suggestion(similar, allowed),
            )
        is_list = hasattr(values, "__len__") and not isinstance(values, str)
        if values is not None and not (is_list and len(values) == n):
            count = f"{counted(len(values), 'value')}" if is_list else f"no list, but {values!r:.40}"
            raise DataError(f"{unit.format(n)}, {name} has {count}", kind="wrong_length", key=name)


def duplicate_ids(repeated: pd.Series[str]) -> DataError:
    """The error for ids that are not unique.

    Args:
        repeated: every occurrence of an id but its first.
    """
    return DataError(
        f"{counted(len(repeated), 'duplicate id')} ({some(repeated.unique())}): ids must be unique",
        kind="duplicate_ids",
        key="track_id",
        value=len(repeated),
    )


def to_text(values: Any, index: Any = None) -> pd.Series[Any]:
    """Values as text, None if missing or blank."""
    # an array, since pandas would align the index of a Series
    unindexed = values if values is None or isinstance(values, str) else np.asarray(values, dtype=object)
    series = pd.Series(unindexed, index=index, dtype=object)
    missing = series.isna()
    series = series.map(lambda value: str(value).strip(), na_action="ignore").astype(object)
    return series.where(~missing & (series != ""), None)


def as_targets(values: Any) -> pd.Series[Any]:
    """Targets as they are in the Tracks table: class names as text, or sets of tags as sorted tuples; None if missing."""
    return tag_sets(values) if has_tag_sets(values) else to_text(values)


def chosen(values: Any, rows: np.ndarray) -> list[Any] | None:
    """The values of some rows; None for an unknown column."""
    return None if values is None else pd.Series(values, dtype=object).iloc[rows].tolist()


def some(names: Any, limit: int = 3) -> str:
    """The first few of many names."""
    return ", ".join(map(str, names[:limit])) + (", ..." if len(names) > limit else "")
