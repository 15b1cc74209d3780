"""A feature table in a file of one's own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
from pyarrow import csv, parquet

from musicreclass.config.messages import nearest
from musicreclass.data.table_source import FeatureTable, TableSource
from musicreclass.data.tracks import some, text
from musicreclass.errors import DataError, DatasetNotFoundError

UNNAMED = re.compile(r"\s*|Unnamed: \d+|__index_level_\d+__")  # what pandas leaves of an index


class TableFile(TableSource):
    """Any CSV or Parquet file: an id, a label, optionally a split and a group, and numbers.

    Args:
        path: the file, `.csv` (comma-separated, with a header) or `.parquet`.
        id_column: names the tracks.
        label_column: their classes; a row without one is dropped and counted.
        split_column: holds train, valid or test, or None.
        group_column: what must not lie on two sides, such as the artist, or None.
        ignore_columns: columns that are not features.
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
        ignore_columns: tuple[str, ...] | list[str] = (),
        **policies: Any,
    ) -> None:
        super().__init__(split, **policies)
        self.path = Path(path).expanduser()
        self.id_column, self.label_column = id_column, label_column
        self.split_column, self.group_column = split_column, group_column
        self.ignore_columns = list(ignore_columns)

    def source(self) -> str:
        """The file's name."""
        return self.path.name

    def files(self) -> list[Path]:
        """The table's file."""
        return [self.path]

    def read(self) -> FeatureTable:
        """The file's rows.

        Raises:
            DatasetNotFoundError: if there is no such file.
            DataError: if it cannot be read, lacks a column, or a feature column is not of numbers.
        """
        frame = read_frame(self.path, [self.id_column, self.label_column, self.split_column, self.group_column])
        named = {"data.id_column": self.id_column, "data.label_column": self.label_column,
                 "data.split_column": self.split_column, "data.group_column": self.group_column}  # fmt: skip
        for setting, column in named.items():
            if column is not None and column not in frame:
                raise DataError(f"{self.path}: no column {column!r} ({setting}); {nearest(column, set(frame.columns))}")
        unknown = [c for c in self.ignore_columns if c not in frame]
        if unknown:
            raise DataError(f"{self.path}: no column {unknown[0]!r} (data.ignore_columns)")
        special = {c for c in named.values() if c is not None} | set(self.ignore_columns)
        numbering = [c for c in frame.columns if c not in special and UNNAMED.fullmatch(str(c))]
        features = [c for c in frame.columns if c not in special and c not in numbering]
        wordy = [c for c in features if not pd.api.types.is_numeric_dtype(frame[c].dtype)]
        if wordy:
            sample = frame[wordy[0]].dropna().head(1).tolist()
            listed = ",".join(json.dumps(str(c), ensure_ascii=False) for c in [*self.ignore_columns, *wordy])
            raise DataError(
                f"{self.path}: column {wordy[0]!r} is not of numbers (it holds {sample[0] if sample else 'nothing'!r}): "
                f"leave it out with 'data.ignore_columns=[{listed}]', or name it as the group or split column"
            )
        if not features:
            raise DataError(f"{self.path}: no feature columns beside {', '.join(sorted(special))}")
        nameless = int(text(frame[self.id_column]).isna().sum())
        if nameless:
            raise DataError(f"{self.path}: {nameless} rows have no {self.id_column}")
        known = {"split": self.split_column, "group": self.group_column}
        with np.errstate(over="ignore"):
            x = frame[features].to_numpy(np.float32, na_value=np.nan)
        return FeatureTable(
            track_id=frame[self.id_column],
            target=frame[self.label_column].where(frame[self.label_column].notna(), None),
            x=np.array(x),
            columns=[str(c) for c in features],
            notes=[f"a column without a name is left out: it numbers the rows ({some(numbering)!r})"]
            if numbering
            else [],
            known={name: frame[column] for name, column in known.items() if column is not None},
        )


def read_frame(path: Path, names: Iterable[str | None] = ()) -> pd.DataFrame:
    """A CSV or Parquet file as a frame; every row must have every field.

    Args:
        path: the file.
        names: columns of names, which are text as it stands: 007 is not 7, and NA may be an artist.

    Raises:
        DatasetNotFoundError: if there is no such file.
        DataError: if it is neither, cut short, or not UTF-8 text.
    """
    if not path.is_file():
        raise DatasetNotFoundError(f"data.path={path}: there is no such file")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return as_frame(parquet.read_table(path), set(names))
        if path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty")
        options = csv.ReadOptions(use_threads=False)  # with threads an error does not say in which row it is
        convert = csv.ConvertOptions(column_types={name: pyarrow.string() for name in names if name is not None})
        table = csv.read_csv(path, options, csv.ParseOptions(newlines_in_values=True), convert)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {' '.join(str(error).split())[:160]}") from error
    twice = [name for name in table.column_names if table.column_names.count(name) > 1]
    if twice:
        raise DataError(f"{path}: the header names {twice[0]!r} twice")
    frame = as_frame(table, set(names))
    if frame.empty:
        raise DataError(f"{path}: no rows beneath the header")
    if frame.shape[1] == 1:
        raise DataError(f"{path}: only one column ({frame.columns[0]!r:.60}): fields must be separated by commas")
    return frame


def as_frame(table: pyarrow.Table, names: set[str | None]) -> pd.DataFrame:
    """An Arrow table as a frame: names as text (a missing one leaves 7 a 7, not a 7.0), truth values as 0 and 1."""
    for i, field in enumerate(table.schema):
        if field.name in names:
            table = table.set_column(i, field.name, table.column(i).cast(pyarrow.string()))
        elif pyarrow.types.is_boolean(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(pyarrow.int8()))
    return table.to_pandas(ignore_metadata=True)
