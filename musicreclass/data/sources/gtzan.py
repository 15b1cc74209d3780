"""GTZAN (Tzanetakis and Cook, 2002): who plays on which file, which files are faulty, and the widespread feature tables.

gtzan_index.csv beside this file holds facts, not audio: the artists are from Bob L. Sturm's index of the dataset ("The GTZAN
dataset: its contents, its faults, their effects on evaluation, and its future use", arXiv:1306.1461), the fault-filtered lists
from Kereliuk, Sturm and Larsen ("Deep learning and music adversaries", 2015), as torchaudio.datasets.gtzan carries them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musicreclass.data.recordings import AudioData, Recordings
from musicreclass.data.sources.table_file import read_frame
from musicreclass.data.splits import artist_folds
from musicreclass.data.table_source import FeatureTable, TableSource
from musicreclass.data.tracks import dataset_root, make_tracks
from musicreclass.errors import DataError, DatasetNotFoundError

TABLES = {30: "features_30_sec.csv", 3: "features_3_sec.csv"}
WHERE = ("Data", ".", "GTZAN/Data")
AUDIO = ("genres_original", "genres", "Data/genres_original", "Data/genres", "GTZAN/Data/genres_original", "GTZAN/genres_original",
         "GTZAN/genres", "gtzan/genres_original", "gtzan/genres", "GTZAN", "gtzan", ".")  # fmt: skip
GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
NAME = re.compile(r"^(?P<track>[a-z]+\.\d{5})(?:\.(?P<segment>\d+))?(?:\.(?:wav|au|mp3))?$")
TURN = {0: "test", 1: "valid"}  # fold i is tested, fold i + 1 validates


def index() -> pd.DataFrame:
    """The facts, indexed by track (`blues.00000`): `artist` and `fault_filtered` (train, valid, test), None where there is none."""
    frame = pd.read_csv(Path(__file__).with_name("gtzan_index.csv"), dtype=object, keep_default_na=False)
    return frame.set_index("track").replace({"": None})


def own_split(tracks: list[str], protocol: str, fold: int, folds: int, seed: int) -> list[str | None]:
    """The split of each track under one of GTZAN's own protocols; None for tracks it leaves out.

    Args:
        tracks: names such as `blues.00000`.
        protocol: `fault_filtered`, or `artist_folds`.
        fold: which fold is tested; the next one validates.
        folds: how many there are; more than 9 would leave some without blues, which has 9 artists.
        seed: deals the artists.

    Raises:
        DataError: if there is no such fold.
    """
    facts = index()
    if protocol == "fault_filtered":
        place: pd.Series[Any] = facts.fault_filtered
    else:
        if not 0 <= fold < folds:
            raise DataError(f"data.fold={fold}: there are folds 0 to {folds - 1} (data.split.folds={folds})")
        whole = make_tracks(facts.index, facts.index.str.split(".").str[0], group=facts.artist)
        turn = (artist_folds(whole, folds, seed) - fold) % folds
        place = turn.map(TURN).fillna("train").set_axis(facts.index)
    return place.reindex(tracks).astype(object).where(lambda s: s.notna(), None).tolist()


class GTZANFeatures(TableSource):
    """The feature table that is handed round with the audio, of whole clips or of ten segments each.

    Args:
        root: the folder of the dataset; `Data/` in it holds the table.
        split: `fault_filtered`, `artist_folds`, `grouped` or `random`.
        seconds: 30 for the table of clips, 3 for that of segments, which stay with their clip and are averaged per clip.
        fold: of `artist_folds`: which fold is tested.
        policies: as in `TableSource`.
    """

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
            DatasetNotFoundError: if the table is not there.
            DataError: if it is not GTZAN's.
        """
        (path,) = self.files()
        frame = read_frame(path)
        if "filename" not in frame or "label" not in frame:
            raise DataError(f"{path}: no columns filename and label: not GTZAN's feature table")
        named = frame.filename.astype(str).str.extract(NAME)
        if named.track.isna().any():
            raise DataError(f"{path}: {frame.filename[named.track.isna()].iloc[0]!r} is not the name of a GTZAN file")
        columns = [c for c in frame.columns if c not in ("filename", "length", "label")]
        wordy = [c for c in columns if not pd.api.types.is_numeric_dtype(frame[c].dtype)]
        if wordy or not columns:
            raise DataError(f"{path}: {f'column {wordy[0]} is not of numbers' if wordy else 'no features in it'}")
        facts = index().reindex(named.track)
        split: list[str | None] | None = None
        dropped: dict[str, int] = {}
        keep = np.ones(len(frame), bool)
        protocol = self.split.protocol
        if protocol in ("fault_filtered", "artist_folds"):
            split = own_split(named.track.tolist(), protocol, self.fold, self.split.folds, self.split.seed)
            keep = np.array([place is not None for place in split])
            dropped["outside the fault-filtered lists"] = named.track[~keep].nunique()
            split = [place for place in split if place is not None]
        return FeatureTable(
            track_id=named.track[keep],
            target=frame.label[keep],
            x=frame.loc[keep, columns].to_numpy(np.float32, copy=True),
            columns=columns,
            known={"group": facts.artist[keep].tolist(), **({} if split is None else {"split": split})},
            own_split=protocol if split is not None else "fault_filtered",
            segments=self.seconds == 3,
            dropped=dropped,
        )


class GTZAN(AudioData):
    """The clips themselves: a folder of wav or au files for each genre.

    Args:
        root: the folder of the dataset; `Data/genres_original/`, `genres/` and the like are found in it.
        split: `fault_filtered`, `artist_folds`, `grouped` or `random`.
        fold: of `artist_folds`: which fold is tested.
        options: as in `AudioData`.
    """

    dataset = "gtzan"

    def __init__(self, root: str | None, split: dict[str, Any], fold: int = 0, **options: Any) -> None:
        super().__init__(split, **options)
        self.root = root
        self.fold = fold

    def find(self) -> Recordings:
        """The clips, with artists and splits from the index.

        Raises:
            DatasetNotFoundError: if there is no folder with a folder of clips for each genre.
        """
        base = find_audio(self.root)
        folders = [folder for genre in GENRES if (folder := base / genre).is_dir()]
        files = sorted(f for folder in folders for f in folder.iterdir() if not f.name.startswith("."))
        named = [
            (f, match["track"]) for f in files if (match := NAME.match(f.name)) and f.suffix in (".wav", ".au", ".mp3")
        ]
        notes = [f"there is no folder {genre}" for genre in GENRES if not (base / genre).is_dir()]
        notes += [f"the folder {folder.name} is empty" for folder in folders if not any(folder.iterdir())]
        if len(named) < len(files):
            notes.append(f"{len(files) - len(named)} files are not named as GTZAN's are, as blues.00000.wav: not used")
        facts = index().reindex([track for _, track in named])
        split: list[str | None] | None = None
        dropped = {}
        if self.split.protocol in ("fault_filtered", "artist_folds"):
            placed = own_split([t for _, t in named], self.split.protocol, self.fold, self.split.folds, self.split.seed)
            dropped["outside the fault-filtered lists"] = placed.count(None)
            facts = facts[[place is not None for place in placed]]
            named = [one for one, place in zip(named, placed, strict=True) if place is not None]
            split = [place for place in placed if place is not None]
        return Recordings(
            paths=[path for path, _ in named],
            track_id=[track for _, track in named],
            target=[track.partition(".")[0] for _, track in named],
            known={"group": facts.artist.tolist(), **({} if split is None else {"split": split})},
            own_split=self.split.protocol if split is not None else "fault_filtered",
            folders=[base, *folders],
            dropped=dropped,
            notes=notes,
        )


def find_audio(root: str | None) -> Path:
    """The folder that holds a folder for each genre.

    Raises:
        DatasetNotFoundError: if it is nowhere under root.
    """
    base = dataset_root(root, "GTZAN")
    for place in AUDIO:
        if sum((base / place / genre).is_dir() for genre in GENRES) >= 2:
            return base / place
    raise DatasetNotFoundError(f"GTZAN: no folders blues, classical, ... under {base} (looked in {', '.join(AUDIO)})")


def find_table(root: str | None, name: str) -> Path:
    """Where a feature table is.

    Raises:
        DatasetNotFoundError: if it is nowhere under root.
    """
    base = dataset_root(root, "GTZAN")
    for place in WHERE:
        if (base / place / name).is_file():
            return base / place / name
    raise DatasetNotFoundError(f"GTZAN: no {name} under {base} (looked in {', '.join(WHERE)})")
