"""The FMA dataset (Defferrard et al., ISMIR 2017): its tracks, and its 518 precomputed features."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from musicreclass.data.sources.fma_columns import SERIES
from musicreclass.data.table_source import FeatureTable, TableSource
from musicreclass.data.tracks import dataset_root
from musicreclass.errors import DataError, DatasetNotFoundError
from musicreclass.storage.store import Store, file_digest

SUBSETS = ("small", "medium", "large", "full")  # each holds the ones before it
FEATURE_SETS = tuple(SERIES)
VERSION = 1  # of what the store keeps
CUT_SHORT = (  # the clips of these tracks are empty or a few seconds long in the audio archives
    1486, 5574, 65753, 80391, 98558, 98559, 98560, 98565, 98566, 98567, 98568, 98569, 98571, 99134, 105247, 108924, 108925,
    126981, 127336, 133297, 143992,
)  # fmt: skip
WHERE = ("Misc/fma_metadata", "fma_metadata", ".", "FMA/Misc/fma_metadata", "FMA/fma_metadata")
URL = "https://os.unil.cloud.switch.ch/fma/fma_metadata.zip"


class FMAFeatures(TableSource):
    """tracks.csv and features.csv as a feature table.

    Args:
        root: the folder of the dataset: `Misc/fma_metadata/`, `fma_metadata/` or the files themselves are found in it.
        split: `official` (set.split of tracks.csv), `grouped` by artist, or `random`.
        store: the folder of the store, which keeps both files in a form that opens at once.
        subset: `small`, `medium`, `large` or `full`; each means itself and all below it.
        subset_exact: only the tracks whose own subset is the one named, without those below it.
        feature_sets: names of series, as in the FMA paper: `mfcc`, `spectral_contrast`, ...; empty for all there are.
        truncated_clips: `keep` or `drop` the tracks whose clips are cut short; the features were computed on whole tracks.
        policies: as in `TableSource`.
    """

    def __init__(
        self,
        root: str | None,
        split: dict[str, Any],
        store: str,
        subset: str = "medium",
        subset_exact: bool = False,
        feature_sets: tuple[str, ...] | list[str] = (),
        truncated_clips: str = "keep",
        **policies: Any,
    ) -> None:
        super().__init__(split, **policies)
        self.root = root
        self.store = Store(Path(store).expanduser())
        self.subset, self.subset_exact = subset, subset_exact
        self.feature_sets = list(feature_sets)
        self.truncated_clips = truncated_clips

    def files(self) -> list[Path]:
        """tracks.csv and features.csv."""
        folder = find_metadata(self.root)
        return [folder / "tracks.csv", folder / "features.csv"]

    def read(self) -> FeatureTable:
        """The labelled tracks of the subset, with their features.

        Raises:
            DatasetNotFoundError: if the files are not there.
            DataError: if they are damaged or of another release.
        """
        tracks_csv, features_csv = self.files()
        tracks = load_tracks(tracks_csv, self.store)
        features = Features.load(features_csv, self.store)
        chosen = tracks[in_subset(tracks.subset, self.subset, self.subset_exact)]
        columns = features.of_sets(self.feature_sets, features_csv)
        rows = features.rows(chosen.index)
        dropped = {
            "in tracks.csv but not in features.csv": int((rows < 0).sum()),
            "in features.csv but not in tracks.csv": len(set(features.ids) - set(tracks.index)),
        }
        notes = [f"features.csv has {len(features.columns)} of the 518 columns"] if len(features.columns) != 518 else []
        chosen, rows = chosen[rows >= 0], rows[rows >= 0]
        short = chosen.index.isin(CUT_SHORT)
        if self.truncated_clips == "drop":
            dropped["whose clips are cut short"] = int(short.sum())
            chosen, rows = chosen[~short], rows[~short]
        elif short.any():
            notes.append(
                f"{int(short.sum())} tracks whose clips are cut short are kept: the features are of whole tracks"
            )
        if not len(chosen):
            raise DataError(
                f"{tracks_csv.parent}: no track of data.subset={self.subset} is in both tracks.csv and features.csv"
            )
        return FeatureTable(
            track_id=chosen.index,
            target=chosen.genre,
            x=features.values[rows][:, columns] if len(columns) < len(features.columns) else features.values[rows],
            columns=[features.columns[i] for i in columns],
            known={"split": chosen.split, "group": chosen.artist, "album": chosen.album},
            own_split="official",
            dropped=dropped,
            notes=notes,
        )


def find_metadata(root: str | None) -> Path:
    """The folder with tracks.csv and features.csv.

    Raises:
        DatasetNotFoundError: if it is nowhere under root.
    """
    base = dataset_root(root, "FMA")
    for place in WHERE:
        if (base / place / "tracks.csv").is_file():
            return base / place
    zipped = next((z for p in WHERE if (z := base / p / "fma_metadata.zip").is_file()), None)
    if zipped is not None or (base.is_file() and base.suffix == ".zip"):
        raise DatasetNotFoundError(f"FMA: {zipped or base} is still packed: unzip it where it is")
    looked = ", ".join(str(base / p / "tracks.csv") for p in WHERE)
    raise DatasetNotFoundError(f"FMA: no tracks.csv under {base} (looked for {looked}); it is in {URL}")


def in_subset(subset: pd.Series[str], name: str, exact: bool) -> pd.Series[bool]:
    """Which tracks a named subset means; subsets are nested."""
    if exact:
        return subset == name
    if name == "full":
        return subset.notna() | True
    return subset.isin(SUBSETS[: SUBSETS.index(name) + 1])


def load_tracks(path: Path, store: Store) -> pd.DataFrame:
    """The columns of tracks.csv that matter here, indexed by track id: subset, split, genre, artist, album; None if unknown."""

    def build(folder: Path) -> None:
        parquet.write_table(pyarrow.Table.from_pandas(read_tracks(path)), folder / "tracks.parquet")

    entry = store.entry("fma-tracks", {"content": file_digest(path, store), "version": VERSION}, build)
    return parquet.read_table(entry / "tracks.parquet").to_pandas()


def read_tracks(path: Path) -> pd.DataFrame:
    """Read tracks.csv, whose header has two rows, one of the column groups and one of the columns.

    Raises:
        DataError: if it is cut short, or not the tracks.csv of fma_metadata.zip.
    """
    names, skip = header(path, 2)
    wanted = {("set", "split"): "split", ("set", "subset"): "subset", ("track", "genre_top"): "genre"}
    optional = {
        ("artist", "id"): "artist",
        ("artist", "name"): "artist_name",
        ("album", "id"): "album",
        ("album", "title"): "album_title",
    }
    missing = [".".join(name) for name in wanted if name not in names]
    if missing:
        raise DataError(f"{path}: no column {missing[0]}: not the tracks.csv of fma_metadata.zip ({URL})")
    present = {**wanted, **{k: v for k, v in optional.items() if k in names}}
    flat = [".".join(name) if i else "track_id" for i, name in enumerate(names)]
    include = ["track_id", *(".".join(name) for name in present)]
    try:
        frame = arrow_csv.read_csv(
            path,
            arrow_csv.ReadOptions(skip_rows=skip, column_names=flat, use_threads=False),
            arrow_csv.ParseOptions(newlines_in_values=True),
            arrow_csv.ConvertOptions(
                include_columns=include, column_types={**dict.fromkeys(include, pyarrow.string()), "track_id": pyarrow.int64()},
                strings_can_be_null=True,
            ),
        ).to_pandas()  # fmt: skip
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read: {' '.join(str(error).split())[:160]}; {again()}") from error
    frame = frame.rename(columns={".".join(k): v for k, v in present.items()}).set_index("track_id").astype(object)
    frame = frame.where(frame.notna() & (frame != ""), None)
    if frame.index.duplicated().any():
        raise DataError(f"{path}: track {frame.index[frame.index.duplicated()][0]} stands twice; {again()}")
    for column, fallback in (("artist", "artist_name"), ("album", "album_title")):
        known = [frame[name] for name in (column, fallback) if name in frame]
        frame[column] = known[0] if known else None
    return frame[["subset", "split", "genre", "artist", "album"]]


class Features:
    """features.csv, opened at once: a memory-mapped float32 table.

    Attributes:
        ids: track ids, int64 (n,).
        columns: names such as `mfcc_mean_01`, (F,).
        values: float32 (n, F), NaN where missing; read-only.
    """

    def __init__(self, ids: np.ndarray, columns: list[str], values: np.ndarray) -> None:
        self.ids, self.columns, self.values = ids, columns, values

    @classmethod
    def load(cls, path: Path, store: Store) -> Features:
        """Open a features.csv; its first time, it is read once and kept in the store.

        Raises:
            DatasetNotFoundError: if there is no such file.
            DataError: if it is cut short, or not the features.csv of fma_metadata.zip.
        """
        if not path.is_file():
            raise DatasetNotFoundError(f"FMA: no {path.name} beside tracks.csv in {path.parent}; it is in {URL}")
        key = {"content": file_digest(path, store), "version": VERSION}
        mib = path.stat().st_size * 0.24 / 2**20
        entry = store.entry("fma-features", key, lambda folder: convert_features(path, folder), mib)
        columns = json.loads((entry / "columns.json").read_text(encoding="utf-8"))
        ids = np.load(entry / "ids.npy", allow_pickle=False)
        values = np.memmap(entry / "values.f32", np.float32, "r", shape=(len(ids), len(columns)))
        return cls(ids, columns, values)

    def rows(self, ids: Any) -> np.ndarray:
        """The row of each track id, -1 where there is none."""
        return np.asarray(pd.Index(self.ids).get_indexer(pd.Index(ids)))

    def of_sets(self, names: list[str], path: Path) -> list[int]:
        """The columns of the named feature sets, of all if none is named.

        Raises:
            DataError: if the file lacks a set.
        """
        have = {name.rsplit("_", 2)[0] for name in self.columns}
        lacking = [name for name in names if name not in have]
        if lacking:
            raise DataError(f"{path}: has no {', '.join(lacking)}; there is {', '.join(sorted(have))}")
        return [i for i, name in enumerate(self.columns) if not names or name.rsplit("_", 2)[0] in names]


def convert_features(path: Path, folder: Path) -> None:
    """Turn a features.csv into raw float32, a block of rows at a time, so that memory stays at a block's size."""
    names, skip = header(path, 3)
    columns = [f"{series}_{statistic}_{int(number):02d}" for series, statistic, number in names[1:] if number.isdigit()]
    if len(columns) != len(names) - 1 or not {series for series, _, _ in names[1:]} <= set(SERIES):
        raise DataError(f"{path}: its header is not that of the features.csv of fma_metadata.zip ({URL})")
    if not ends_whole(path):
        raise DataError(f"{path}: its last line does not end: the file is cut short; {again()}")
    types = {"track_id": pyarrow.int64(), **dict.fromkeys(columns, pyarrow.float32())}
    ids = []
    try:
        with (folder / "values.f32").open("wb") as raw:
            blocks = arrow_csv.open_csv(
                path,
                arrow_csv.ReadOptions(
                    skip_rows=skip, column_names=["track_id", *columns], block_size=1 << 22, use_threads=False
                ),
                convert_options=arrow_csv.ConvertOptions(column_types=types),
            )
            for block in blocks:
                ids.append(block.column(0).to_numpy())
                values = np.empty((block.num_rows, len(columns)), np.float32)
                for i in range(len(columns)):
                    values[:, i] = block.column(i + 1).to_numpy(zero_copy_only=False)
                raw.write(values.data)
    except pyarrow.ArrowException as error:
        raise DataError(f"{path}: cannot be read: {' '.join(str(error).split())[:160]}; {again()}") from error
    every = np.concatenate(ids) if ids else np.empty(0, np.int64)
    if len(np.unique(every)) < len(every):
        raise DataError(f"{path}: a track stands twice; {again()}")
    np.save(folder / "ids.npy", every, allow_pickle=False)
    (folder / "columns.json").write_text(json.dumps(columns), encoding="utf-8")


def header(path: Path, rows: int) -> tuple[list[tuple[str, ...]], int]:
    """The column names of a CSV file whose header has several rows, and how many lines to skip ahead of the data.

    pandas writes one more line after such a header, which names the index and nothing else.
    """
    lines = list(first_lines(path, rows + 1))
    parsed = list(csv.reader(io.StringIO("\n".join(lines))))
    if len(parsed) < rows or len({len(line) for line in parsed[:rows]}) != 1 or len(parsed[0]) < 2:
        raise DataError(f"{path}: not a table with a header of {rows} rows, as fma_metadata.zip holds it ({URL})")
    named = len(parsed) > rows and parsed[rows][0] == "track_id"
    return [tuple(cell.strip() for cell in column) for column in zip(*parsed[:rows], strict=True)], rows + named


def first_lines(path: Path, count: int) -> Iterator[str]:
    """The first lines of a text file, without their ends."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for _ in range(count):
                line = file.readline(1 << 20)
                if line:
                    yield line.rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error


def ends_whole(path: Path) -> bool:
    """Whether a text file ends with the end of a line."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 1))
        return file.read(1) == b"\n"


def again() -> str:
    """What to do about a damaged file."""
    return f"unpack {URL} again"
