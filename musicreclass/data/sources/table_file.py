"""A feature table in a user's own CSV or Parquet file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
from pyarrow import csv, parquet

from musicreclass.config.messages import nearest
from musicreclass.data.sources.label_columns import LabelColumns
from musicreclass.data.sources.table_arrays import ARRAYS, HEADER, names_file, read_arrays
from musicreclass.data.sources.table_faults import not_numeric_error, raise_if_no_table, read_remedy
from musicreclass.data.table_source import FeatureTable, TableSource
from musicreclass.data.tracks import to_text
from musicreclass.errors import DataError, DatasetNotFoundError
from musicreclass.plurals import counted


class TableFile(TableSource):
    """Any CSV, Parquet or named NumPy file with an id, a label, optionally a split and a group, and numeric features.

    Args:
        path: the file, `.csv` (comma-separated, with a header), `.parquet`, or `.npz` or `.npy` with names (`read_arrays`). If
            `musicreclass prepare` wrote it, its split and group are used.
        id_column: contains the track ids.
        label_column: contains the classes; rows without one are dropped and counted.
        label_separator: between the tags of a row's label, as `|` in `rock|guitar`; None for one class a row.
        label_columns: in place of `label_column`, a column for each tag, with 1 for the rows that have it, else 0.
        split_column: contains train, valid or test; None if there is none.
        group_column: contains groups that must not be divided between splits, such as artists; None if there is none.
        split, policies: as in `TableSource`.
    """

    def __init__(
        self,
        path: str,
        split: dict[str, Any],
        id_column: str = "track_id",
        label_column: str = "label",
        split_column: str | None = None,
        group_column: str | None = None,
        label_separator: str | None = None,
        label_columns: list[str] | None = None,
        **policies: Any,
    ) -> None:
        super().__init__(split, **policies)
        self.path = Path(path).expanduser()
        self.id_column = id_column
        self.labels_from = LabelColumns(label_column, label_separator, label_columns)
        self.split_column, self.group_column = split_column, group_column
        self.overlaps: list[str] = []

    def setup(self, stage: str | None = None) -> None:
        """As of every table; keeps the mark of features that were pretrained on the tracks. Errors name the file."""
        try:
            super().setup(stage)
        except DataError as error:
            (problem,) = error.problems
            if str(self.path) in problem.message:
                raise
            line = f"{self.path}: {problem.message}"
            raise type(error)(line, problem.kind, problem.key, problem.value, problem.suggestion) from error
        self.protocol = replace(self.protocol, pretraining_overlap=self.overlaps)

    def source(self) -> str:
        """The file's name."""
        return self.path.name

    def files(self) -> list[Path]:
        """The table's file, and that of an array's names."""
        names = names_file(self.path)
        return [self.path, *([names] if self.path.suffix.lower() in ARRAYS and names.is_file() else [])]

    def read(self) -> FeatureTable:
        """The file's rows.

        Raises:
            DatasetNotFoundError: if the file does not exist.
            DataError: if it cannot be read, a column is missing, or a feature column is not numeric.
        """
        prepared = is_prepared(self.path)
        if prepared:
            self.split_column = self.split_column or "split"
            self.group_column = self.group_column or "group"
        special = [self.id_column, *self.labels_from.as_text, self.split_column, self.group_column]
        frame = read_frame(self.path, [*special, *(HEADER if prepared else ())])
        if prepared:
            self.overlaps = sorted(set(to_text(frame[HEADER[-1]]).dropna()))
            frame = frame.drop(columns=[name for name in HEADER if name not in special])
        features, left_out = self._feature_columns(frame)
        missing_ids = int(to_text(frame[self.id_column]).isna().sum())
        if missing_ids:
            raise DataError(
                f"{self.path}: {counted(missing_ids, 'row has', 'rows have')} no {self.id_column}; every row needs an id",
                kind="missing_ids",
                key=self.id_column,
                value=missing_ids,
            )
        metadata = {"split": self.split_column, "group": self.group_column}
        with np.errstate(over="ignore"):
            x = frame[features].to_numpy(np.float32, na_value=np.nan)
        return FeatureTable(
            track_id=frame[self.id_column],
            target=self.labels_from.read(frame, self.path),
            x=x if x.flags.writeable else x.copy(),
            columns=[str(c) for c in features],
            left_out=left_out,
            metadata={name: frame[column] for name, column in metadata.items() if column is not None},
        )

    def _feature_columns(self, frame: pd.DataFrame) -> tuple[list[str], list[str]]:
        """The names of the feature columns, and of those that are left out."""
        settings = [("data.id_column", self.id_column), *self.labels_from.settings(),
                    ("data.split_column", self.split_column), ("data.group_column", self.group_column)]  # fmt: skip
        for setting, column in settings:
            if column is not None and column not in frame:
                raise self._missing_column(setting, column, nearest(column, set(frame.columns)))
        for column in self.ignore_columns:
            if column not in frame:
                raise self._missing_column("data.ignore_columns", column, nearest(column, set(frame.columns)))
        special = {column for _, column in settings if column is not None}
        left_out = [c for c in frame.columns if c in self.ignore_columns or (c not in special and self.is_left_out(c))]
        features = [c for c in frame.columns if c not in special and c not in left_out]
        not_numeric = [c for c in features if not pd.api.types.is_numeric_dtype(frame[c].dtype)]
        if not_numeric:
            raise not_numeric_error(self.path, frame, not_numeric, self.ignore_columns)
        if not features:
            raise DataError(
                f"{self.path}: no feature columns apart from {', '.join(sorted(special | set(self.ignore_columns)))}",
                kind="no_features",
                key=self.path,
            )
        return features, left_out

    def _missing_column(self, setting: str, column: str, suggestion: str) -> DataError:
        return DataError(
            f"{self.path}: no column {column!r} ({setting}); {suggestion}",
            kind="missing_column",
            key=setting,
            value=column,
        )


def is_prepared(path: Path) -> bool:
    """Whether a file begins with the columns that `musicreclass prepare table=FILE` writes."""
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            names = parquet.ParquetFile(path).schema_arrow.names
        else:
            with path.open(encoding="utf-8") as file:
                names = file.readline(1 << 16).rstrip("\r\n").split(",")
    except (OSError, UnicodeDecodeError, pyarrow.ArrowException):
        return False  # reported when it is read
    return tuple(names[: len(HEADER)]) == HEADER


def read_frame(path: Path, names: Iterable[str | None] = ()) -> pd.DataFrame:
    """A CSV or Parquet file as a frame; every row must have every field.

    Args:
        path: the file.
        names: columns of names, which are read as text unchanged: 007 is not 7, and NA may be an artist.

    Raises:
        DatasetNotFoundError: if the file does not exist.
        DataError: if it is neither CSV nor Parquet, truncated, or not UTF-8 text.
    """
    if not path.is_file():
        fault = "not a file" if path.exists() else "there is no such file"  # a folder, a pipe or a device
        raise DatasetNotFoundError(f"data.path={path}: {fault}", kind="file_not_found", key=path)
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty", kind="empty_file", key=path)
        if path.suffix.lower() in ARRAYS:
            return checked_frame(path, pyarrow.Table.from_pandas(read_arrays(path)), set(names))
        is_parquet = path.suffix.lower() in (".parquet", ".pq")
        raise_if_no_table(path, is_parquet)
        if is_parquet:
            file = parquet.ParquetFile(path)  # read_table rejects repeated columns by an internal error
            return checked_frame(path, file.read(), set(names))
        options = csv.ReadOptions(use_threads=False)  # with threads, errors do not include the row number
        convert = csv.ConvertOptions(column_types={name: pyarrow.string() for name in names if name is not None})
        table = csv.read_csv(path, options, csv.ParseOptions(newlines_in_values=True), convert)
        return checked_frame(path, table, set(names))
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        remedy = "" if isinstance(error, OSError) and error.errno else f"; {read_remedy(str(error), path)}"
        raise DataError(
            f"{path}: cannot be read: {' '.join(str(error).split())[:160]}{remedy}", kind="unreadable", key=path
        ) from error


def checked_frame(path: Path, table: pyarrow.Table, names: set[str | None]) -> pd.DataFrame:
    """As `read_frame`, of a table that was read.

    Raises:
        DataError: if it has no rows, or a column twice, or only one column.
        pyarrow.ArrowException: if a column of names contains lists or the like.
    """
    repeated = [name for name, count in Counter(table.column_names).items() if count > 1]
    if repeated:
        raise DataError(
            f"{path}: the header contains the column {repeated[0]!r} twice; rename one",
            kind="duplicate_column",
            key=repeated[0],
        )
    if table.num_columns and not table.num_rows:
        raise DataError(f"{path}: no rows below the header", kind="no_rows", key=path)
    frame = as_frame(table, names)
    if frame.shape[1] == 1:
        raise DataError(
            f"{path}: only one column ({frame.columns[0]!r:.60}): fields must be separated by commas",
            kind="one_column",
            key=path,
        )
    return frame


def as_frame(table: pyarrow.Table, names: set[str | None]) -> pd.DataFrame:
    """An Arrow table as a frame: names as text (so that 7 stays 7 if others are missing), booleans as 0 and 1,
    decimals as floats, empty columns as NaN."""
    for i, field in enumerate(table.schema):
        if field.name in names:
            table = table.set_column(i, field.name, table.column(i).cast(pyarrow.string()))
        elif pyarrow.types.is_boolean(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(pyarrow.int8()))
        elif pyarrow.types.is_decimal(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(pyarrow.float64()))
        elif pyarrow.types.is_null(field.type):  # no row has a value
            table = table.set_column(i, field.name, table.column(i).cast(pyarrow.float32()))
    # each Arrow column is freed as soon as it is converted
    return table.to_pandas(ignore_metadata=True, split_blocks=True, self_destruct=True)
