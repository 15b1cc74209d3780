"""The contract that every model keeps, neural or not."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from musicreclass.data.table import TableData
from musicreclass.data.tracks import TrackData
from musicreclass.errors import DataError, RunError, UserError
from musicreclass.evaluation.predictions import Predictions
from musicreclass.storage.atomic import POINTER

SUMS = "SHA256SUMS"


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Whatever goes wrong while a saved file is read becomes one line that names it."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        with suppress(OSError), path.open("rb") as file:
            if file.read(len(POINTER)) == POINTER:
                raise RunError(f"{path}: a Git LFS pointer, not the file itself; fetch it with git lfs pull") from error
        words = " ".join(str(error).split())[:160]
        raise RunError(f"{path}: not a readable part of a model ({type(error).__name__}: {words})") from error


def check_sums(folder: Path) -> None:
    """Make sure that a saved model's files are as they were written.

    Raises:
        RunError: for a file that is missing or has changed.
    """
    with refusing(folder / SUMS):
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
        sums = {name: found for found, _, name in (line.partition("  ") for line in lines)}
    for name, wanted in sums.items():
        with refusing(folder / name):
            if digest(folder / name) != wanted:
                raise ValueError(f"it has changed since it was written, says {SUMS}")


def digest(file: Path) -> str:
    """A file's SHA-256."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


LogEpoch = Callable[[int, dict[str, float]], None]  # (epoch or round, values)
ShowClips = Callable[[np.ndarray, list[str], float], None]


@dataclass(frozen=True)
class Workspace:
    """Where a fit may write, and whom it tells about its progress.

    Attributes:
        folder: the run folder; checkpoints go into its `checkpoints/`.
        log_epoch: takes (epoch, values) for curves.
        resume: whether to go on from the checkpoints in the folder, if they are whole.
        show_clips: takes log-mel spectrograms (n, mels, frames) of training clips, their classes, and the seconds per frame.
        micro_batch: tracks per forward pass that a network goes on with, None for whole batches, `auto` to measure them, or
            `profile` for what the hardware profile says.
        note_micro_batch: takes the tracks per forward pass whenever they change.
    """

    folder: Path
    log_epoch: LogEpoch
    resume: bool = False
    show_clips: ShowClips | None = None
    micro_batch: int | str | None = "profile"
    note_micro_batch: Callable[[int | None], None] = lambda size: None


@dataclass
class ModelCard:
    """What a saved model is; `model/meta.json`.

    Attributes:
        kind: which Classifier reads it back: `network`, `estimator` or `boosted`.
        target: the dotted path of the network or estimator.
        arguments: what the target was made with, plain values.
        input: `table` or `waveform`.
        classes: names, in the order of the probabilities.
        columns: the features it takes, in order (for `input: table`).
        scale: whether features are standardised.
        sample_rate: of the waveform, Hz (for `input: waveform`, as what follows).
        clip_seconds: the length of a crop.
        eval_crops: evenly spaced crops of a track whose probabilities are averaged.
        eval_crop_position: where a single one is from, the `middle` or the `start`.
        frontend: settings of the log-mel ahead of the network; None for a network that reads the waveform itself.
    """

    kind: str
    target: str
    arguments: dict[str, Any]
    input: str
    classes: list[str]
    columns: list[str]
    scale: bool = True
    sample_rate: int = 0
    clip_seconds: float = 0.0
    eval_crops: int = 1
    eval_crop_position: str = "middle"
    frontend: dict[str, Any] | None = None

    def save(self, folder: Path) -> None:
        """Write `meta.json`."""
        (folder / "meta.json").write_text(json.dumps({"format": 1, **self.__dict__}, indent=2), encoding="utf-8")


class Classifier(ABC):
    """Fits on the training split, watches the validation split, never sees the test split.

    Attributes:
        card: what this is.
        facts: what a fit has to tell: the best epoch, how many there were.
    """

    card: ModelCard
    fit_summary: dict[str, Any]

    @abstractmethod
    def fit(self, data: TrackData, work: Workspace) -> None:
        """Learn from the training split; stop early and pick checkpoints by the validation split."""

    @abstractmethod
    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """Class probabilities (n, C) float64 of a batch (n, F) float32; each row sums to 1."""

    def save(self, folder: Path) -> None:
        """Write all that prediction needs into an empty folder: meta.json, the model's own files, and SHA256SUMS of them."""
        self.card.save(folder)
        self.write(folder)
        sums = [f"{digest(file)}  {file.name}\n" for file in sorted(folder.iterdir())]
        (folder / SUMS).write_text("".join(sums), encoding="utf-8")

    @abstractmethod
    def write(self, folder: Path) -> None:
        """Write the model's own files."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, card: ModelCard, trust: tuple[str, ...]) -> Classifier:
        """Read back what `save` wrote, executing nothing that it brings; `classifiers.load` finds the class."""

    def predict(self, data: TrackData, split: str) -> Predictions:
        """Probabilities for every track of a split.

        Raises:
            DataError: if the data's features are not those that the model was fitted on.
        """
        if not isinstance(data, TableData):
            raise DataError(f"this model reads a table, the data gives {' and '.join(data.provides)}")
        if data.columns != self.card.columns:
            missing = [c for c in self.card.columns if c not in data.columns]
            what = (
                f"{len(missing)} are missing ({', '.join(missing[:3])})" if missing else "their order or number differs"
            )
            raise DataError(f"the data's features are not those of the model: {what}")
        ids, x, _ = data.arrays(split)
        return Predictions.of(ids, self.predict_proba(x), self.card.classes, data.labels())
