"""Feature tables: one row of numbers per track, in memory, batched as tensors."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from musicreclass.config import nearest
from musicreclass.data.sampling import TrackSampler
from musicreclass.data.tracks import TrackData, make_tracks, text
from musicreclass.errors import DataError, DatasetNotFoundError

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # x (B, F) float32, class number (B,), row in tracks (B,)
BATCHES_AT_ONCE = 16  # effective batches that a loader hands over together


@dataclass
class Table:
    """What a file of features says, before any policy.

    Attributes:
        track_id: one id per row, of any type.
        target: class names, None where unknown.
        x: (rows, features) float32, NaN where missing.
        columns: the features' names.
        known: further columns of the Tracks table: `split`, `group`, `album`, ...
    """

    track_id: Any
    target: Any
    x: np.ndarray
    columns: list[str]
    known: dict[str, Any] = field(default_factory=dict)


class TableData(TrackData):
    """A DataModule over a feature table. A subclass says where the table comes from in `read`.

    Args:
        split: the protocol, as in conf/data/split/.
        on_missing: what becomes of a row with missing or infinite features: `impute` (the classifier fills them with
            the training split's medians), `drop`, or `error`. A row without a single finite feature is always dropped.

    Attributes:
        x: the features in use, (tracks, F) float32, NaN where missing.
        columns: their names.
        transform: applied to a split's features once, before they are batched; a classifier sets it.
    """

    provides = ("table",)

    def __init__(self, split: dict[str, Any], on_missing: str = "impute") -> None:
        super().__init__(split)
        self.on_missing = on_missing
        self.x = np.empty((0, 0), np.float32)
        self.columns: list[str] = []
        self.transform: Callable[[torch.Tensor], torch.Tensor] | None = None

    @abstractmethod
    def read(self) -> Table:
        """The table as it stands on disk."""

    def setup(self, stage: str | None = None) -> None:
        """Read, apply the policies, split. Calling it again does nothing."""
        if len(self.tracks):
            return
        table = self.read()
        finite = np.isfinite(table.x)
        target = text(table.target)
        unlabelled = target.isna().to_numpy()
        empty = ~finite.any(axis=1) & ~unlabelled
        holed = ~finite.all(axis=1) & ~empty & ~unlabelled
        if self.on_missing == "error" and (holed | empty).any():
            first = pd.Series(table.track_id)[holed | empty].iloc[0]
            raise DataError(
                f"{int((holed | empty).sum())} tracks have missing or infinite features (the first is {first}), and "
                "data.on_missing=error; impute fills them with training medians, drop leaves them out"
            )
        self.dropped = {"without a label": int(unlabelled.sum()), "without a single finite feature": int(empty.sum())}
        out = unlabelled | empty
        if self.on_missing == "drop":
            self.dropped["with missing or infinite features"] = int(holed.sum())
            out |= holed
        elif holed.any():
            self.notes.append(
                f"{int(holed.sum())} tracks have missing or infinite features: training medians fill them"
            )
        keep = ~out
        table.x[~finite] = np.nan
        self.x = np.ascontiguousarray(table.x[keep], dtype=np.float32)
        self.columns = table.columns
        known = {name: pd.Series(values, dtype=object)[keep].tolist() for name, values in table.known.items()}
        ids = pd.Series(table.track_id, dtype=object)[keep].tolist()
        known.setdefault("checksum", [hashlib.sha1(row.tobytes()).hexdigest() for row in self.x])
        self._use(make_tracks(ids, target[keep].tolist(), **known))
        copies = int(self.tracks.checksum.duplicated().sum())
        if copies:
            self.notes.append(f"{copies} rows repeat another row's features: copies of one recording, or faults")

    def fingerprint(self) -> str:
        """A hash of the tracks, the columns and every feature."""
        digest = hashlib.sha256(super().fingerprint().encode())
        digest.update("\0".join(self.columns).encode())
        digest.update(self.x.tobytes())
        return digest.hexdigest()

    def arrays(self, split: str) -> tuple[list[str], np.ndarray, np.ndarray]:
        """A split's ids, features (n, F) float32 with NaN where missing, and class numbers (n,) int64."""
        here = (self.tracks.split == split).to_numpy()
        return self.tracks.track_id[here].tolist(), self.x[here], self.targets(split)

    def _batches(self, split: str, batch_size: int, sampler: TrackSampler | None) -> TensorBatches:
        _, features, y = self.arrays(split)
        x = torch.from_numpy(features)
        rows = np.flatnonzero((self.tracks.split == split).to_numpy())
        if self.transform is not None:
            x = self.transform(x)
        return TensorBatches((x, torch.from_numpy(y), torch.from_numpy(rows)), batch_size, sampler)

    def train_dataloader(self) -> TensorBatches:
        """Effective batches, several at a time, in an order drawn from (seed, epoch)."""
        return self._batches("train", BATCHES_AT_ONCE * self.batch_size, TrackSampler(self.size("train"), self.seed))

    def val_dataloader(self) -> TensorBatches:
        """The validation split in one batch: a table fits in memory, and so does what a network makes of it."""
        return self._batches("valid", 16384, None)


class TensorBatches:
    """Batches cut from tensors, without any per-row Python work.

    Args:
        tensors: (x, y, row), each with one entry per track.
        batch_size: tracks per batch; the last one may be smaller.
        sampler: gives the order of an epoch; Lightning tells it the epoch. None keeps the table's order.
    """

    batch_sampler = None  # Lightning looks for one beside a sampler

    def __init__(self, tensors: Batch, batch_size: int, sampler: TrackSampler | None) -> None:
        self.tensors = tensors
        self.batch_size = batch_size
        self.sampler = sampler

    def __len__(self) -> int:
        return -(-len(self.tensors[0]) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        x, y, row = self.tensors
        if self.sampler is None:
            yield from zip(*(t.split(self.batch_size) for t in self.tensors), strict=True)
            return
        for rows in self.sampler.order().split(self.batch_size):
            yield x[rows], y[rows], row[rows]


class TableFile(TableData):
    """Any CSV or Parquet file: an id, a label, optionally a split and a group, and numbers.

    Args:
        path: the file, `.csv` (comma-separated, with a header) or `.parquet`.
        id_column: names the tracks.
        label_column: their classes; a row without one is dropped and counted.
        split_column: holds train, valid or test, or None.
        group_column: what must not lie on two sides, such as the artist, or None.
        ignore_columns: columns that are not features.
        split, on_missing: as in `TableData`.
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
        on_missing: str = "impute",
    ) -> None:
        super().__init__(split, on_missing)
        self.path = Path(path).expanduser()
        self.id_column, self.label_column = id_column, label_column
        self.split_column, self.group_column = split_column, group_column
        self.ignore_columns = list(ignore_columns)

    def read(self) -> Table:
        """The file's rows.

        Raises:
            DatasetNotFoundError: if there is no such file.
            DataError: if it cannot be read, lacks a column, or a feature column is not of numbers.
        """
        frame = read_frame(self.path)
        named = {"data.id_column": self.id_column, "data.label_column": self.label_column,
                 "data.split_column": self.split_column, "data.group_column": self.group_column}  # fmt: skip
        for setting, column in named.items():
            if column is not None and column not in frame:
                raise DataError(f"{self.path}: no column {column!r} ({setting}); {nearest(column, set(frame.columns))}")
        unknown = [c for c in self.ignore_columns if c not in frame]
        if unknown:
            raise DataError(f"{self.path}: no column {unknown[0]!r} (data.ignore_columns)")
        special = {c for c in named.values() if c is not None} | set(self.ignore_columns)
        features = [c for c in frame.columns if c not in special]
        wordy = [c for c in features if not pd.api.types.is_numeric_dtype(frame[c].dtype)]
        if wordy:
            sample = frame[wordy[0]].dropna().head(1).tolist()
            raise DataError(
                f"{self.path}: column {wordy[0]!r} is not of numbers (it holds {sample[0] if sample else 'nothing'!r}): "
                f"leave it out with 'data.ignore_columns=[{','.join(wordy)}]', or name it as the group or split column"
            )
        if not features:
            raise DataError(f"{self.path}: no feature columns beside {', '.join(sorted(special))}")
        if frame[self.id_column].isna().any():
            raise DataError(f"{self.path}: {int(frame[self.id_column].isna().sum())} rows have no {self.id_column}")
        known = {"split": self.split_column, "group": self.group_column}
        with np.errstate(over="ignore"):
            x = frame[features].to_numpy(np.float32, na_value=np.nan)
        return Table(
            track_id=frame[self.id_column],
            target=frame[self.label_column].where(frame[self.label_column].notna(), None),
            x=np.array(x),
            columns=[str(c) for c in features],
            known={name: frame[column] for name, column in known.items() if column is not None},
        )


def read_frame(path: Path) -> pd.DataFrame:
    """A CSV or Parquet file as a frame; every row must have every field.

    Raises:
        DatasetNotFoundError: if there is no such file.
        DataError: if it is neither, cut short, or not UTF-8 text.
    """
    import pyarrow
    from pyarrow import csv, parquet

    if not path.is_file():
        raise DatasetNotFoundError(f"data.path={path}: there is no such file")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return parquet.read_table(path).to_pandas()
        if path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty")
        options = csv.ReadOptions(use_threads=False)  # with threads an error does not say in which row it is
        convert = csv.ConvertOptions(strings_can_be_null=True)
        frame = csv.read_csv(path, options, csv.ParseOptions(newlines_in_values=True), convert).to_pandas()
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {' '.join(str(error).split())[:160]}") from error
    if frame.columns.duplicated().any():
        raise DataError(f"{path}: the header names {frame.columns[frame.columns.duplicated()][0]!r} twice")
    if frame.empty:
        raise DataError(f"{path}: no rows beneath the header")
    if frame.shape[1] == 1:
        raise DataError(f"{path}: only one column ({frame.columns[0]!r:.60}): fields must be separated by commas")
    return frame
