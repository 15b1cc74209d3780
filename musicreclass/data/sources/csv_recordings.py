"""Recordings that a user's own CSV or Parquet file lists, with their labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from musicreclass.config.messages import nearest
from musicreclass.data.recordings import AudioData, Recordings, is_missing
from musicreclass.data.sources.label_columns import LabelColumns
from musicreclass.data.sources.table_file import read_frame
from musicreclass.data.tracks import some, to_text
from musicreclass.errors import DataError, DatasetNotFoundError


class CSVRecordings(AudioData):
    """A recording and its label in each row, optionally with a split, a group and an album.

    Args:
        path: the CSV (comma-separated, with a header) or Parquet file.
        split: `column`, if there is a split column, `grouped`, if there is a group column, or `random`.
        root: the folder that relative paths start from; by default that of the file.
        audio_column: contains the paths of the recordings, which are also the track ids unless there is an id column.
        label_column, label_separator, label_columns: the classes or tags, as in `TableFile`; rows without a class are left out
            and counted.
        id_column, split_column, group_column, album_column: optional columns, as in `TableFile`.
        options: as in `AudioData`.
    """

    def __init__(
        self,
        path: str,
        split: dict[str, Any],
        root: str | None = None,
        audio_column: str = "path",
        label_column: str = "label",
        id_column: str | None = None,
        split_column: str | None = None,
        group_column: str | None = None,
        album_column: str | None = None,
        label_separator: str | None = None,
        label_columns: list[str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(split, **options)
        self.path = Path(path).expanduser()
        self.root = self.path.parent if root is None else Path(root).expanduser()
        self.labels_from = LabelColumns(label_column, label_separator, label_columns)
        self.columns = {
            "audio_column": audio_column,
            "id_column": id_column,
            "split_column": split_column,
            "group_column": group_column,
            "album_column": album_column,
        }

    def find(self) -> Recordings:
        """The recordings of all rows.

        Raises:
            DatasetNotFoundError: if the file, or every recording, does not exist.
            DataError: if the file cannot be read or lacks a column.
        """
        frame = read_frame(self.path, [*self.columns.values(), *self.labels_from.as_text])
        settings = [*((f"data.{name}", column) for name, column in self.columns.items()), *self.labels_from.settings()]
        for setting, column in settings:
            if column is not None and column not in frame:
                line = f"{self.path}: no column {column!r} ({setting}); {nearest(column, set(frame.columns))}"
                raise DataError(line, "missing_column", setting, column)
        names = to_text(frame[self.columns["audio_column"]])
        without_path = int(names.isna().sum())
        frame, names = frame[names.notna()], names.dropna()
        paths = [self.root / Path(name).expanduser() for name in names]
        if paths and all(map(is_missing, paths)):
            raise self._nothing_exists(names.iloc[0], paths)
        ids = names if self.columns["id_column"] is None else to_text(frame[self.columns["id_column"]])
        labels = self.labels_from.read(frame, self.path)
        optional = {name: self.columns[f"{name}_column"] for name in ("split", "group", "album")}
        return Recordings(
            paths=paths,
            track_id=ids.tolist(),
            target=labels.tolist(),
            metadata={name: to_text(frame[column]).tolist() for name, column in optional.items() if column is not None},
            sources=[self.path],
            dropped={"without a path": without_path} if without_path else {},
        )

    def _nothing_exists(self, name: str, paths: list[Path]) -> DatasetNotFoundError:
        """The error for paths that start from another folder."""
        remedy = "write them with /" if "\\" in name else "set data.root to the folder that they start from"
        column = self.columns["audio_column"]
        line = f"{self.path}: none of the {len(paths)} files of column {column!r} exists, such as {some(paths, 1)}; {remedy}"
        return DatasetNotFoundError(line, "no_recordings", "data.root", str(self.root))
