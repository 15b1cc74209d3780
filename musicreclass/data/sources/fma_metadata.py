"""Finds FMA's metadata folder and reads tracks.csv (Defferrard et al., ISMIR 2017)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from musicreclass.data.dataset_folder import below, contents, dataset_root, wrong_root
from musicreclass.errors import DataError, DatasetNotFoundError
from musicreclass.storage.store import Store, file_digest

SUBSETS = ("small", "medium", "large", "full")  # each includes those before it
VERSION = 2  # of the entries in the store
METADATA_FOLDERS = ("Misc/fma_metadata", "fma_metadata", ".", "FMA/Misc/fma_metadata", "FMA/fma_metadata")
URL = "https://os.unil.cloud.switch.ch/fma/fma_metadata.zip"
UNPACK_AGAIN = f"unpack {URL} again"
REQUIRED = {("set", "split"): "split", ("set", "subset"): "subset", ("track", "genre_top"): "genre"}
OPTIONAL = {
    ("artist", "id"): "artist",
    ("artist", "name"): "artist_name",
    ("album", "id"): "album",
    ("album", "title"): "album_title",
}


def find_metadata(root: str | None) -> Path:
    """The folder with tracks.csv and features.csv.

    Raises:
        DatasetNotFoundError: if it is not found under root.
    """
    base = dataset_root(root, "FMA")
    if path := _metadata_in(base):
        return path
    archive = next((z for p in METADATA_FOLDERS if (z := base / p / "fma_metadata.zip").is_file()), None)
    if archive is not None or (base.is_file() and base.suffix == ".zip"):
        raise not_unpacked(archive or base)
    if error := wrong_root(base, "FMA", lambda folder: _metadata_in(folder) is not None):
        raise error
    searched = ", ".join(str(base / p / "tracks.csv") for p in METADATA_FOLDERS)
    raise DatasetNotFoundError(
        f"FMA: no tracks.csv under {base} (searched {searched}; {contents(base)}); download it with "
        f"musicreclass prepare data=fma_features data.root={base}",
        kind="missing_metadata",
        key=base,
    )


def _metadata_in(base: Path) -> Path | None:
    """The folder below a folder, or that folder, that contains tracks.csv."""
    paths = (below(base, folder) for folder in METADATA_FOLDERS)
    return next((path for path in paths if (path / "tracks.csv").is_file()), None)


def not_unpacked(archive: Path) -> DatasetNotFoundError:
    """The error for a dataset whose archive is not unpacked."""
    return DatasetNotFoundError(
        f"FMA: {archive} is not unpacked: run musicreclass prepare with the same data settings",
        kind="not_unpacked",
        key=archive,
    )


def in_subset(subset: pd.Series[str], name: str, exact: bool) -> pd.Series[bool]:
    """Which tracks belong to a subset, including the subsets below it unless `exact`."""
    if exact:
        return subset == name
    if name == "full":
        return subset.notna() | True
    return subset.isin(SUBSETS[: SUBSETS.index(name) + 1])


def load_tracks(path: Path, store: Store) -> pd.DataFrame:
    """subset, split, genre, artist, album and artist_name from tracks.csv, indexed by track id; None if unknown. Cached in the store."""

    def build(folder: Path) -> None:
        parquet.write_table(pyarrow.Table.from_pandas(read_tracks(path)), folder / "tracks.parquet")

    entry = store.entry(
        "fma-tracks", {"content": file_digest(path, store), "version": VERSION}, build, source=str(path)
    )
    return parquet.read_table(entry / "tracks.parquet").to_pandas()


def read_tracks(path: Path) -> pd.DataFrame:
    """Read tracks.csv, which has two header rows: column groups and columns.

    Raises:
        DataError: if it is truncated, or not the tracks.csv of fma_metadata.zip.
    """
    names, skip = read_csv_header(path, 2)
    missing = [".".join(name) for name in REQUIRED if name not in names]
    if missing:
        raise DataError(
            f"{path}: no column {missing[0]}; this is not the tracks.csv of fma_metadata.zip ({URL})",
            kind="missing_column",
            key=missing[0],
        )
    columns = {**REQUIRED, **{k: v for k, v in OPTIONAL.items() if k in names}}
    flat_names = [".".join(name) if i else "track_id" for i, name in enumerate(names)]
    include = ["track_id", *(".".join(name) for name in columns)]
    try:
        frame = arrow_csv.read_csv(
            path,
            arrow_csv.ReadOptions(skip_rows=skip, column_names=flat_names, use_threads=False),
            arrow_csv.ParseOptions(newlines_in_values=True),
            arrow_csv.ConvertOptions(
                include_columns=include, column_types={**dict.fromkeys(include, pyarrow.string()), "track_id": pyarrow.int64()},
                strings_can_be_null=True,
            ),
        ).to_pandas()  # fmt: skip
    except (pyarrow.ArrowException, OSError) as error:
        raise unreadable_metadata(path, error) from error
    frame = frame.rename(columns={".".join(k): v for k, v in columns.items()}).set_index("track_id").astype(object)
    frame = frame.where(frame.notna() & (frame != ""), None)
    if frame.index.duplicated().any():
        raise duplicate_track(path, frame.index[frame.index.duplicated()][0])
    for column, fallback in (("artist", "artist_name"), ("album", "album_title")):
        candidates = [frame[name] for name in (column, fallback) if name in frame]
        frame[column] = candidates[0] if candidates else None
    if "artist_name" not in frame:
        frame["artist_name"] = None
    return frame[["subset", "split", "genre", "artist", "album", "artist_name"]]


def read_csv_header(path: Path, rows: int) -> tuple[list[tuple[str, ...]], int]:
    """The column names of a CSV file with several header rows, and the number of lines before the data.

    pandas writes an additional line after such a header, with the name of the index only.

    Raises:
        DataError: if the file is not such a table.
    """
    parsed = list(csv.reader(io.StringIO("\n".join(_first_lines(path, rows + 1)))))
    if len(parsed) < rows or len({len(line) for line in parsed[:rows]}) != 1 or len(parsed[0]) < 2:
        raise DataError(
            f"{path}: not a table with {rows} header rows as in fma_metadata.zip ({URL})",
            kind="invalid_header",
            key=path,
        )
    has_index_line = len(parsed) > rows and parsed[rows][0] == "track_id"
    names = [tuple(cell.strip() for cell in column) for column in zip(*parsed[:rows], strict=True)]
    return names, rows + has_index_line


def _first_lines(path: Path, count: int) -> Iterator[str]:
    """The first lines of a text file, without line ends."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for _ in range(count):
                line = file.readline(1 << 20)
                if line:
                    yield line.rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})", kind="unreadable", key=path) from error


def unreadable_metadata(path: Path, error: Exception) -> DataError:
    """The error for a file of fma_metadata.zip that cannot be parsed."""
    reason = " ".join(str(error).split())[:160]
    return DataError(f"{path}: cannot be read: {reason}; {UNPACK_AGAIN}", kind="unreadable", key=path)


def duplicate_track(path: Path, track_id: int) -> DataError:
    """The error for a file of fma_metadata.zip that contains a track twice."""
    return DataError(
        f"{path}: contains track {track_id} twice; {UNPACK_AGAIN}",
        kind="duplicate_track",
        key=path,
        value=int(track_id),
    )
