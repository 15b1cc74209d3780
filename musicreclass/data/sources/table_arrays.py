"""Feature tables in NumPy files. They are read only if the columns and tracks are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musicreclass.errors import DataError
from musicreclass.plurals import counted

ARRAYS = (".npy", ".npz")
HEADER = ("track_id", "label", "split", "group", "path", "pretraining_overlap")  # first columns of a table by `prepare`


def names_file(path: Path) -> Path:
    """The file with the names of an array: `x.names.json` of `x.npy`."""
    return path.with_suffix(".names.json")


def read_arrays(path: Path) -> pd.DataFrame:
    """The table of a .npy or .npz file.

    The features are the array of a .npy file, or `x` of a .npz file: (n, F). `columns` (F names), `track_id` and `label` (n
    values each), and any other column by its name, are in the .npz file or in `names_file` as JSON lists.

    Raises:
        DataError: if the names are missing, or do not fit.
    """
    names = names_file(path)
    try:
        loaded: Any = np.load(path, allow_pickle=False)
        arrays = {"x": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
        if names.is_file():
            arrays |= {name: np.asarray(values) for name, values in json.loads(names.read_text("utf-8")).items()}
    except (OSError, ValueError, EOFError, AttributeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise DataError(
            f"{path}: cannot be read: {reason}; save names as text, not as objects", "unreadable", path
        ) from error
    missing = [name for name in ("x", "columns", "track_id", "label") if name not in arrays]
    if missing and (matrices := [name for name, array in arrays.items() if array.ndim == 2])[1:]:
        raise unjoined(path, {name: arrays[name].shape for name in matrices})
    if missing:
        line = (
            f"{path}: an array has no column names and no ids, so its features could be in any order; {', '.join(missing)} "
            f"missing: put them into {names.name} as JSON lists, or save a table as CSV or Parquet"
        )
        raise DataError(line, "unnamed_array", path, missing)
    x, columns = arrays.pop("x"), [str(name) for name in arrays.pop("columns").tolist()]
    if x.ndim != 2 or x.shape[1] != len(columns) or x.dtype.kind not in "fiu":
        line = f"{path}: x is {x.dtype} of shape {x.shape}; numbers of shape (tracks, {len(columns)}) are needed"
        raise DataError(line, "wrong_shape", path, x.shape)
    for name, values in arrays.items():
        if values.shape != (len(x),):
            raise DataError(
                f"{path}: {name} has the shape {values.shape}, and x has {counted(len(x), 'row')}", "wrong_length", name
            )
    repeated = sorted({name for name in columns if columns.count(name) > 1 or name in arrays})
    if repeated:
        raise DataError(f"{path}: the column {repeated[0]!r} is named twice", "duplicate_column", repeated[0])
    return pd.concat([pd.DataFrame(arrays), pd.DataFrame(x, columns=columns)], axis=1)


def unjoined(path: Path, shapes: dict[str, tuple[int, ...]]) -> DataError:
    """The error for features and tags in several matrices, whose rows no id joins.

    Args:
        path: of the file.
        shapes: of the matrices.
    """
    sizes = " and ".join(f"{name} {' x '.join(map(str, shape))}" for name, shape in shapes.items())
    same = len({shape[0] for shape in shapes.values()}) == 1
    reason = "have as many rows, but no ids" if same else "have different numbers of rows, and no ids to join them by"
    line = (
        f"{path}: its matrices ({sizes}) {reason}: which features belong to which tags is unknown; save them as one table with a"
        " track_id in each row"
    )
    return DataError(line, "unjoined_arrays", path, list(shapes))
