"""The files of MagnaTagATune (Law et al., ISMIR 2009): annotations_final.csv, clip_info_final.csv, split lists and recordings."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import pyarrow
from pyarrow import csv as arrow_csv

from musicreclass.data.dataset_folder import below, contents, dataset_root
from musicreclass.data.tracks import some
from musicreclass.errors import DataError, DatasetNotFoundError
from musicreclass.plurals import counted

PAGE = "https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset"
NAMES = (".", "MTT", "MagnaTagATune")  # of the dataset's folder, in any case
ANNOTATIONS, CLIP_INFO = "annotations_final.csv", "clip_info_final.csv"
TEXT_FOLDERS = (".", "Misc", "Data", "annotations", "metadata", "meta_data")
SPLIT_FOLDERS = (".", "Misc", "splits", "MTAT_split")
AUDIO_FOLDERS = ("mp3", "Data/mp3", "Data", ".", "audio", "mp3s", "Audio/mp3", "raw/mp3")
CLIP_FOLDERS = "0123456789abcdef"


def find_text(root: str | None, name: str, folders: Sequence[str] = TEXT_FOLDERS) -> Path | None:
    """A text file of the dataset; None if it does not exist."""
    base = dataset_root(root, "MagnaTagATune")
    paths = (below(base, f"{dataset}/{folder}/{name}") for dataset in NAMES for folder in folders)
    return next((path for path in paths if path.is_file()), None)


def no_annotations(root: str | None) -> DatasetNotFoundError:
    """The error for a folder without the annotations."""
    base = dataset_root(root, "MagnaTagATune")
    line = f"MagnaTagATune: no {ANNOTATIONS} in {base} ({contents(base)}); download it from {PAGE} into this folder (docs/data/mtt.md)"
    return DatasetNotFoundError(line, "missing_metadata", base)


def read_annotations(path: Path) -> tuple[list[str], list[str], np.ndarray]:
    """The mp3 path of each clip (n), the tags (C), and which clip has which tag, uint8 (n, C).

    Raises:
        DataError: if it is not a table of clip_id, a column of 0 and 1 for each tag, and mp3_path, separated by tabs.
    """
    try:
        types = {"clip_id": pyarrow.string(), "mp3_path": pyarrow.string()}
        table = arrow_csv.read_csv(
            path,
            arrow_csv.ReadOptions(use_threads=False),
            arrow_csv.ParseOptions(delimiter="\t"),
            arrow_csv.ConvertOptions(column_types=types),
        )
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read: {' '.join(str(error).split())[:160]}", "unreadable", path) from error
    names = [name for name in table.column_names if name not in types]
    if "mp3_path" not in table.column_names or not names:
        line = f"{path}: no column mp3_path or no tags; it must be {ANNOTATIONS} as published, separated by tabs"
        raise DataError(line, "missing_column", "mp3_path")
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path}: the tag {repeated!r} is there twice", "duplicate_column", repeated)
    invalid = [name for name in names if not is_indicator(table[name])]
    if invalid:
        line = f"{path}: column {invalid[0]!r} must contain only 0 and 1"
        raise DataError(line, "invalid_indicator", invalid[0])
    paths = [clip_path(text or "") for text in table["mp3_path"].to_pylist()]
    written = pd.Series(paths)[pd.Series(paths) != ""]
    repeated_paths = written[written.duplicated()]
    if len(repeated_paths):
        line = f"{path}: {counted(len(repeated_paths), 'clip is', 'clips are')} there twice ({some(repeated_paths.tolist())})"
        raise DataError(line, "duplicate_ids", path, len(repeated_paths))
    return paths, names, np.column_stack([table[name].to_numpy().astype(np.uint8) for name in names])


def is_indicator(column: pyarrow.ChunkedArray) -> bool:
    """Whether a column contains only 0 and 1."""
    if not pyarrow.types.is_integer(column.type) or column.null_count:
        return False
    return bool(np.isin(column.to_numpy(), (0, 1)).all())


def clip_path(text: str) -> str:
    """The last folder and the name of a clip's path, with the ending of the published files: `c/name.mp3`."""
    path = PurePosixPath(text.strip().replace("\\", "/"))
    return str(PurePosixPath(*path.parts[-2:]).with_suffix(".mp3")) if path.name else text.strip()


def read_clip_info(path: Path) -> dict[str, tuple[str, str, str | None]]:
    """The artist as it is written in the names of files, its name, and `album_of`, by mp3 path. Clips without a path or an artist
    are left out.

    The file names the artists for display (`American Bach Soloists`); names of files (`american_bach_soloists`) are a normal form
    of them, so that both sources can be mixed.

    Raises:
        DataError: if it is not tab-separated text with the columns artist and mp3_path.
    """
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t")
        if not {"artist", "mp3_path"} <= set(reader.fieldnames or ()):
            line = f"{path}: no columns artist and mp3_path; it must be {CLIP_INFO} as published, separated by tabs"
            raise DataError(line, "missing_column", path)
        try:
            rows = [(row["mp3_path"], row["artist"], row.get("album")) for row in reader]
        except csv.Error as error:
            raise DataError(f"{path}: cannot be read: {error}", "unreadable", path) from error
    return {
        clip_path(mp3): (file_form(artist), artist.strip(), album_of(file_form(artist), file_form(album or "")))
        for mp3, artist, album in rows
        if mp3 and mp3.strip() and artist and artist.strip()
    }


def file_form(name: str) -> str:
    """A name as it is written in the names of files: in lower case, with underscores."""
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in name.strip().lower())


def artist_of(clip: str) -> tuple[str, str, str | None]:
    """The artist, its name and `album_of` in the name of a clip, `c/the_artist-album-01-title-0-29.mp3`."""
    artist, _, rest = PurePosixPath(clip).name.partition("-")
    album = rest.partition("-")[0]
    return artist, artist.replace("_", " ").strip(), album_of(artist, album)


def album_of(artist: str, album: str) -> str | None:
    """A name for an album that albums of other artists with the same title do not have; None without a title."""
    return f"{artist}/{album}" if album.strip("_") else None


def read_split_lists(paths: dict[str, Path]) -> dict[str, str]:
    """The split of each clip, by mp3 path.

    Args:
        paths: a text file for each split, with a clip's path in each line.

    Raises:
        DataError: if a list cannot be read, or a clip is in two of them.
    """
    split: dict[str, str] = {}
    for name, path in paths.items():
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: cannot be read ({error})", "unreadable", path) from error
        for line in filter(str.strip, lines):
            clip = clip_path(line)
            if split.setdefault(clip, name) != name:
                raise DataError(f"{path}: {clip} is also in the list of {split[clip]}", "duplicate_track", path, clip)
    return split


def find_recordings(root: str | None) -> tuple[dict[str, Path], list[Path]]:
    """Each mp3 file by its path as in the annotations, and the folders that contain them.

    Raises:
        DatasetNotFoundError: if there are none.
    """
    base = dataset_root(root, "MagnaTagATune")
    for dataset in NAMES:
        for folder in AUDIO_FOLDERS:
            parent = below(base, f"{dataset}/{folder}")
            folders = [path for name in CLIP_FOLDERS if (path := below(parent, name)).is_dir()]
            files = {
                f"{folder.name.lower()}/{file.stem}.mp3": file
                for folder in folders
                for file in sorted(folder.iterdir())
                if file.suffix.lower() == ".mp3" and not file.name.startswith(".")
            }
            if files:
                return files, [parent, *folders]
    parts = [path for dataset in NAMES if (path := below(base, f"{dataset}/mp3.zip.001")).is_file()]
    remedy = f"unpack {parts[0].parent}/mp3.zip.001 to .003 there" if parts else f"download them from {PAGE}"
    line = f"MagnaTagATune: no mp3 files in folders 0 to f under {base} (searched {', '.join(AUDIO_FOLDERS)}; {contents(base)}); {remedy}"
    raise DatasetNotFoundError(line, "missing_audio", base)
