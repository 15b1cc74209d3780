"""Reads FMA's features.csv, converted once into a memory-mapped table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
from pyarrow import csv as arrow_csv

from musicreclass.data.sources.fma_columns import SERIES
from musicreclass.data.sources.fma_metadata import (
    UNPACK_AGAIN,
    URL,
    VERSION,
    duplicate_track,
    read_csv_header,
    unreadable_metadata,
)
from musicreclass.errors import DataError, DatasetNotFoundError
from musicreclass.storage.store import Store, file_digest


class FeaturesCSV:
    """features.csv as a memory-mapped float32 table.

    Attributes:
        ids: track ids, int64 (n,).
        columns: names such as `mfcc_mean_01`, (F,).
        values: float32 (n, F), NaN if missing; read-only.
    """

    def __init__(self, ids: np.ndarray, columns: list[str], values: np.ndarray) -> None:
        self.ids, self.columns, self.values = ids, columns, values

    @classmethod
    def load(cls, path: Path, store: Store) -> FeaturesCSV:
        """Open a features.csv, which is converted and stored the first time.

        Raises:
            DatasetNotFoundError: if the file does not exist.
            DataError: if it is truncated, or not the features.csv of fma_metadata.zip.
        """
        if not path.is_file():
            raise DatasetNotFoundError(
                f"FMA: no {path.name} next to tracks.csv in {path.parent}; it is part of {URL}",
                kind="missing_features_csv",
                key=path,
            )
        key = {"content": file_digest(path, store), "version": VERSION}
        mib = path.stat().st_size * 0.24 / 2**20
        entry = store.entry("fma-features", key, lambda folder: convert_features(path, folder), mib, source=str(path))
        columns = json.loads((entry / "columns.json").read_text(encoding="utf-8"))
        ids = np.load(entry / "ids.npy", allow_pickle=False)
        values = np.memmap(entry / "values.f32", np.float32, "r", shape=(len(ids), len(columns)))
        return cls(ids, columns, values)

    def rows(self, ids: Any) -> np.ndarray:
        """The row of each track id, -1 if absent."""
        return np.asarray(pd.Index(self.ids).get_indexer(pd.Index(ids)))

    def columns_of(self, feature_sets: list[str], path: Path) -> list[int]:
        """The indices of the columns of the named feature sets, or of all columns if none is named.

        Raises:
            DataError: if the file lacks a feature set.
        """
        available = {name.rsplit("_", 2)[0] for name in self.columns}
        missing = [name for name in feature_sets if name not in available]
        if missing:
            raise DataError(
                f"{path}: no feature set {', '.join(missing)} (data.feature_sets); available: {', '.join(sorted(available))}",
                kind="missing_feature_set",
                key="data.feature_sets",
                value=missing[0],
            )
        return [i for i, name in enumerate(self.columns) if not feature_sets or name.rsplit("_", 2)[0] in feature_sets]


def convert_features(path: Path, folder: Path) -> None:
    """Convert a features.csv to raw float32, one block of rows at a time, so that memory is limited to a block.

    Raises:
        DataError: if it is truncated, or not the features.csv of fma_metadata.zip.
    """
    names, skip = read_csv_header(path, 3)
    columns = [f"{series}_{statistic}_{int(number):02d}" for series, statistic, number in names[1:] if number.isdigit()]
    if len(columns) != len(names) - 1 or not {series for series, _, _ in names[1:]} <= set(SERIES):
        raise DataError(
            f"{path}: the header is not that of the features.csv of fma_metadata.zip ({URL})",
            kind="invalid_header",
            key=path,
        )
    if not _ends_with_newline(path):
        raise DataError(
            f"{path}: the last line is incomplete, the file is truncated; {UNPACK_AGAIN}", kind="truncated", key=path
        )
    types = {"track_id": pyarrow.int64(), **dict.fromkeys(columns, pyarrow.float32())}
    id_blocks = []
    try:
        with (folder / "values.f32").open("wb") as raw:
            blocks = arrow_csv.open_csv(
                path,
                arrow_csv.ReadOptions(
                    skip_rows=skip, column_names=["track_id", *columns], block_size=1 << 22, use_threads=False
                ),
                convert_options=arrow_csv.ConvertOptions(column_types=types),
            )
            for block in blocks:
                id_blocks.append(block.column(0).to_numpy())
                values = np.empty((block.num_rows, len(columns)), np.float32)
                for i in range(len(columns)):
                    values[:, i] = block.column(i + 1).to_numpy(zero_copy_only=False)
                raw.write(values.data)
    except pyarrow.ArrowException as error:
        raise unreadable_metadata(path, error) from error
    ids = np.concatenate(id_blocks) if id_blocks else np.empty(0, np.int64)
    repeated = pd.Index(ids).duplicated()
    if repeated.any():
        raise duplicate_track(path, ids[repeated][0])
    np.save(folder / "ids.npy", ids, allow_pickle=False)
    (folder / "columns.json").write_text(json.dumps(columns), encoding="utf-8")


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 1))
        return file.read(1) == b"\n"
