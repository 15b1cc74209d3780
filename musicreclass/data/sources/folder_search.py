"""The recordings below genre folders, and what a search of them skipped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from musicreclass.data.audio.discs import Discs
from musicreclass.data.audio.search import Skipped, is_utf8, walk
from musicreclass.data.audio.suffixes import SUFFIXES
from musicreclass.data.sources.folder_layout import GenreFolder, genre_folders, is_fma_folder, subfolders
from musicreclass.data.tracks import some
from musicreclass.plurals import counted
from musicreclass.storage.file_parts import file_of


@dataclass
class LeftOut(Skipped):
    """What a search of genre folders skipped.

    Attributes:
        tags: number of files by suffix whose artist tag cannot be read.
        outside: recordings in no genre folder.
        not_utf8: files whose name is not UTF-8.
    """

    tags: Counter[str] = field(default_factory=Counter)
    outside: int = 0
    not_utf8: int = 0

    def dropped(self) -> dict[str, int]:
        """Numbers of files by reason."""
        counts = {
            "with a name that is not UTF-8": self.not_utf8,
            **self.unknown_suffixes(),
            "in no genre folder": self.outside,
        }
        return {reason: count for reason, count in counts.items() if count}

    def notes(self) -> list[str]:
        """Facts about what was not taken, one line each."""
        lines = self.refusals()
        if self.tags.total():
            names = some([suffix for suffix, count in self.tags.most_common() if count])
            lines.append(f"the artist tag of {counted(self.tags.total(), 'file')} cannot be read ({names})")
        return lines


@dataclass(frozen=True)
class Entry:
    """A recording.

    Attributes:
        path: of its file, or of a part of a disc image.
        target: the genre.
        genre: the genre folder; the root for files in no genre folder.
        split: `train`, `valid` or `test`, if the folder above the genre is named so; else None.
    """

    path: Path
    target: str
    genre: Path
    split: str | None = None


@dataclass
class FolderSearch:
    """What is below a folder of genre folders.

    Attributes:
        root: the folder.
        genres: the genre folders.
        numbered: folders below them that have FMA's numbers.
        left_out: what was skipped.
        entries: the recordings.
        folders: all folders that were read.
        empty: names of genre folders without recordings.
        discs: the disc images with CUE sheets.
    """

    root: Path
    genres: list[GenreFolder]
    numbered: set[Path]
    left_out: LeftOut
    entries: list[Entry] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    discs: Discs = field(default_factory=Discs)

    @classmethod
    def of(cls, root: Path) -> FolderSearch:
        """Search all genre folders.

        Raises:
            DataError: if the folders are no genres.
        """
        genres = genre_folders(root)
        numbered = {f for genre in genres for f in subfolders(genre.path) if is_fma_folder(f)}
        outside = sum(f.suffix.lower() in SUFFIXES for f in root.iterdir() if f.is_file())
        search = cls(root, genres, numbered, LeftOut(outside=outside))
        search.folders = [root, *sorted({genre.path.parent for genre in genres} - {root})]
        for genre in genres:
            search._add(genre)
        return search

    def _add(self, genre: GenreFolder) -> None:
        """Search a genre folder."""
        before = len(self.entries)
        target = genre.path.name.strip() or "(blank)"
        for folder, files in walk(genre.path, self.left_out):
            self.folders.append(folder)
            for file in self.discs.add(folder, files):
                if is_utf8(str(file)):
                    self.entries.append(Entry(file, target, genre.path, genre.split))
                else:
                    self.left_out.not_utf8 += 1
        if len(self.entries) == before:
            name = genre.path.relative_to(self.root).as_posix()
            self.empty.append(name if is_utf8(name) else ascii(name))

    def notes(self) -> list[str]:
        """Facts about the folders, one line each."""
        names = [(genre.split, genre.path.name.strip()) for genre in self.genres if is_utf8(genre.path.name)]
        repeated = sorted({name for split, name in names if names.count((split, name)) > 1})
        parents = list(dict.fromkeys(genre.path.parent.name for genre in self.genres if genre.split is not None))
        numbers = sorted({folder.name for folder in self.numbered})
        return [
            *([f"the folders {', '.join(parents)} are splits; genres are the folders in them"] if parents else []),
            *([f"the folders {some(numbers)} below the genres are FMA's numbers, not artists"] if numbers else []),
            *(f"the folder {name} contains no recordings" for name in self.empty),
            *(f"folders whose names differ only in whitespace were merged into one genre: {name}" for name in repeated),
        ]


def corrected(search: FolderSearch, checked: Mapping[Path, str], only: bool) -> tuple[list[Entry], int]:
    """The recordings of a search with checked labels; files with one that are in no genre folder are added.

    Args:
        search: its count of recordings in no genre folder is corrected.
        checked: labels by absolute path.
        only: whether recordings without a checked label are left out.

    Returns:
        the recordings, and the number of checked labels that are theirs.
    """
    root, top = search.root, search.root.absolute()
    paths = [entry.path.absolute() for entry in search.entries]
    entries = [
        replace(entry, target=checked[path]) if path in checked else entry
        for path, entry in zip(paths, search.entries, strict=True)
        if path in checked or not only
    ]
    in_genres = set(paths)
    others = [p for p in checked if p not in in_genres and p.is_relative_to(top) and file_of(p).is_file()]
    extra = [Entry(root / path.relative_to(top), checked[path], root) for path in others]
    files = {file_of(entry.path) for entry in extra}
    search.left_out.outside -= sum(file.parent == root and file.suffix.lower() in SUFFIXES for file in files)
    return [*entries, *extra], len(in_genres & checked.keys()) + len(extra)
