"""The contract of every model, neural or not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from musicreclass.classifiers.model_folder import ModelCard, write_checksums
from musicreclass.classifiers.novelty import Novelty
from musicreclass.classifiers.training_ranges import check_ranges
from musicreclass.data.table import TableData
from musicreclass.data.track_data import TrackData
from musicreclass.errors import DataError, notices
from musicreclass.evaluation.predictions import Predictions

LogEpoch = Callable[[int, dict[str, float]], None]  # (epoch or round, values)
ShowClips = Callable[
    [np.ndarray, list[str], float], None
]  # (spectrograms (n, mels, frames), classes, seconds per frame)


@dataclass(frozen=True)
class Workspace:
    """Where a fit may write, and what it reports to.

    Attributes:
        folder: the run folder; checkpoints are written to its `checkpoints/`.
        log_epoch: takes the values of an epoch or round, for curves.
        resume: whether to continue from the checkpoints in the folder, if they are complete.
        show_clips: takes log-mel spectrograms of some training clips.
        micro_batch: tracks per forward pass of a network; None for whole batches, `auto` to measure it, or `profile` for what the
            hardware profile sets.
        note_micro_batch: takes the tracks per forward pass whenever they change.
    """

    folder: Path
    log_epoch: LogEpoch
    resume: bool = False
    show_clips: ShowClips | None = None
    micro_batch: int | str | None = "profile"
    note_micro_batch: Callable[[int | None], None] = lambda size: None


class Classifier(ABC):
    """Fits on the training split, selects by the validation split, does not read the test split.

    Attributes:
        card: what the model is.
        fit_summary: what a fit reports, such as the best epoch and the number of epochs.
        novelty: detects rows unlike the training tracks; None if that was not fitted.
    """

    card: ModelCard
    fit_summary: dict[str, Any]
    novelty: Novelty | None = None

    @abstractmethod
    def fit(self, data: TrackData, work: Workspace) -> None:
        """Learn from the training split; stop early and select checkpoints by the validation split."""

    @abstractmethod
    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """Class probabilities (n, C) float64 of a batch (n, F) float32; each row sums to 1."""

    def checked(self, x: Any) -> np.ndarray:
        """Arrays for `predict_proba`, from anything that NumPy converts; float32, or int16 samples.

        Raises:
            DataError: if they have another shape than the model reads, or are no numbers; or if a table is too unlike the
                training tracks, see `check_ranges`.
        """
        needed = (
            f"(n, {len(self.card.columns)})" if self.card.input == "table" else "(n, samples) or (n, crops, samples)"
        )
        try:
            array = np.asarray(x)
            array = array if array.dtype == np.int16 and self.card.input == "waveform" else array.astype(np.float32)
        except (TypeError, ValueError) as error:
            raise DataError(f"x: must be numbers of shape {needed}: {error}", "not_a_matrix", "x") from error
        is_table = array.ndim == 2 and array.shape[1] == len(self.card.columns)
        is_clips = array.ndim in (2, 3) and 0 not in array.shape[1:]
        if not (is_table if self.card.input == "table" else is_clips):
            raise DataError(f"x has shape {array.shape}; needs {needed}", "wrong_shape", "x", array.shape)
        if is_table:
            for line in check_ranges(self.card.ranges, array, self.card.columns):
                notices.warning("%s", line)
        return array

    def describe(self, x: np.ndarray) -> np.ndarray:
        """What novelty is measured on, (n, D) float32: the features of a table."""
        return x

    @property
    def description_width(self) -> int:
        """D of `describe`."""
        return len(self.card.columns)

    def descriptions(self, data: TrackData, split: str) -> np.ndarray:
        """Descriptions (n, D) of the tracks of a split, or of a part of them."""
        assert isinstance(data, TableData)
        return data.arrays(split)[1]

    def fit_novelty(self, data: TrackData) -> None:
        """Learn what training tracks are like; the threshold is chosen on the validation tracks."""
        self.novelty = Novelty.fit(self.descriptions(data, "train"), self.descriptions(data, "valid"))

    def unlike(self, x: np.ndarray) -> list[str | None]:
        """Why each row is unlike the training tracks, so that its class is unknown; None if it is not.

        Args:
            x: as in `predict_proba`.
        """
        return [None] * len(x) if self.novelty is None else self.novelty.reasons(self.describe(x))

    def save(self, folder: Path) -> None:
        """Write all that prediction needs into an empty folder: meta.json, the files of the model, and their checksums."""
        self.card.save(folder)
        self.write(folder)
        if self.novelty is not None:
            self.novelty.save(folder)
        write_checksums(folder)

    @abstractmethod
    def write(self, folder: Path) -> None:
        """Write the files of the model."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, card: ModelCard, trust: tuple[str, ...]) -> Classifier:
        """Read what `save` wrote, executing no code from it; `classifiers.factory.load` finds the class."""

    def predict(self, data: TrackData, split: str) -> Predictions:
        """Probabilities of every track of a split.

        Raises:
            DataError: if the features of the data are not those that the model was fitted on.
        """
        if not isinstance(data, TableData):
            line = f"this model reads a table, and the data gives a {' and a '.join(data.provides)}"
            raise DataError(line, "input_mismatch", "data")
        if data.columns != self.card.columns:
            missing = [name for name in self.card.columns if name not in data.columns]
            difference = "their order or number differs"
            if missing:
                difference = f"{len(missing)} are missing ({', '.join(missing[:3])})"
            line = f"the features of the data are not those of the model: {difference}"
            raise DataError(line, "other_features", "data", missing)
        ids, x, _ = data.arrays(split)
        return Predictions.of(ids, self.predict_proba(x), self.card.classes, data.labels())
