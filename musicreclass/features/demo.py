"""The demo's feature table: the 518 FMA features of its synthetic clips."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile

from musicreclass.data.parallel import show_progress
from musicreclass.data.sources.demo import TRACKS, clip_path, demo_clips, demo_entry
from musicreclass.data.sources.demo_synthesis import RATE
from musicreclass.data.sources.table_file import TableFile
from musicreclass.data.table_source import FeatureTable, TableSource
from musicreclass.features.fma518 import extraction
from musicreclass.features.fma518.columns import COLUMNS
from musicreclass.plurals import counted
from musicreclass.storage.atomic import replacing, write_text

FEATURES = "features.csv"
VECTORS = "vectors"  # one file per clip while the table is built, so that an interrupted build can be resumed


class Demo(TableSource):
    """The synthetic genres as a feature table; clips and table are generated on first use.

    Args:
        root: the folder in which they are stored.
        split, policies: as in `TableSource`.
        clips_per_artist: number of clips for each of the 16 artists of a genre.
    """

    def __init__(self, root: str, split: dict[str, Any], clips_per_artist: int = 3, **policies: Any) -> None:
        super().__init__(split, **policies)
        self.root, self.clips_per_artist = root, clips_per_artist
        self.file: Path | None = None

    def prepare_data(self) -> None:
        """Generate the clips and their features, unless they exist."""
        clips = demo_clips(self.root, self.clips_per_artist)
        build = partial(extract, clips)
        self.file = demo_entry("features", self.root, self.clips_per_artist, build, columns=COLUMNS) / FEATURES

    def files(self) -> list[Path]:
        """The feature table."""
        return [] if self.file is None else [self.file]

    def read(self) -> FeatureTable:
        """The demo's feature table."""
        return TableFile(str(self.file), {"protocol": "auto"}, label_column="genre", group_column="artist").read()


def extract(clips: Path, folder: Path) -> None:
    """Compute the features of every clip, and write one table."""
    tracks = pd.read_csv(clips / TRACKS)
    (folder / VECTORS).mkdir(exist_ok=True)
    vectors = []
    with show_progress(
        f"computing 518 features of the demo's {counted(len(tracks), 'clip')} (once)", len(tracks)
    ) as advance:
        for track_id in tracks.track_id:
            vectors.append(stored_vector(folder / VECTORS / f"{track_id}.npy", clip_path(clips, track_id)))
            advance(1)
    table = pd.concat([tracks, pd.DataFrame(np.stack(vectors), columns=list(COLUMNS))], axis=1)
    write_text(folder / FEATURES, table.to_csv(index=False, float_format="%.7g"))
    for file in (folder / VECTORS).iterdir():
        file.unlink()
    (folder / VECTORS).rmdir()


def stored_vector(file: Path, clip: Path) -> np.ndarray:
    """The features of one clip, read from the file if an interrupted build has written it, else computed and written."""
    if file.exists():
        return np.asarray(np.load(file))
    audio, _ = soundfile.read(clip)
    vector = extraction.extract(audio, RATE)
    with replacing(file) as scratch, scratch.open("wb") as out:
        np.save(out, vector)
    return vector
