"""The Million Song Dataset (Bertin-Mahieux et al., ISMIR 2011): features from its HDF5 files, genres from tagtraum's annotations.

The annotations are those of Hendrik Schreiber, "Improving genre annotations for the Million Song Dataset" (ISMIR 2015):
https://www.tagtraum.com/msd_genre_datasets.html. They name a majority genre and for some tracks a minority genre.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musicreclass.data.dataset_folder import below, contents, dataset_root
from musicreclass.data.sources.blocks import Block, load_blocks
from musicreclass.data.sources.msd_song import COLUMNS, VERSION, MissingAnalysis, Song, read_song
from musicreclass.data.table_source import FeatureTable, TableSource
from musicreclass.errors import DataError, DatasetNotFoundError
from musicreclass.plurals import counted
from musicreclass.storage.damage import raise_if_not_damage
from musicreclass.storage.store import Store

LABEL_FILES = ("msd_tagtraum_cd1.cls", "msd_tagtraum_cd2c.cls", "msd_tagtraum_cd2.cls")
LABEL_FOLDERS = (".", "Misc", "MSD", "MSD/Misc")
BLOCK = 1000  # files after which an interrupted reading is resumed
TRACK_DIGITS = 18  # of a track's id, TRAAAAW128F429D538


class MSDFeatures(TableSource):
    """Tempo, loudness, duration, key, mode, and statistics of timbre and pitch of each labelled track.

    Args:
        root: the dataset folder; HDF5 files are searched at any depth below it.
        split: `grouped` by artist, `random`, or `folds`.
        store: folder of the store, in which the features are kept.
        labels: tagtraum's file of genres; by default the first of `LABEL_FILES` in the dataset folder.
        minority: what happens to tracks with a minority genre: `keep` (with the majority genre) or `drop`.
        policies: as in `TableSource`.
    """

    def __init__(
        self,
        root: str | None,
        split: dict[str, Any],
        store: str,
        labels: str | None = None,
        minority: str = "keep",
        **policies: Any,
    ) -> None:
        super().__init__(split, **policies)
        self.root = root
        self.store = Store(Path(store).expanduser())
        self.labels_path = labels
        self.minority = minority

    def files(self) -> list[Path]:
        """The file of genres, and the HDF5 file of each track in it."""
        genres = find_labels(self.root, self.labels_path)
        return [genres, *labelled_songs(find_songs(self.root), read_labels(genres).index).values()]

    def read(self) -> FeatureTable:
        """The labelled tracks whose HDF5 file exists.

        Raises:
            DatasetNotFoundError: if there are no HDF5 files, or no labels.
            DataError: if the labels cannot be read, or h5py is not installed.
        """
        labels = read_labels(find_labels(self.root, self.labels_path))
        songs = find_songs(self.root)
        paths = labelled_songs(songs, labels.index)
        if not paths:
            line = f"MSD: none of the {len(songs)} HDF5 files has a label in {find_labels(self.root, self.labels_path)}"
            raise DataError(line, "no_tracks", "data.labels")
        frame = load_songs(paths, self.store)
        usable = frame.error == ""
        reasons = frame.error[~usable].value_counts()
        frame, labels = frame[usable], labels.loc[frame.index[usable]]
        has_minority = labels.minority.notna().to_numpy()
        dropped = {"without a label": len(songs) - len(paths), **{str(k): int(n) for k, n in reasons.items()}}
        if self.minority == "drop":
            dropped["with a minority genre"] = int(has_minority.sum())
            frame, labels = frame[~has_minority], labels[~has_minority]
        notes = [
            f"{len(paths)} of {len(songs)} HDF5 files have a genre; danceability and energy are not used: they are 0 throughout"
        ]
        if self.minority == "keep" and has_minority.any():
            notes.append(
                f"{counted(has_minority.sum(), 'track has', 'tracks have')} a minority genre too, which is not used; data.minority=drop leaves them out"
            )
        return FeatureTable(
            track_id=frame.index,
            target=labels.genre,
            x=frame[list(COLUMNS)].to_numpy(np.float32, copy=True),
            columns=list(COLUMNS),
            metadata={"group": frame.artist, "album": frame.release, "duration": frame.duration},
            artist_names=frame.artist_name,
            dropped=dropped,
            notes=notes,
        )


def find_labels(root: str | None, labels: str | None) -> Path:
    """The file of genres.

    Raises:
        DatasetNotFoundError: if it does not exist.
    """
    base = dataset_root(root, "MSD")
    candidates = (
        [Path(labels).expanduser()] if labels else [base / f / name for name in LABEL_FILES for f in LABEL_FOLDERS]
    )
    for path in candidates:
        if path.is_file():
            return path
    searched = str(candidates[0]) if labels else ", ".join(LABEL_FILES)
    raise DatasetNotFoundError(
        f"MSD: no genres in {base} (searched {searched}); download msd_tagtraum_cd1.cls from "
        "https://www.tagtraum.com/msd_genre_datasets.html into this folder, or set data.labels=FILE",
        kind="missing_labels",
        key="data.labels",
    )


def read_labels(path: Path) -> pd.DataFrame:
    """`genre` and `minority` (None if there is none) by track id, from lines `TRACKID<tab>genre[<tab>minority genre]`.

    Raises:
        DataError: if a line has another form, or a track two genres.
    """
    rows: dict[str, tuple[str, str | None]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        track, *genres = (field.strip() for field in line.split("\t"))
        if len(track) != TRACK_DIGITS or not 1 <= len(genres) <= 2 or not genres[0]:
            message = f"{path}: line {number} is not TRACKID, genre and optional minority genre, separated by tabs ({line!r:.60})"
            raise DataError(message, "unreadable", path, number)
        minority = genres[1] if len(genres) > 1 and genres[1] else None
        if rows.setdefault(track, (genres[0], minority)) != (genres[0], minority):
            raise DataError(
                f"{path}: line {number}: {track} has another genre in an earlier line", "duplicate_track", path
            )
    if not rows:
        raise DataError(f"{path}: contains no genres", "empty_file", path)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["genre", "minority"], dtype=object)


def find_songs(root: str | None) -> dict[str, Path]:
    """Each HDF5 file by the id of its track, which is its name.

    Raises:
        DatasetNotFoundError: if there are none.
    """
    base = dataset_root(root, "MSD")
    inside = below(base, "MSD")
    base = inside if inside.is_dir() else base
    songs: dict[str, Path] = {}
    for folder, folders, names in os.walk(base):
        folders.sort()
        songs |= {name[:-3]: Path(folder, name) for name in sorted(names) if is_song(name)}
    if songs:
        return songs
    raise DatasetNotFoundError(
        f"MSD: no HDF5 files such as A/A/A/TRAAAAW128F429D538.h5 below {base} ({contents(base)}); see http://millionsongdataset.com",
        kind="missing_songs",
        key=base,
    )


def is_song(name: str) -> bool:
    """Whether a file is named as the HDF5 file of a track."""
    return name.startswith("TR") and name.endswith(".h5") and len(name) == TRACK_DIGITS + 3


def labelled_songs(songs: dict[str, Path], tracks: pd.Index) -> dict[str, Path]:
    """The HDF5 file of each labelled track, sorted by id."""
    return {track: songs[track] for track in sorted(songs.keys() & set(tracks))}


def load_songs(paths: dict[str, Path], store: Store) -> pd.DataFrame:
    """The features of many HDF5 files by track id, with `artist`, `artist_name`, `release` and `error`; read once, and resumed.

    Raises:
        DataError: if h5py is not installed, or the store cannot be written.
    """
    return load_blocks("msd-features", "HDF5", paths, frame_of, store, VERSION, BLOCK)


def frame_of(block: Block) -> pd.DataFrame:
    """The rows of some files; those of files that cannot be used have an `error` and no features."""
    rows: dict[str, Song] = {}
    for track, path in block:
        try:
            rows[track] = read_song(path)
        except MissingAnalysis:
            rows[track] = Song.unusable("without an analysis")
        except OSError as error:
            raise_if_not_damage(path, error)
            rows[track] = Song.unusable("with an unreadable HDF5 file")
    frame = pd.DataFrame(
        [song.features for song in rows.values()], index=list(rows), columns=list(COLUMNS), dtype=np.float32
    )
    texts = {
        name: [getattr(song, name) for song in rows.values()] for name in ("artist", "artist_name", "release", "error")
    }
    return frame.assign(**{name: pd.Series(values, index=frame.index, dtype=object) for name, values in texts.items()})
