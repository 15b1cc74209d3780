"""A user's own library: one folder of recordings per genre."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from musicreclass.data.audio.decoding import DECODED
from musicreclass.data.audio.ffmpeg import CONVERTED
from musicreclass.data.recordings import AudioData, Recordings
from musicreclass.data.sources.folder_layout import (
    GenreFolder,
    artist_tag,
    doubts,
    genre_folders,
    is_fma_folder,
    subfolders,
)
from musicreclass.data.tracks import some
from musicreclass.errors import DataError, DatasetNotFoundError

SUFFIXES = (*DECODED, *CONVERTED)


class GenreFolders(AudioData):
    """`<root>/<genre>/**/<recording>`, or `<root>/<split>/<genre>/**/<recording>`; hidden files and folders are ignored.

    Args:
        root: the folder that contains one folder per genre.
        split: `folders`, if `train`, `valid` and `test` are the folders on top, `grouped` by artist, or `random`.
        group_by: source of the artist: `folder`, the one below the genre (`rock/Nirvana/...`); `tag`, the artist tag
            of the file; `auto`, the folder if there is one, else the tag; `none`.
        options: as in `AudioData`.
    """

    def __init__(self, root: str | None, split: dict[str, Any], group_by: str = "auto", **options: Any) -> None:
        super().__init__(split, **options)
        self.root = root
        self.group_by = group_by

    def find(self) -> Recordings:
        """All recordings below the genre folders.

        Raises:
            DatasetNotFoundError: if the folder does not exist, or contains no recordings.
            DataError: if its folders are no genres.
        """
        if self.root is None or not Path(self.root).expanduser().is_dir():
            raise DatasetNotFoundError(
                f"data.root={self.root}: no such folder; name one that contains a folder for each genre",
                kind="missing_root",
                key="data.root",
                value=self.root,
            )
        root = Path(self.root).expanduser()
        genres = genre_folders(root)
        numbered = {f for genre in genres for f in subfolders(genre.path) if is_fma_folder(f)}
        paths: list[Path] = []
        targets: list[str] = []
        groups: list[str | None] = []
        splits: list[str | None] = []
        folders = [root, *sorted({genre.path.parent for genre in genres} - {root})]
        empty, refused = [], list[Path]()
        not_utf8 = 0
        for genre, split in genres:
            before = len(paths)
            for folder, files in walk(genre, refused):
                folders.append(folder)
                for file in files:
                    if not is_utf8(str(file)):
                        not_utf8 += 1
                        continue
                    paths.append(file)
                    targets.append(genre.name.strip() or "(blank)")
                    groups.append(self._artist(file, genre, numbered))
                    splits.append(split)
            if len(paths) == before:
                name = genre.relative_to(root).as_posix()
                empty.append(name if is_utf8(name) else ascii(name))
        if not paths:
            raise DatasetNotFoundError(
                f"{root}: no recordings; it must contain a folder for each genre, with {', '.join(SUFFIXES)} files",
                kind="no_recordings",
                key=root,
            )
        self._check_genres(root, genres, paths, targets)
        has_splits = any(splits)
        return Recordings(
            paths=paths,
            track_id=[path.relative_to(root).as_posix() for path in paths],
            target=targets,
            metadata={"group": groups, **({"split": splits} if has_splits else {})},
            split_name="folders" if has_splits else "column",
            folders=folders,
            sources=None if refused else [],  # what such a folder contains may become readable
            dropped={"with a name that is not UTF-8": not_utf8} if not_utf8 else {},
            notes=[
                *_folder_notes(genres, empty, numbered),
                *(f"the folder {name} may not be read and was skipped" for name in refused),
            ],
        )

    def _check_genres(self, root: Path, genres: list[GenreFolder], paths: list[Path], targets: list[str]) -> None:
        """Reject a single genre, and caution if the genres seem to be something else."""
        files: dict[str, list[Path]] = {}
        for path, target in zip(paths, targets, strict=True):
            files.setdefault(target, []).append(path)
        below = {folder.name for genre in genres for folder in subfolders(genre.path)}
        if len(files) == 1 and self.needs:
            (name,) = files
            remedy = f"; if {name} contains the genre folders, set data.root={root / name}" if len(below) > 1 else ""
            raise DataError(
                f"the data contains only one class ({name}); at least two are needed{remedy}",
                kind="one_class",
                key="data",
                value=name,
            )
        doubt = doubts(root, files, below)
        if doubt is not None:
            self.cautions["genres may be artists or other folders"] = doubt

    def _artist(self, file: Path, genre: Path, numbered: set[Path]) -> str | None:
        """The artist in lower case; None if unknown.

        Args:
            file: the recording.
            genre: the genre folder.
            numbered: the folders in genre folders that are numbers, not artists.
        """
        parts = file.relative_to(genre).parts
        if self.group_by in ("folder", "auto") and len(parts) > 1 and genre / parts[0] not in numbered:
            return parts[0].casefold()
        return artist_tag(file) if self.group_by in ("tag", "auto") else None


def _folder_notes(genres: list[GenreFolder], empty: list[str], numbered: set[Path]) -> list[str]:
    names = [(genre.split, genre.path.name.strip()) for genre in genres if is_utf8(genre.path.name)]
    repeated = sorted({name for split, name in names if names.count((split, name)) > 1})
    parents = list(dict.fromkeys(genre.path.parent.name for genre in genres if genre.split is not None))
    numbers = sorted({folder.name for folder in numbered})
    return [
        *([f"the folders {', '.join(parents)} are splits; genres are the folders in them"] if parents else []),
        *([f"the folders {some(numbers)} below the genres are FMA's numbers, not artists"] if numbers else []),
        *(f"the folder {name} contains no recordings" for name in empty),
        *(f"folders whose names differ only in whitespace were merged into one genre: {name}" for name in repeated),
    ]


def is_utf8(name: str) -> bool:
    """Whether a file name is UTF-8. Others, from old disks, cannot be written to tables."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def walk(root: Path, refused: list[Path]) -> Iterator[tuple[Path, list[Path]]]:
    """Folders with their recordings, in sorted order. Links to folders are followed, but each folder is visited once.

    Args:
        root: where to start.
        refused: takes the folders that may not be read, which are left out.
    """
    visited: set[tuple[int, int]] = set()
    pending = [root]
    while pending:
        folder = pending.pop()
        try:
            stat = folder.stat()
            if (stat.st_dev, stat.st_ino) in visited:
                continue
            visited.add((stat.st_dev, stat.st_ino))
            entries = sorted(f for f in folder.iterdir() if not f.name.startswith("."))
            subfolders = {f for f in entries if f.is_dir()}
        except PermissionError:
            refused.append(folder)
            continue
        yield folder, [f for f in entries if f.suffix.lower() in SUFFIXES and f not in subfolders]
        pending += [f for f in reversed(entries) if f in subfolders]
