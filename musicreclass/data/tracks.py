"""The Tracks table, one row per recording, and the base class of the DataModules that build it."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pytorch_lightning import LightningDataModule

from musicreclass.config.settings import SPLITS
from musicreclass.data.leaks import Protocol, find_leaks
from musicreclass.data.splits import Split, assign_splits, group_of
from musicreclass.errors import DataError, DatasetNotFoundError

COLUMNS = ("track_id", "path", "target", "split", "group", "album", "duration", "checksum")


def make_tracks(track_id: Any, target: Any, **known: Any) -> pd.DataFrame:
    """A Tracks table.

    Args:
        track_id: one unique id per recording; converted to text.
        target: class names; None for a track without a label.
        known: any of the other columns (`split`, `group` for the artist, `album`, `path`, `duration` in seconds,
            `checksum` of the content); None marks an unknown value.

    Returns:
        a table with `COLUMNS`; text columns are of dtype object, with None for unknown values.

    Raises:
        DataError: if ids are not unique.
    """
    tracks = pd.DataFrame(
        {"track_id": np.asarray(track_id, dtype=object).astype(str).astype(object), "target": to_text(target)}
    )
    for column in COLUMNS:
        if column == "duration":
            tracks[column] = pd.Series(known.get(column), index=tracks.index, dtype=float)
        elif column not in tracks:
            tracks[column] = to_text(known.get(column), index=tracks.index)
    repeated = tracks.track_id[tracks.track_id.duplicated()]
    if len(repeated):
        raise duplicate_ids(repeated)
    return tracks[list(COLUMNS)]


def duplicate_ids(repeated: pd.Series[str]) -> DataError:
    """The error for ids that are not unique.

    Args:
        repeated: every occurrence of an id but its first.
    """
    return DataError(
        f"{len(repeated)} duplicate ids ({some(repeated.unique())}): ids must be unique",
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


def dataset_root(root: str | None, name: str) -> Path:
    """The folder of a dataset.

    Raises:
        DatasetNotFoundError: if none is configured.
    """
    if root is None:
        raise DatasetNotFoundError(
            f"{name}: set data.root=DIR to its folder, or MUSICRECLASS_DATA to a folder that contains {name}/",
            kind="missing_root",
            key="data.root",
        )
    return Path(root).expanduser()


def some(names: Any, limit: int = 3) -> str:
    """The first few of many names."""
    return ", ".join(map(str, names[:limit])) + (", ..." if len(names) > limit else "")


class TrackData(LightningDataModule, ABC):
    """A source of labelled tracks, split into train, valid and test.

    A subclass passes its tracks to `_use` in `setup`; everything else here derives from them.

    Attributes:
        provides: the contents of a batch: `waveform`, `table`, or both.
        dataset: the published dataset of the tracks, such as `gtzan`; empty for any other.
        tracks: the Tracks table of the tracks in use.
        classes: the class names, sorted; a class number is an index into this list.
        protocol: the split's name, and whether it leaks.
        dropped: number of tracks left out, by reason.
        notes: other facts that readers of the results need, one line each.
        needs: the splits that must not be empty; none for data that is only scored.
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
        """Split these tracks, check the splits, and look for leaks.

        Raises:
            DataError: if there are too few tracks or classes for training.
        """
        if len(tracks) == 0:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items() if count)
            raise DataError(
                f"no usable tracks are left ({reasons or 'the source is empty'})", kind="no_tracks", key="data"
            )
        self.classes = sorted(tracks.target.unique())
        if len(self.classes) < 2 and self.needs:
            raise DataError(
                f"the data contains only one class ({self.classes[0]}); at least two are needed",
                kind="one_class",
                key="data",
                value=self.classes[0],
            )
        tracks = tracks.reset_index(drop=True)
        name, tracks["split"] = assign_splits(tracks, self.split, own_split)
        self._check_splits(tracks, name, own_split)
        self.tracks = tracks
        self.protocol = find_leaks(tracks, name)
        for split in SPLITS:
            present = set(tracks.target[tracks.split == split])
            absent = sorted(set(self.classes) - present)
            if present and absent and self.needs:
                self.notes.append(f"no {split} tracks of {', '.join(absent)}: their {split} scores count as 0")

    def _check_splits(self, tracks: pd.DataFrame, name: str, own_split: str) -> None:
        for split in self.needs:
            if not (tracks.split == split).any():
                remedy = (
                    f"assign tracks to {split} in the split column"
                    if name == own_split
                    else "add tracks, choose another data/split, or increase data.split.valid"
                )
                raise DataError(
                    f"the {split} split is empty ({len(tracks)} tracks, split: {name}): {remedy}",
                    kind="empty_split",
                    key=split,
                )
        if not self.needs:
            return
        trained = set(tracks.target[tracks.split == "train"])
        if len(trained) < 2:
            raise DataError(
                f"the train split contains only one class ({some(sorted(trained))}); at least two are needed",
                kind="one_training_class",
                key="train",
                value=some(sorted(trained)),
            )
        if not trained & set(tracks.target[tracks.split == "valid"]):
            raise DataError(
                "the train and valid splits have no class in common; choose another data/split",
                kind="no_common_class",
                key="valid",
            )

    @abstractmethod
    def files(self) -> list[Path]:
        """The files and folders that were read; the fingerprint can change only if one of them does."""

    def source(self) -> str:
        """The name of the tracks' source, if the name of the chosen option does not identify it."""
        return ""

    def size(self, split: str) -> int:
        """Number of tracks of a split, or of `all`."""
        return len(self.tracks) if split == "all" else int((self.tracks.split == split).sum())

    def labels(self) -> pd.DataFrame:
        """`track_id`, `target` and `group` of every track, needed to score predictions."""
        return self.tracks.assign(group=group_of(self.tracks))[["track_id", "target", "group"]]

    def fingerprint(self) -> str:
        """A hash of everything that a model can learn from or be scored on: here, of the Tracks table."""
        digest = hashlib.sha256()
        for column in COLUMNS:
            if column not in ("path", "duration"):
                digest.update(f"{column}\0".encode())
                digest.update("\0".join("" if v is None else str(v) for v in self.tracks[column]).encode())
        return digest.hexdigest()
