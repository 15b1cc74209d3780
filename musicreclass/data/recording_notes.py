"""What readers of the results need to know about the recordings: bad files, copies, and levels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from musicreclass.data.audio.header import REMEDIES
from musicreclass.data.tracks import some
from musicreclass.evaluation.tag_sets import target_text
from musicreclass.plurals import counted

SHOWN = 3  # bad files that messages name
LEVELS = {
    "silent": (
        "track is silent, or its channels cancel each other",
        "tracks are silent, or their channels cancel each other",
    ),
    "clipped": tuple(
        f"{subject} clipped: more than 1 % of the samples are at full scale" for subject in ("track is", "tracks are")
    ),
}


def named_bad_files(tracks: pd.DataFrame, bad: Mapping[int, str], details: Mapping[str, str]) -> str:
    """The first of the files that cannot be used, each with the reason and a remedy or details.

    Args:
        tracks: the Tracks table of all recordings.
        bad: the reason by row.
        details: of reasons, by path.
    """
    hints = [REMEDIES.get(reason) or details.get(tracks.path[i]) for i, reason in bad.items()]
    lines = [f"{tracks.path[i]}: {reason}" + (f" ({hint})" if hint else "")
             for (i, reason), hint in zip(bad.items(), hints, strict=True)]  # fmt: skip
    return some(lines, SHOWN)


def bad_file_counts(bad: Mapping[int, str]) -> dict[str, int]:
    """Numbers of files that cannot be used, by reason, as in `TrackData.dropped`."""
    return {f"with a bad file: {reason}": count for reason, count in Counter(bad.values()).items()}


def level_notes(tracks: pd.DataFrame, recording: np.ndarray, levels: Mapping[int, str]) -> list[str]:
    """A line on the tracks from which little can be learned: silent ones, and clipped ones.

    Args:
        tracks: the Tracks table.
        recording: the index of each track in `levels`.
        levels: `silent` or `clipped`.
    """
    notes = []
    for level, reason in LEVELS.items():
        rows = [row for row, i in enumerate(recording) if levels.get(int(i)) == level]
        if rows:
            notes.append(f"{counted(len(rows), *reason)} ({some(tracks.track_id.iloc[rows].tolist())})")
    return notes


def copy_notes(tracks: pd.DataFrame) -> tuple[list[str], str | None]:
    """Which recordings are there twice, and which may be.

    Args:
        tracks: the Tracks table, with splits.

    Returns:
        a line about each kind, and that on files of one name if such files are in several splits, else None.
    """
    notes = []
    copies = tracks[tracks.checksum.notna() & tracks.checksum.duplicated()]
    if len(copies):
        notes.append(
            f"{counted(len(copies), 'file has', 'files have')} the same sound as others, byte by byte or sample by sample "
            f"({some(copies.track_id.tolist())}): a drawn split keeps copies together"
        )
    targets = tracks.target.map(target_text).groupby(tracks.checksum).transform("nunique")
    several = tracks[targets > 1].sort_values("checksum", kind="stable")
    if len(several):
        notes.append(
            f"{counted(several.checksum.nunique(), 'recording is', 'recordings are')} in several genres ({some(several.track_id.tolist(), 4)})"
        )
    stem = tracks.path.map(lambda path: str(Path(path).with_suffix("")))
    twins = tracks.groupby(stem).split.agg(["size", "nunique"])
    twins = twins[twins["size"] > 1]
    if not len(twins):
        return notes, None
    divided = int((twins["nunique"] > 1).sum())
    names = some([Path(name).name for name in twins.index])
    text = f"{counted(len(twins), 'name has', 'names have')} several files that differ in the ending ({names}), {divided} of them in several splits"
    return [*notes, text], text if divided else None
