"""Recordings that a user's own CSV or Parquet file lists, with their labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from musicreclass.config.messages import nearest
from musicreclass.data.recording_files import Recordings, is_missing
from musicreclass.data.recordings import AudioData
from musicreclass.data.sources.label_columns import LabelColumns
from musicreclass.data.sources.table_file import read_frame
from musicreclass.data.tracks import some, to_text
from musicreclass.errors import DataError, DatasetNotFoundError
from musicreclass.plurals import agreeing, counted


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
        self._check_columns(frame)
        names = to_text(frame[self.columns["audio_column"]])
        without_path = int(names.isna().sum())
        frame, names = frame[names.notna()], names.dropna()
        self._check_names(names)
        paths = [self.root / (Path(name).expanduser() if name.startswith("~/") else name) for name in names]
        if paths and all(map(is_missing, paths)):
            raise self._nothing_exists(names.iloc[0], paths)
        ids = names if self.columns["id_column"] is None else to_text(frame[self.columns["id_column"]])
        self._check_ids(ids)
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

    def _check_columns(self, frame: pd.DataFrame) -> None:
        """Make sure that every configured column exists.

        Raises:
            DataError: if one does not.
        """
        of_tracks = [(f"data.{name}", column) for name, column in self.columns.items()]
        for setting, column in [*of_tracks, *self.labels_from.settings()]:
            if column is None or column in frame:
                continue
            remedy = nearest(column, set(frame.columns))
            padded = next((name for name in frame.columns if str(name).strip() == column), None)
            if padded is not None:
                remedy = f"the header has {padded!r}: remove the blanks"
            line = f"{self.path}: no column {column!r} ({setting}); {remedy}"
            raise DataError(line, "missing_column", setting, column)

    def _check_names(self, names: pd.Series[str]) -> None:
        """Make sure that the column of recordings contains paths.

        Raises:
            DataError: if it contains an address, or a character that no path has.
        """
        column = self.columns["audio_column"]
        for kind, pattern, remedy in (
            ("url", r"(?i)[a-z][a-z0-9+.-]+://", "download the recordings first, and write their paths"),
            ("not_a_path", "\0", "it contains a NUL character: write the file again as text"),
        ):
            wrong = names[names.str.match(pattern) if kind == "url" else names.str.contains(pattern, regex=False)]
            if len(wrong):
                line = f"{self.path}: {counted(len(wrong), 'entry')} of column {column!r} {agreeing(len(wrong), 'is no path', 'are no paths')}, such as {wrong.iloc[0]!r:.100}"
                raise DataError(f"{line}; {remedy}", kind, "data.audio_column", wrong.iloc[0])

    def _check_ids(self, ids: pd.Series[Any]) -> None:
        """Make sure that each row has an id of its own.

        Raises:
            DataError: if an id is missing, or is there twice.
        """
        setting = "audio_column" if self.columns["id_column"] is None else "id_column"
        column = self.columns[setting]
        if ids.isna().any():
            line = f"{self.path}: {counted(int(ids.isna().sum()), 'row has', 'rows have')} no {column} (data.{setting}); every row needs an id"
            raise DataError(line, "missing_ids", f"data.{setting}", int(ids.isna().sum()))
        repeated = ids[ids.duplicated()]
        if len(repeated):
            line = f"{self.path}: {counted(len(repeated), 'row repeats', 'rows repeat')} an entry of column {column!r} (data.{setting}), such as {repeated.iloc[0]!r:.100}"
            raise DataError(
                f"{line}; delete them, or name another column", "duplicate_ids", f"data.{setting}", len(repeated)
            )

    def _nothing_exists(self, name: str, paths: list[Path]) -> DatasetNotFoundError:
        """The error for paths that start from another folder."""
        remedy = "write them with /" if "\\" in name else "set data.root to the folder that they start from"
        column = self.columns["audio_column"]
        line = f"{self.path}: none of the {counted(len(paths), 'file')} of column {column!r} exists, such as {some(paths, 1)}; {remedy}"
        return DatasetNotFoundError(line, "no_recordings", "data.root", str(self.root))
