"""A user's own library: one folder of recordings per genre."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from musicreclass.data.audio.discs import Discs
from musicreclass.data.audio.search import Skipped, is_utf8, walk
from musicreclass.data.audio.suffixes import SUFFIXES
from musicreclass.data.corrections import read_corrections
from musicreclass.data.recording_files import Recordings
from musicreclass.data.recordings import AudioData
from musicreclass.data.sources.artists import find_artists, sources_of
from musicreclass.data.sources.folder_layout import GenreFolder, doubts, genre_folders, is_fma_folder, subfolders
from musicreclass.data.tracks import some
from musicreclass.errors import DataError, DatasetNotFoundError
from musicreclass.plurals import agreeing, counted
from musicreclass.storage.file_parts import file_of


@dataclass
class _LeftOut(Skipped):
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


class GenreFolders(AudioData):
    """`<root>/<genre>/**/<recording>`, or `<root>/<split>/<genre>/**/<recording>`; hidden files and folders are ignored.

    Args:
        root: the folder that contains one folder per genre.
        split: `folders`, if `train`, `valid` and `test` are the folders on top, `grouped` by artist, or `random`.
        corrections: a CSV file of checked labels, as `musicreclass review` exports it. They replace the folders' names, also of
            files in no genre folder.
        only_corrected: whether files without a checked label are left out, as in a library whose folders are no genres.
        group_by: sources of the artist in order of preference, one or a list: `tag`, the artist tag of the file; `name`, a file
            `Artist - Title` or a folder `Artist - Year - Album`; `folder`, the one below the genre (`rock/Nirvana/...`).
            `auto` is all three in this order; `none`.
        options: as in `AudioData`.
    """

    def __init__(
        self,
        root: str | None,
        split: dict[str, Any],
        group_by: str | Sequence[str] = "auto",
        corrections: str | None = None,
        only_corrected: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(split, **options)
        self.root = root
        self.group_by = group_by
        self.corrections = None if corrections is None else Path(corrections).expanduser()
        self.only_corrected = only_corrected
        if only_corrected and corrections is None:
            raise DataError(
                "data.only_corrected=true: data.corrections=FILE is missing", "missing_value", "data.corrections"
            )

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
        genre_of: list[Path] = []
        splits: list[str | None] = []
        folders = [root, *sorted({genre.path.parent for genre in genres} - {root})]
        empty: list[str] = []
        left_out = _LeftOut(outside=sum(f.suffix.lower() in SUFFIXES for f in root.iterdir() if f.is_file()))
        discs = Discs()
        for genre, split in genres:
            before = len(paths)
            for folder, files in walk(genre, left_out):
                folders.append(folder)
                for file in discs.add(folder, files):
                    if not is_utf8(str(file)):
                        left_out.not_utf8 += 1
                        continue
                    paths.append(file)
                    targets.append(genre.name.strip() or "(blank)")
                    genre_of.append(genre)
                    splits.append(split)
            if len(paths) == before:
                name = genre.relative_to(root).as_posix()
                empty.append(name if is_utf8(name) else ascii(name))
        notes = [*_folder_notes(genres, empty, numbered), *discs.summary()]
        if self.corrections is not None:
            checked = read_corrections(self.corrections, "data.corrections")
            corrected, extra = self._apply(root, checked, paths, targets)
            notes += [
                f"{counted(len(checked), 'checked label')}, of which {len(corrected) + len(extra)} {agreeing(len(corrected) + len(extra), 'is of a file', 'are of files')} below {root}"
            ]
            if self.only_corrected:
                paths, targets = [paths[i] for i in corrected], [targets[i] for i in corrected]
                genre_of, splits = [genre_of[i] for i in corrected], [splits[i] for i in corrected]
            paths, targets = [*paths, *extra], [*targets, *(checked[path.absolute()] for path in extra)]
            taken = {file_of(path) for path in extra}
            left_out.outside -= sum(file.parent == root and file.suffix.lower() in SUFFIXES for file in taken)
            genre_of += [root] * len(extra)
            splits += [None] * len(extra)
        if not paths:
            raise DatasetNotFoundError(
                f"{root}: no recordings; it must contain a folder for each genre, with {', '.join(SUFFIXES)} files",
                kind="no_recordings",
                key=root,
            )
        self._check_genres(root, genres, paths, targets)
        has_splits = any(splits)
        sources = sources_of(self.group_by)
        artists = find_artists(paths, genre_of, sources, frozenset(numbered), discs.artists())
        left_out.tags = artists.unread
        return Recordings(
            paths=paths,
            track_id=[path.relative_to(root).as_posix() for path in paths],
            target=targets,
            metadata={"group": artists.names, **discs.albums(paths, root), **({"split": splits} if has_splits else {})},
            split_name="folders" if has_splits else "column",
            folders=folders,
            # what a folder that may not be read contains may become readable
            sources=None
            if left_out.refused
            else [*([self.corrections] if self.corrections is not None else []), *discs.sheets],
            dropped=left_out.dropped(),
            notes=[*notes, *left_out.notes(), *([artists.note()] if sources else [])],
        )

    @staticmethod
    def _apply(
        root: Path, checked: dict[Path, str], paths: list[Path], targets: list[str]
    ) -> tuple[list[int], list[Path]]:
        """Replace the targets of files with a checked label.

        Returns:
            the indices of these files, and the files with a checked label that are below the root in no genre folder.
        """
        index = {path.absolute(): i for i, path in enumerate(paths)}
        for path in checked.keys() & index:
            targets[index[path]] = checked[path]
        top = root.absolute()
        others = [
            path for path in checked if path not in index and path.is_relative_to(top) and file_of(path).is_file()
        ]
        return sorted(index[path] for path in checked.keys() & index), [root / path.relative_to(top) for path in others]

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
