"""Segments of recordings, recognised by ids such as `blues.00000.0.wav`, `blues.00000.1.wav`."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from musicreclass.evaluation.tag_sets import target_text

MIN_STEMS = 5  # recordings with several segments
MIN_STEMS_PER_CLASS = 2  # `blues.00042` is the name of a class with a number
MAX_SEGMENTS = 60  # per recording, on average
MIN_SHARE = 0.2  # of the tracks
MIN_NUMBERED = (
    0.8  # share of the recordings whose segments are numbered from 0 or 1, with at most every second one missing
)
YEAR = re.compile(r"(?:19|20)\d\d")  # `1999-37` is a place in a chart
SUFFIX = re.compile(
    r"^(?P<stem>.*[^\W_].*?)[ ._-]+\(?(?:(?:seg|segment|part|pt|chunk|clip|crop|slice|split|excerpt|window|win|frame|s|p)[ ._-]*)?"
    r"(?P<number>\d{1,6})\)?$",
    re.IGNORECASE,
)
RANGE = re.compile(r"^(?P<stem>.*[^\W_].*?)[ ._-]+(?P<start>\d+(?:\.\d+)?)[ _-]+(?P<end>\d+(?:\.\d+)?)$")
EXTENSION = re.compile(r"\.(?:wav|mp3|au|flac|ogg|opus|m4a|aiff?|npy|wma|aac)$", re.IGNORECASE)


def segment_stems(tracks: pd.DataFrame) -> pd.Series[Any]:
    """The recording of each track that is a segment of one; None for others.

    The ids are those of segments if many of them are a stem with a number, each stem has segments that are numbered
    from 0 or 1 (or name a range of seconds of one length), and there are more stems than a numbering within classes has.

    Args:
        tracks: a Tracks table.
    """
    ids = tracks.track_id.str.replace(EXTENSION, "", regex=True)
    for stems in (_by_number(ids), _by_range(ids)):
        sizes = stems.value_counts()
        several = sizes[sizes > 1]
        many = len(several) >= max(MIN_STEMS, MIN_STEMS_PER_CLASS * tracks.target.map(target_text).nunique() + 1)
        if many and several.mean() <= MAX_SEGMENTS and several.sum() >= MIN_SHARE * len(tracks):
            return stems.where(stems.isin(several.index), None)
    return pd.Series(None, index=tracks.index, dtype=object)


def _by_number(ids: pd.Series[str]) -> pd.Series[Any]:
    """The stem of each id that ends with the number of a segment; all None if these are not numbered from 0 or 1."""
    parts = ids.str.extract(SUFFIX)
    numbers = parts.number.dropna().astype(int).groupby(parts.stem)
    sizes = numbers.size()
    several = sizes > 1
    if not several.any():
        return pd.Series(None, index=ids.index, dtype=object)
    numbered = (numbers.min() <= 1) & (numbers.max() < 2 * sizes) & (numbers.nunique() == sizes)
    years = numbered.index.str.fullmatch(YEAR)
    if numbered[several].mean() < MIN_NUMBERED or years.all():
        return pd.Series(None, index=ids.index, dtype=object)
    return parts.stem.astype(object).where(parts.stem.notna(), None)


def _by_range(ids: pd.Series[str]) -> pd.Series[Any]:
    """The stem of each id that ends with a range of seconds, such as `song-59-88`; all None if these differ in length."""
    parts = ids.str.extract(RANGE)
    lengths = (parts.end.astype(float) - parts.start.astype(float)).round(2).dropna()
    if not len(lengths) or lengths.median() <= 0 or np.mean(np.isclose(lengths, lengths.median())) < MIN_NUMBERED:
        return pd.Series(None, index=ids.index, dtype=object)
    return parts.stem.astype(object).where(parts.stem.notna(), None)
