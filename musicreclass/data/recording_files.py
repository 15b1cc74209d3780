"""The recordings that a source lists, and their digests."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from musicreclass.data.tracks import check_columns, chosen
from musicreclass.errors import DataError
from musicreclass.storage.file_parts import file_of, part_digest
from musicreclass.storage.store import Store, file_digests

METADATA = ("split", "group", "album")


@dataclass
class Recordings:
    """The recordings of a source.

    Attributes:
        paths: one file per recording.
        track_id, target: as in `make_tracks`; a recording without a target is left out and counted.
        metadata: more columns of the Tracks table: `split`, `group`, `album`.
        split_name: the protocol name of the split in `metadata`.
        folders: the folders that were searched, in which a file may be added later.
        sources: other files that were read, such as tracks.csv; empty for none, None if unknown. See `TrackData.files`.
        dropped, notes: as in `TrackData`.
        artist_names: where `group` in `metadata` numbers the artists, their names, by which artists of other datasets are recognised.

    Raises:
        DataError: if a column is unknown or has another length than `paths`, or a path is not a path.
    """

    paths: list[Path]
    track_id: list[str]
    target: list[Any]
    metadata: dict[str, Any] = field(default_factory=dict)
    split_name: str = "column"
    folders: list[Path] = field(default_factory=list)
    sources: list[Path] | None = None
    dropped: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    artist_names: list[Any] | None = None

    def __post_init__(self) -> None:
        self.paths, self.folders = as_paths("paths", self.paths), as_paths("folders", self.folders)
        self.sources = None if self.sources is None else as_paths("sources", self.sources)
        columns = {"track_id": self.track_id, "target": self.target}
        check_columns(columns, len(self.paths), "there are {} paths")
        check_columns(self.metadata, len(self.paths), "there are {} paths", allowed=METADATA)

    def select(self, rows: np.ndarray) -> Recordings:
        """Some of the recordings, by their indices."""
        metadata = {name: chosen(values, rows) for name, values in self.metadata.items()}
        paths, track_id, target = ([values[i] for i in rows] for values in (self.paths, self.track_id, self.target))
        names = chosen(self.artist_names, rows)
        return replace(self, paths=paths, track_id=track_id, target=target, metadata=metadata, artist_names=names)


def as_paths(name: str, paths: Any) -> list[Path]:
    """A list of paths; text is converted.

    Raises:
        DataError: if an entry is neither.
    """
    entries = [paths] if isinstance(paths, (str, Path)) else list(paths)
    for path in entries:
        if not isinstance(path, (str, Path)):
            raise DataError(
                f"{name}: must be a list of paths, but it contains {path!r:.60}",
                kind="not_a_path",
                key=name,
                value=path,
            )
    return [Path(path) for path in entries]


def is_missing(path: Path) -> bool:
    """Whether a file does not exist; a broken link exists, and so does a file in a folder that cannot be read."""
    try:
        file_of(path).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def digests(paths: list[Path], store: Store, *of: Any) -> list[str | None]:
    """As `file_digests`, also of parts of files; a file with several parts is read once."""
    files = list(dict.fromkeys(file_of(path) for path in paths))
    by_file = dict(zip(files, file_digests(files, store, *of), strict=True))
    return [part_digest(by_file[file_of(path)], path) for path in paths]
