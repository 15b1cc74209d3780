"""GTZAN (Tzanetakis and Cook, 2002): its clips, the feature tables distributed with it, its artists and its faulty files.

gtzan_index.csv in this folder contains facts, not audio: the artists are from Bob L. Sturm's index of the dataset ("The GTZAN
dataset: its contents, its faults, their effects on evaluation, and its future use", arXiv:1306.1461), the fault-filtered lists
from Kereliuk, Sturm and Larsen ("Deep learning and music adversaries", 2015), as in torchaudio.datasets.gtzan.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musicreclass.data.dataset_folder import WRONG_ROOT, below, contents, dataset_root, is_absent, wrong_root
from musicreclass.data.recording_files import Recordings
from musicreclass.data.recordings import AudioData
from musicreclass.data.sources.table_file import read_frame
from musicreclass.data.splits import artist_folds
from musicreclass.data.table_source import FeatureTable, TableSource
from musicreclass.data.tracks import make_tracks
from musicreclass.errors import DataError, DatasetNotFoundError
from musicreclass.plurals import counted

TABLES = {30: "features_30_sec.csv", 3: "features_3_sec.csv"}
TABLE_PAGE = "https://www.kaggle.com/datasets/andradaolteanu/gtzan-dataset-music-genre-classification"
TABLE_FOLDERS = ("Data", ".", "GTZAN/Data")
AUDIO_FOLDERS = ("genres_original", "genres", "Data/genres_original", "Data/genres", "GTZAN/Data/genres_original", "GTZAN/genres_original",
                 "GTZAN/genres", "Data", "GTZAN/Data", "gtzan/genres_original", "gtzan/genres", "GTZAN", "gtzan", ".")  # fmt: skip
GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
FILE_NAME = re.compile(r"^(?P<track>[a-z]+\.\d{5})(?:\.(?P<segment>\d+))?(?:\.(?:wav|au|mp3))?$", re.IGNORECASE)
# The index names no artist for 81 of the 1000 clips, up to 12.8 % of a split of the fault-filtered lists. The artists of these
# clips could not be identified by listeners; the lists were made so that no artist is repeated, as far as is known.
MAX_UNKNOWN_ARTISTS = 0.15
MAX_FOLDS = 9
FAULTY_CLIPS = {"jazz.00054": "damaged in the WAV files on Kaggle"}
PROTOCOLS = ("fault_filtered", "artist_folds")


def load_index() -> pd.DataFrame:
    """`artist` and `fault_filtered` (train, valid, test) by track (`blues.00000`); None if unknown or not in the lists."""
    frame = pd.read_csv(Path(__file__).with_name("gtzan_index.csv"), dtype=object, keep_default_na=False)
    return frame.set_index("track").replace({"": None})


def gtzan_splits(tracks: list[str], protocol: str, fold: int, folds: int, seed: int) -> list[str | None]:
    """The split of each track under one of GTZAN's protocols; None for tracks that it leaves out.

    Args:
        tracks: names such as `blues.00000`.
        protocol: `fault_filtered` or `artist_folds`.
        fold: the test fold; the next one is for validation.
        folds: number of folds; with more than 9, some would lack blues, which has 9 artists.
        seed: of the folds.

    Raises:
        DataError: if there is no such fold.
    """
    index = load_index()
    if protocol == "fault_filtered":
        splits: pd.Series[Any] = index.fault_filtered
    else:
        if not 0 <= fold < folds:
            raise DataError(
                f"data.fold={fold}: must be from 0 to {folds - 1} (data.split.folds={folds})",
                kind="invalid_fold",
                key="data.fold",
                value=fold,
            )
        if folds > MAX_FOLDS:
            raise DataError(
                f"data.split.folds={folds}: at most {MAX_FOLDS} for artist_folds, since blues has {MAX_FOLDS} artists",
                kind="invalid_fold",
                key="data.split.folds",
                value=folds,
            )
        dataset = make_tracks(index.index, index.index.str.split(".").str[0], group=index.artist)
        offset = (artist_folds(dataset, folds, seed) - fold) % folds
        splits = offset.map({0: "test", 1: "valid"}).fillna("train").set_axis(index.index)
    return splits.reindex(tracks).astype(object).where(lambda s: s.notna(), None).tolist()


def incomplete_lists(tracks: Iterable[str], protocol: str) -> str:
    """A note if some of the clips that a protocol uses are not there; empty if all are."""
    index = load_index()
    listed = index.index[index.fault_filtered.notna()] if protocol == "fault_filtered" else index.index
    available = len(set(tracks) & set(listed))
    lists = "the fault-filtered lists" if protocol == "fault_filtered" else "GTZAN"
    return (
        "" if available == len(listed) else f"{available} of the {counted(len(listed), 'clip')} of {lists} were found"
    )


class GTZANFeatures(TableSource):
    """The feature table distributed with the audio, of whole clips or of ten segments each.

    Args:
        root: the dataset folder; its subfolder `Data/` contains the table.
        split: `fault_filtered`, `artist_folds`, `grouped` or `random`.
        seconds: 30 for whole clips, 3 for segments, which share their clip's split and are averaged per clip.
        fold: the test fold of `artist_folds`.
        policies: as in `TableSource`.
    """

    max_unknown_artists = MAX_UNKNOWN_ARTISTS

    def __init__(
        self, root: str | None, split: dict[str, Any], seconds: int = 30, fold: int = 0, **policies: Any
    ) -> None:
        super().__init__(split, **policies)
        self.root = root
        self.seconds = seconds
        self.fold = fold

    def files(self) -> list[Path]:
        """The feature table."""
        return [find_table(self.root, TABLES[self.seconds])]

    def read(self) -> FeatureTable:
        """The table's rows, with artists and splits from the index.

        Raises:
            DatasetNotFoundError: if the table does not exist.
            DataError: if it is not GTZAN's.
        """
        (path,) = self.files()
        frame = read_frame(path)
        tracks = _tracks_of(frame, path)
        features = [c for c in frame.columns if c not in ("filename", "length", "label")]
        columns = _numeric([c for c in features if not self.is_left_out(c)], frame, path)
        protocol = self.split.protocol
        metadata: dict[str, Any] = {}
        dropped: dict[str, int] = {}
        if protocol in PROTOCOLS:
            splits = gtzan_splits(tracks.tolist(), protocol, self.fold, self.split.folds, self.split.seed)
            listed = np.array([split is not None for split in splits])
            self.incomplete = incomplete_lists(tracks, protocol)
            dropped["outside the fault-filtered lists"] = tracks[~listed].nunique()
            metadata["split"] = [split for split in splits if split is not None]
            frame, tracks = frame[listed], tracks[listed]
        metadata["group"] = load_index().artist.reindex(tracks).tolist()
        return FeatureTable(
            track_id=tracks,
            target=frame.label,
            x=frame[columns].to_numpy(np.float32, copy=True),
            columns=columns,
            metadata=metadata,
            split_name=protocol if protocol in PROTOCOLS else "fault_filtered",
            segments=self.seconds == 3,
            left_out=[c for c in features if c not in columns],
            dropped=dropped,
        )


def _tracks_of(frame: pd.DataFrame, path: Path) -> pd.Series[str]:
    """The track of each row, such as `blues.00000`."""
    if "filename" not in frame or "label" not in frame:
        raise DataError(
            f"{path}: no columns filename and label; this is not GTZAN's feature table", kind="missing_column", key=path
        )
    tracks = frame.filename.astype(str).str.extract(FILE_NAME).track.str.lower()
    if tracks.isna().any():
        name = frame.filename[tracks.isna()].iloc[0]
        raise DataError(
            f"{path}: {name!r} is not the name of a GTZAN file", kind="unknown_file_name", key=path, value=name
        )
    return tracks


def _numeric(columns: list[str], frame: pd.DataFrame, path: Path) -> list[str]:
    """The columns, after checking them."""
    not_numeric = [c for c in columns if not pd.api.types.is_numeric_dtype(frame[c].dtype)]
    if not_numeric:
        raise DataError(f"{path}: column {not_numeric[0]} is not numeric", kind="not_numeric", key=not_numeric[0])
    if not columns:
        raise DataError(f"{path}: no feature columns", kind="no_features", key=path)
    return columns


class GTZAN(AudioData):
    """The clips: a folder of wav or au files for each genre.

    Args:
        root: the dataset folder; the clips are searched in `Data/genres_original/`, `genres/` and similar folders.
        split: `fault_filtered`, `artist_folds`, `grouped` or `random`.
        fold: the test fold of `artist_folds`.
        options: as in `AudioData`.
    """

    dataset = "gtzan"
    max_unknown_artists = MAX_UNKNOWN_ARTISTS

    def __init__(self, root: str | None, split: dict[str, Any], fold: int = 0, **options: Any) -> None:
        super().__init__(split, **options)
        self.root = root
        self.fold = fold

    def missing_archives(self) -> list[str]:
        """`gtzan` if the clips do not exist."""
        return ["gtzan"] if is_absent(lambda: find_audio(self.root)) else []

    def published_faults(self) -> dict[str, str]:
        """The clip that is damaged in a common copy."""
        return FAULTY_CLIPS

    def find(self) -> Recordings:
        """The clips, with artists and splits from the index.

        Raises:
            DatasetNotFoundError: if there is no folder with a subfolder of clips for each genre.
        """
        base = find_audio(self.root)
        folders = [folder for genre in GENRES if (folder := below(base, genre)).is_dir()]
        files = sorted(f for folder in folders for f in folder.iterdir() if not f.name.startswith("."))
        clips = {
            path: match["track"].lower()
            for path in files
            if (match := FILE_NAME.match(path.name)) and path.suffix.lower() in (".wav", ".au", ".mp3")
        }
        _check_names(clips)
        notes = [f"there is no folder {genre}" for genre in GENRES if not below(base, genre).is_dir()]
        notes += [f"the folder {folder.name} is empty" for folder in folders if not any(folder.iterdir())]
        if len(clips) < len(files):
            notes.append(
                f"{counted(len(files) - len(clips), 'file was', 'files were')} ignored: they are not named like blues.00000.wav"
            )
        metadata: dict[str, Any] = {}
        dropped = {}
        protocol = self.split.protocol
        if protocol in PROTOCOLS:
            splits = gtzan_splits([*clips.values()], protocol, self.fold, self.split.folds, self.split.seed)
            dropped["outside the fault-filtered lists"] = splits.count(None)
            self.incomplete = incomplete_lists(clips.values(), protocol)
            clips = {path: clips[path] for path, split in zip(clips, splits, strict=True) if split is not None}
            metadata["split"] = [split for split in splits if split is not None]
        metadata["group"] = load_index().artist.reindex([*clips.values()]).tolist()
        return Recordings(
            paths=[*clips],
            track_id=[*clips.values()],
            target=[track.partition(".")[0] for track in clips.values()],
            metadata=metadata,
            split_name=protocol if protocol in PROTOCOLS else "fault_filtered",
            folders=[base, *folders],
            sources=[],
            dropped=dropped,
            notes=notes,
        )


def _check_names(clips: dict[Path, str]) -> None:
    """Reject a clip that is there twice, as .au and .wav.

    Raises:
        DataError: if there is one.
    """
    paths: dict[str, Path] = {}
    for path, track in clips.items():
        if other := paths.get(track):
            count = len(clips) - len(set(clips.values()))
            message = f"{path.parent}: {track} exists as {other.name} and {path.name} ({counted(count, 'such clip')}); remove one of them"
            raise DataError(message, "duplicate_ids", track, count)
        paths[track] = path


def find_audio(root: str | None) -> Path:
    """The folder that contains a folder for each genre.

    Raises:
        DatasetNotFoundError: if it is not found under root.
    """
    base = dataset_root(root, "GTZAN")
    if path := _genre_parent(base):
        return path
    if base.name.casefold() in GENRES:
        line = f"GTZAN: {base} is the folder of one genre; set data.root={base.parent}"
        raise DatasetNotFoundError(line, WRONG_ROOT, base, suggestion=f"data.root={base.parent}")
    if error := wrong_root(base, "GTZAN", lambda folder: _genre_parent(folder) is not None):
        raise error
    raise DatasetNotFoundError(
        f"GTZAN: no folders blues, classical, ... under {base} (searched {', '.join(AUDIO_FOLDERS)}; {contents(base)});"
        f" download them with musicreclass prepare data=gtzan data.root={base}",
        kind="missing_audio",
        key=base,
    )


def _genre_parent(base: Path) -> Path | None:
    """The folder below a folder, or that folder, that contains folders of genres."""
    for folder in AUDIO_FOLDERS:
        path = below(base, folder)
        if path.is_dir() and sum(below(path, genre).is_dir() for genre in GENRES) >= 2:
            return path
    return None


def find_table(root: str | None, name: str) -> Path:
    """The path of a feature table.

    Raises:
        DatasetNotFoundError: if it is not found under root.
    """
    base = dataset_root(root, "GTZAN")
    for folder in TABLE_FOLDERS:
        if (path := below(base, f"{folder}/{name}")).is_file():
            return path
    raise DatasetNotFoundError(
        f"GTZAN: no {name} under {base} (searched {', '.join(TABLE_FOLDERS)}; {contents(base)}); it is part of {TABLE_PAGE}, which"
        f" requires an account: download it by hand into {base / 'Data'}",
        kind="missing_table",
        key=base,
        value=name,
    )
