"""The table of predictions that every model produces: track ids, targets and class probabilities. All scores depend on it alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musicreclass.errors import RunError
from musicreclass.evaluation.tag_sets import SEPARATOR, class_numbers, has_tag_sets
from musicreclass.plurals import counted
from musicreclass.storage.atomic import replacing

PREFIX = "p/"
TRUE_PREFIX = "y/"


@dataclass(frozen=True)
class Predictions:
    """Class probabilities of one split.

    Attributes:
        table: `track_id`, `target`, `group` and one `p/<class>` column per class, one row per track. With several labels a
            track, in place of `target`, one `y/<tag>` column per tag: 1 for the tags of the track, else 0.
    """

    table: pd.DataFrame

    @classmethod
    def of(cls, track_id: list[str], probability: np.ndarray, classes: list[str], tracks: pd.DataFrame) -> Predictions:
        """Collect probabilities by track; rows of the same track (crops or segments) are averaged.

        Args:
            track_id: the track of each row.
            probability: (rows, C).
            classes: the class of each column.
            tracks: `track_id`, `target` and `group` of these tracks and possibly others; determines the order of the result.

        Raises:
            ValueError: if the shape is wrong, or rows are not probability distributions; with sets of tags as targets, if a value
                is no probability.
            FloatingPointError: if a probability is NaN or infinite.
        """
        if probability.shape != (len(track_id), len(classes)):
            raise ValueError(
                f"the model gives {probability.shape} probabilities for {counted(len(track_id), 'row')} and {counted(len(classes), 'class')}"
            )
        if not np.isfinite(probability).all():
            raise FloatingPointError("the model gives probabilities that are not finite")
        is_multi = has_tag_sets(tracks.target)
        if is_multi and ((probability < -1e-6) | (probability > 1 + 1e-6)).any():
            raise ValueError("the model gives probabilities that are negative or above 1")
        if not is_multi and ((probability < -1e-6).any() or not np.allclose(probability.sum(axis=1), 1, atol=1e-3)):
            raise ValueError("the model gives probabilities that are negative or do not sum to 1")
        frame = pd.DataFrame(probability, columns=[PREFIX + name for name in classes])
        mean = frame.groupby(np.asarray(track_id, dtype=object), sort=False).mean()
        labels = tracks.set_index("track_id").loc[mean.index, ["target", "group"]]
        if is_multi:
            indicators = class_numbers(labels.target, classes)
            columns = pd.DataFrame(indicators, labels.index, [TRUE_PREFIX + name for name in classes])
            labels = pd.concat([labels[["group"]], columns], axis=1)
        joined = pd.concat([labels, mean], axis=1)
        order = tracks.track_id[tracks.track_id.isin(mean.index)]
        return cls(joined.loc[order].rename_axis("track_id").reset_index())

    @property
    def classes(self) -> list[str]:
        """The class names, in the order of the columns."""
        return [c[len(PREFIX) :] for c in self.table.columns if c.startswith(PREFIX)]

    def __len__(self) -> int:
        return len(self.table)

    @property
    def is_multi(self) -> bool:
        """Whether a track has a set of tags."""
        return any(c.startswith(TRUE_PREFIX) for c in self.table.columns)

    def probabilities(self) -> np.ndarray:
        """(n, C) float64; rows sum to 1, except those of tags."""
        return self.table[[PREFIX + name for name in self.classes]].to_numpy(np.float64)

    def y_true(self) -> np.ndarray:
        """Class numbers (n,) int64, or indicators of tags (n, C) uint8."""
        if self.is_multi:
            return self.table[[TRUE_PREFIX + name for name in self.classes]].to_numpy(np.uint8)
        number = {name: i for i, name in enumerate(self.classes)}
        return self.table["target"].map(number).to_numpy(np.int64)

    def targets(self) -> list[str]:
        """The class name of each track, or its tags joined by a separator."""
        if not self.is_multi:
            return self.table["target"].tolist()
        names = np.array(self.classes, dtype=object)
        return [SEPARATOR.join(sorted(names[row.astype(bool)])) for row in self.y_true()]

    def labels(self) -> pd.DataFrame:
        """The table without probabilities."""
        return self.table[[column for column in self.table.columns if not column.startswith(PREFIX)]]

    def groups(self) -> list[str | None]:
        """Each track's group, None where unknown."""
        return [None if pd.isna(g) else str(g) for g in self.table["group"]]

    def save(self, path: Path) -> None:
        """Write the table as Parquet, atomically and durably."""
        with replacing(path, durable=True) as scratch:
            self.table.to_parquet(scratch, index=False)

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """Read a file written by `save`.

        Raises:
            RunError: if the file is missing, unreadable or not a table of predictions.
        """
        if not path.is_file():
            message = f"{path}: no such predictions; score the run on that split first"
            raise RunError(message, "predictions_not_found", path)
        try:
            table: Any = pd.read_parquet(path)
        except (OSError, ValueError) as error:
            message = f"{path}: not a readable table of predictions ({error})"
            raise RunError(message, "unreadable_predictions", path) from error
        predictions = cls(table)
        needed = {
            "track_id",
            "group",
            *(map(TRUE_PREFIX.__add__, predictions.classes) if predictions.is_multi else ["target"]),
        }
        if not needed <= set(table.columns) or not predictions.classes:
            message = f"{path}: not a table of predictions: must have the columns track_id, target, group and p/<class>"
            raise RunError(message, "invalid_predictions", path)
        return predictions
