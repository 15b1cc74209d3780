"""Folds of a calibration inside the training split of a table of segments."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from musicreclass.data.table import TableData


@contextmanager
def undivided_tracks(estimator: Any, data: TableData, y: np.ndarray) -> Iterator[None]:
    """Inside the block, the `cv` folds of a `CalibratedClassifierCV` do not divide the tracks of a table of segments.

    Other estimators, and tables with one row a track, are unchanged.

    Args:
        estimator: is fitted in the block.
        data: the table.
        y: class number of each training row.
    """
    from sklearn.calibration import CalibratedClassifierCV

    folds = estimator.cv if isinstance(estimator, CalibratedClassifierCV) else None
    if not isinstance(folds, int) or data.row_count("train") == data.size("train"):
        yield
        return
    estimator.cv = segment_folds(data, y, folds)
    try:
        yield
    finally:
        estimator.cv = folds  # which is saved with the model


def segment_folds(data: TableData, y: np.ndarray, n: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Stratified folds of the training rows that do not divide tracks, nor groups if every part of a fold then has all classes.

    Returns:
        the rows to fit on and those to calibrate on, of each fold.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    in_train = (data.tracks.split == "train").to_numpy()
    row_track = data.row_track[in_train[data.row_track]]
    tracks, first = np.unique(row_track, return_index=True)
    y = y[first]
    group = data.labels().group.iloc[tracks]
    group = group.where(group.notna(), pd.Series([f"track:{i}" for i in tracks], group.index))
    folds = list(StratifiedGroupKFold(n).split(tracks, y, group))
    if any(set(y[part]) != set(y) for fold in folds for part in fold):
        folds = list(StratifiedKFold(n).split(tracks, y))

    def rows_of(part: np.ndarray) -> np.ndarray:
        return np.flatnonzero(np.isin(row_track, tracks[part]))

    return [(rows_of(fitted), rows_of(calibrated)) for fitted, calibrated in folds]
