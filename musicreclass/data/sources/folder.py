"""A user's own library: one folder of recordings per genre."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from musicreclass.data.audio.suffixes import SUFFIXES
from musicreclass.data.corrections import read_corrections
from musicreclass.data.recording_files import Recordings
from musicreclass.data.recordings import AudioData
from musicreclass.data.sources.artists import find_artists, sources_of
from musicreclass.data.sources.folder_layout import GenreFolder, doubts, subfolders
from musicreclass.data.sources.folder_search import Entry, FolderSearch, corrected
from musicreclass.errors import DataError, DatasetNotFoundError
from musicreclass.plurals import agreeing, counted


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
        search = FolderSearch.of(root)
        entries, discs, left_out = search.entries, search.discs, search.left_out
        notes = [*search.notes(), *discs.summary()]
        if self.corrections is not None:
            checked = read_corrections(self.corrections, "data.corrections")
            entries, n_checked = corrected(search, checked, self.only_corrected)
            verb = agreeing(n_checked, "is of a file", "are of files")
            notes.append(f"{counted(len(checked), 'checked label')}, of which {n_checked} {verb} below {root}")
        if not entries:
            raise DatasetNotFoundError(
                f"{root}: no recordings; it must contain a folder for each genre, with {', '.join(SUFFIXES)} files",
                kind="no_recordings",
                key=root,
            )
        self._check_genres(root, search.genres, entries)
        paths = [entry.path for entry in entries]
        splits = [entry.split for entry in entries]
        sources = sources_of(self.group_by)
        genres = [entry.genre for entry in entries]
        artists = find_artists(paths, genres, sources, frozenset(search.numbered), discs.artists())
        left_out.tags = artists.unread
        read = [*([self.corrections] if self.corrections is not None else []), *discs.sheets]
        return Recordings(
            paths=paths,
            track_id=[path.relative_to(root).as_posix() for path in paths],
            target=[entry.target for entry in entries],
            metadata={
                "group": artists.names,
                **discs.albums(paths, root),
                **({"split": splits} if any(splits) else {}),
            },
            split_name="folders" if any(splits) else "column",
            folders=search.folders,
            sources=None if left_out.refused else read,  # a folder that may not be read may become readable
            dropped=left_out.dropped(),
            notes=[*notes, *left_out.notes(), *([artists.note()] if sources else [])],
        )

    def _check_genres(self, root: Path, genres: list[GenreFolder], entries: list[Entry]) -> None:
        """Reject a single genre, and caution if the genres seem to be something else."""
        files: dict[str, list[Path]] = {}
        for entry in entries:
            files.setdefault(entry.target, []).append(entry.path)
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
