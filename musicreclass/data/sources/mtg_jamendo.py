"""The MTG-Jamendo dataset (Bogdanov et al., "The MTG-Jamendo dataset for automatic music tagging", ICML workshop, 2019): full tracks
with tags of genre, instrument, mood and theme. https://github.com/MTG/mtg-jamendo-dataset"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from musicreclass.config.settings.data import SPLITS
from musicreclass.data.dataset_folder import below, contents, dataset_root
from musicreclass.data.recordings import AudioData, Recordings
from musicreclass.data.tracks import some
from musicreclass.errors import DataError, DatasetNotFoundError
from musicreclass.plurals import agreeing, counted

PROTOCOL = "official"
PAGE = "https://github.com/MTG/mtg-jamendo-dataset"
NAMES = (".", "MTG-Jamendo", "mtg-jamendo-dataset", "Jamendo")  # of the dataset's folder, in any case
TEXT_FOLDERS = ("data", ".", "mtg-jamendo-dataset/data", "Misc", "Data")
AUDIO_FOLDERS = ("audio", "audio-low", "Data", ".", "raw_30s/audio", "raw_30s/audio-low", "autotagging_moodtheme/audio",
                 "autotagging_moodtheme/audio-low", "mp3", "data")  # fmt: skip
FOLDS = 5
FILES = {"train": "train", "valid": "validation", "test": "test"}  # the published name of each split
COLUMNS = ("TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS")
Row = tuple[str, str, str, str, list[str]]  # track, artist, album, path, tags


class MTGJamendo(AudioData):
    """The tracks of a subset, with the tags of that subset as published, such as `genre---rock`.

    Args:
        root: the dataset folder; the repository's `data/` and the folders `00` to `99` of MP3 files are searched in it.
        split: `official` (train, validation and test of `splits/split-FOLD/`), `grouped` by artist, `random` or `folds`.
        subset: `all`, `genre`, `instrument`, `moodtheme` or `top50tags`.
        fold: which of the five published splits, 0 to 4.
        options: as in `AudioData`.
    """

    dataset = "mtg_jamendo"

    def __init__(
        self, root: str | None, split: dict[str, Any], subset: str = "top50tags", fold: int = 0, **options: Any
    ) -> None:
        super().__init__(split, **options)
        self.root, self.subset, self.fold = root, subset, fold

    def find(self) -> Recordings:
        """The tracks whose MP3 file exists.

        Raises:
            DatasetNotFoundError: if there are no lists, or no MP3 files.
            DataError: if a list cannot be read, or there is no such fold.
        """
        name = "autotagging" if self.subset == "all" else f"autotagging_{self.subset}"
        official = self.split.protocol == PROTOCOL
        if official and not 0 <= self.fold < FOLDS:
            line = f"data.fold={self.fold}: must be from 0 to {FOLDS - 1}"
            raise DataError(line, "invalid_fold", "data.fold", self.fold)
        lists = (
            {s: f"splits/split-{self.fold}/{name}-{FILES[s]}.tsv" for s in SPLITS} if official else {"": f"{name}.tsv"}
        )
        paths = {split: find_list(self.root, list_name) for split, list_name in lists.items()}
        rows = read_lists(paths)
        untagged = [track for track, (_, row) in rows.items() if not row[4]]
        files, folders = find_recordings(self.root)
        usable = {t: entry for t, entry in rows.items() if entry[1][4] and entry[1][3] in files}
        without_file = len(rows) - len(usable) - len(untagged)
        if without_file:
            self.incomplete = f"{without_file} of {counted(len(rows), 'track')} of {name} {agreeing(without_file, 'has', 'have')} no recording"
        splits, entries = [split for split, _ in usable.values()], [row for _, row in usable.values()]
        notes = [f"{name}: {counted(len(rows), 'track')}" + (f", published split {self.fold}" if official else "")]
        notes += ["the recordings are those of the low-bitrate copy"] if self._are_low(files) else []
        return Recordings(
            paths=[files[row[3]] for row in entries],
            track_id=[row[0] for row in entries],
            target=[tuple(row[4]) for row in entries],
            metadata={
                **({"split": splits} if official else {}),
                "group": [row[1] or None for row in entries],
                "album": [row[2] or None for row in entries],
            },
            split_name=PROTOCOL,
            folders=folders,
            sources=[*paths.values()],
            dropped={
                name: count
                for name, count in (("without a tag", len(untagged)), ("without a recording", without_file))
                if count
            },
            notes=notes,
        )

    @staticmethod
    def _are_low(files: dict[str, Path]) -> bool:
        return all(path.stem.endswith(".low") for path in files.values())


def find_list(root: str | None, name: str) -> Path:
    """A TSV file of the dataset's repository.

    Raises:
        DatasetNotFoundError: if it does not exist.
    """
    base = dataset_root(root, "MTG-Jamendo")
    for dataset in NAMES:
        for folder in TEXT_FOLDERS:
            if (path := below(base, f"{dataset}/{folder}/{name}")).is_file():
                return path
    line = f"MTG-Jamendo: no {name} under {base} (searched {', '.join(TEXT_FOLDERS)}; {contents(base)}); copy the folder data/ of {PAGE} there"
    raise DatasetNotFoundError(line, "missing_metadata", base, name)


def read_lists(paths: dict[str, Path]) -> dict[str, tuple[str, Row]]:
    """The split and the row of each track.

    Args:
        paths: a TSV file for each split.

    Raises:
        DataError: if a track is there twice.
    """
    rows: dict[str, tuple[str, Row]] = {}
    for split, path in paths.items():
        for row in read_list(path):
            if row[0] in rows:
                raise DataError(
                    f"{path}: {row[0]} is there twice, or in another list too", "duplicate_track", path, row[0]
                )
            rows[row[0]] = (split, row)
    return rows


def read_list(path: Path) -> list[Row]:
    """The rows of a TSV file: five columns, then a tag in each further field.

    Raises:
        DataError: if it is not such a file.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})", "unreadable", path) from error
    if not lines or tuple(lines[0].rstrip().split("\t")) != COLUMNS:
        line = f"{path}: the first line must be {' '.join(COLUMNS)}, separated by tabs; this is not a list of {PAGE}"
        raise DataError(line, "invalid_header", path)
    rows: list[Row] = []
    for number, text in enumerate(lines[1:], 2):
        if not text.strip():
            continue
        fields = [field.strip() for field in text.split("\t")]
        if len(fields) < 5 or not fields[0] or not fields[3]:
            line = f"{path}: line {number} has {counted(len(fields), 'field')}; TRACK_ID, ARTIST_ID, ALBUM_ID, PATH and DURATION are needed"
            raise DataError(line, "unreadable", path, number)
        track, artist, album, audio = fields[:4]
        rows.append((track, artist, album, clip_name(audio), list(dict.fromkeys(filter(None, fields[5:])))))
    if not rows:
        raise DataError(f"{path}: no tracks below the header", "no_rows", path)
    return rows


def clip_name(text: str) -> str:
    """The folder and number of a track, `14/214`, in the path of its recording, `14/214.mp3` or `14/214.low.mp3`."""
    path = PurePosixPath(text.replace("\\", "/"))
    return f"{path.parent.name}/{path.name.partition('.')[0]}"


def find_recordings(root: str | None) -> tuple[dict[str, Path], list[Path]]:
    """Each MP3 file by `clip_name`, the full ones before the low-bitrate copies, and the folders that contain them.

    Raises:
        DatasetNotFoundError: if there are none.
    """
    base = dataset_root(root, "MTG-Jamendo")
    for dataset in NAMES:
        for folder in AUDIO_FOLDERS:
            parent = below(base, f"{dataset}/{folder}")
            folders = [path for i in range(100) if (path := parent / f"{i:02d}").is_dir()]
            mp3 = [f for d in folders for f in sorted(d.iterdir()) if f.suffix.lower() == ".mp3" and f.name[0] != "."]
            files: dict[str, Path] = {}
            for file in sorted(mp3, key=lambda f: f.stem.endswith(".low")):
                files.setdefault(f"{file.parent.name}/{file.name.partition('.')[0]}", file)
            if files:
                return files, [parent, *folders]
    line = (
        f"MTG-Jamendo: no MP3 files such as 14/214.mp3 or 14/214.low.mp3 under {base} (searched {some(AUDIO_FOLDERS, 4)};"
        f" {contents(base)}); download them with the script of {PAGE} (docs/data/jamendo.md)"
    )
    raise DatasetNotFoundError(line, "missing_audio", base)
