"""The Tracks table, one row per recording, and the DataModule base that every source of tracks builds it for."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pytorch_lightning import LightningDataModule

from musicreclass.config.schema import SPLITS
from musicreclass.data.leaks import Protocol, find_leaks
from musicreclass.data.splits import Split, assign_splits, group_of
from musicreclass.errors import DataError, DatasetNotFoundError

COLUMNS = ("track_id", "path", "target", "split", "group", "album", "duration", "checksum")


def make_tracks(track_id: Any, target: Any, **known: Any) -> pd.DataFrame:
    """A Tracks table.

    Args:
        track_id: one unique id per recording; becomes text.
        target: class names; None where a track has no label.
        known: any of the other columns (`split`, `group` for the artist, `album`, `path`, `duration` in seconds,
            `checksum` of the content); None marks an unknown value.

    Returns:
        All of `COLUMNS`, text columns as objects with None for what is unknown.

    Raises:
        DataError: if an id stands twice.
    """
    tracks = pd.DataFrame(
        {"track_id": np.asarray(track_id, dtype=object).astype(str).astype(object), "target": text(target)}
    )
    for column in COLUMNS:
        if column == "duration":
            tracks[column] = pd.Series(known.get(column), index=tracks.index, dtype=float)
        elif column not in tracks:
            tracks[column] = text(known.get(column), index=tracks.index)
    twice = tracks.track_id[tracks.track_id.duplicated()]
    if len(twice):
        raise DataError(f"{len(twice)} duplicate ids ({some(twice.unique())}): an id names one track")
    return tracks[list(COLUMNS)]


def text(values: Any, index: Any = None) -> pd.Series[Any]:
    """Values as text, None where they are missing or blank."""
    unlabelled = values if values is None or isinstance(values, str) else np.asarray(values, dtype=object)
    series = pd.Series(
        unlabelled, index=index, dtype=object
    )  # by place: a Series of values would be matched by its index
    missing = series.isna()
    series = series.map(lambda value: str(value).strip(), na_action="ignore").astype(object)
    return series.where(~missing & (series != ""), None)


def dataset_root(root: str | None, name: str) -> Path:
    """The folder of a dataset.

    Raises:
        DatasetNotFoundError: if none was named.
    """
    if root is None:
        raise DatasetNotFoundError(
            f"{name}: say where it is: data.root=DIR, or MUSICRECLASS_DATA for a folder that holds {name}/"
        )
    return Path(root).expanduser()


def some(names: Any, most: int = 3) -> str:
    """The first few of many names."""
    return ", ".join(map(str, names[:most])) + (", ..." if len(names) > most else "")


class TrackData(LightningDataModule, ABC):
    """A source of labelled tracks, split into train, valid and test.

    A subclass gives its tracks in `setup` by calling `_use`; everything else here follows from them.

    Attributes:
        provides: what a batch holds: `waveform`, `table`, or both.
        dataset: the published dataset that the tracks come from, as `gtzan`; empty for any other.
        tracks: the Tracks table of the tracks in use.
        classes: the class names, sorted; a target's number is its place here.
        protocol: the split's name, and whether it leaks.
        dropped: how many tracks were left out, by reason.
        notes: what else a reader of the results should know, a line each.
        needs: the splits that must have tracks; none of them for data that is only scored.
    """

    provides: tuple[str, ...] = ()
    dataset = ""

    def __init__(self, split: dict[str, Any]) -> None:
        super().__init__()
        self.split = Split(**split)
        self.tracks = make_tracks([], [])
        self.classes: list[str] = []
        self.protocol = Protocol(split=self.split.protocol, leaky="unknown", why=[])
        self.dropped: dict[str, int] = {}
        self.notes: list[str] = []
        self.needs: tuple[str, ...] = ("train", "valid")

    def _use(self, tracks: pd.DataFrame, own_split: str = "column") -> None:
        """Split these tracks, look for leaks, and refuse what nothing can be learned from."""
        if len(tracks) == 0:
            raise DataError(f"no usable tracks are left ({self._dropped_words() or 'the source is empty'})")
        self.classes = sorted(tracks.target.unique())
        if len(self.classes) < 2 and self.needs:
            raise DataError(f"every track is of one class ({self.classes[0]}): a classifier needs two or more")
        tracks = tracks.reset_index(drop=True)
        name, tracks["split"] = assign_splits(tracks, self.split, own_split)
        for part in self.needs:
            if not (tracks.split == part).any():
                remedy = (
                    f"the split column must give some to {part}"
                    if name == own_split
                    else "give more tracks, another data/split, or a larger data.split.valid"
                )
                raise DataError(f"the {part} split is empty ({len(tracks)} tracks, split: {name}): {remedy}")
        if self.needs:
            learned = set(tracks.target[tracks.split == "train"])
            if len(learned) < 2:
                raise DataError(
                    f"the train split holds one class alone ({some(sorted(learned))}): nothing can be told apart"
                )
            if not learned & set(tracks.target[tracks.split == "valid"]):
                raise DataError("no class of the valid split has a training track: validation cannot say anything")
        self.tracks = tracks
        self.protocol = find_leaks(tracks, name)
        for part in SPLITS:
            here = tracks.target[tracks.split == part]
            absent = sorted(set(self.classes) - set(here))
            if len(here) and absent and self.needs:
                self.notes.append(f"no {part} tracks of {', '.join(absent)}: their {part} scores count as 0")

    def _dropped_words(self) -> str:
        return ", ".join(f"{count} {reason}" for reason, count in self.dropped.items() if count)

    @abstractmethod
    def files(self) -> list[Path]:
        """The files and folders that were read: while none of them changes, neither does the fingerprint."""

    def source(self) -> str:
        """A name for where the tracks come from, where the chosen option's does not say it."""
        return ""

    def size(self, split: str) -> int:
        """How many tracks a split has; `all` counts every one."""
        return len(self.tracks) if split == "all" else int((self.tracks.split == split).sum())

    def labels(self) -> pd.DataFrame:
        """`track_id`, `target` and `group` of every track: what predictions are scored by."""
        return self.tracks.assign(group=group_of(self.tracks))[["track_id", "target", "group"]]

    def fingerprint(self) -> str:
        """A hash of everything a model could learn from or be scored on: here, of the Tracks table."""
        digest = hashlib.sha256()
        for column in COLUMNS:
            if column not in ("path", "duration"):
                digest.update(f"{column}\0".encode())
                digest.update("\0".join("" if v is None else str(v) for v in self.tracks[column]).encode())
        return digest.hexdigest()
