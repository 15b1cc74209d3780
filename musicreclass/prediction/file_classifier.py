"""Labels recordings with one or several fitted models; reading, features and inference overlap."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from musicreclass.config.messages import brief
from musicreclass.data.class_map import ClassMap
from musicreclass.errors import DataError, UserError
from musicreclass.evaluation.calibration import apply_temperature
from musicreclass.prediction.file_model import FileModel
from musicreclass.prediction.labels import Decision, Label, TagDecision, bad_file, most_say
from musicreclass.prediction.readers import Reader
from musicreclass.prediction.reading import TIME_LIMIT, Reading, read_all

BATCH = 8  # recordings per call of a model, at most
LEFT_OUT = "most probably of a class that the class map leaves out"
BATCH_SECONDS = 2.0  # after which a smaller batch is labelled


@dataclass(frozen=True)
class FileClassifier:
    """Labels recordings. `musicreclass.FileClassifier` opens one from run folders.

    Attributes:
        models: whose probabilities are combined.
        combine: the probabilities of all models (m, n, C) as (n, C).
        temperature: of the combined probabilities; 1 leaves them as they are.
        decision: from probabilities to a label.
        class_map: from the classes of the models to those of the labels; None if they are the same.
        promise: what the threshold of the decision promises, as a line.
        cautions: what limits the labels, a line each.
        signature: equal for classifiers that give equal labels.
        workers: processes that read.
        time_limit: seconds to read a recording, as `reading.TIME_LIMIT`.
    """

    models: Sequence[FileModel]
    combine: Callable[[np.ndarray], np.ndarray]
    temperature: float
    decision: Decision
    class_map: ClassMap | None = None
    promise: str = ""
    cautions: tuple[str, ...] = ()
    signature: str = ""
    workers: int = 1
    time_limit: float = TIME_LIMIT

    @property
    def classes(self) -> list[str]:
        """The class names, in the order of the probabilities."""
        return self.decision.classes

    @property
    def readers(self) -> dict[str, Reader]:
        """What all models read, each once, by its key."""
        return {reader.key: reader for model in self.models for reader in model.readers}

    @property
    def min_seconds(self) -> float:
        """The shortest recording that all models can use."""
        return max(model.min_seconds for model in self.models)

    def predict_proba(self, path: str | Path) -> np.ndarray:
        """Class probabilities of one recording, (C,), calibrated if the run could be.

        Raises:
            DataError: if the file cannot be used.
        """
        (label,) = self.label([Path(path).expanduser()])
        if label.error:
            raise DataError(label.error, "bad_file", path)
        return np.array(label.probabilities)

    def label(self, paths: Sequence[str | Path]) -> Generator[Label, None, None]:
        """Label recordings, in order of completion; a file that cannot be used gets a label with its error.

        Args:
            paths: of the files, which are only read.
        """
        readers, files = list(self.readers.values()), [Path(path) for path in paths]
        with closing(read_all(readers, files, self.workers, self.time_limit, self.min_seconds)) as readings:
            yield from self.label_readings(readings)

    def label_readings(self, readings: Iterable[Reading]) -> Iterator[Label]:
        """Label recordings as they are read, in batches."""
        batch: list[Reading] = []
        began = time.monotonic()
        for reading in readings:
            if reading.error:
                yield bad_file(str(reading.path), reading.error, reading.seconds)
                continue
            if not batch:
                began = time.monotonic()
            batch.append(reading)
            if len(batch) >= BATCH or time.monotonic() - began > BATCH_SECONDS:
                yield from self.label_batch(batch)
                batch = []
        if batch:
            yield from self.label_batch(batch)

    def label_batch(self, batch: Sequence[Reading]) -> Iterator[Label]:
        """Label recordings together; if that fails, one by one."""
        started = time.monotonic()
        try:
            probability, unlike = self.compute(batch)
        except UserError:
            raise
        except Exception as error:
            if len(batch) > 1:
                for reading in batch:
                    yield from self.label_batch([reading])
            else:
                message = f"{batch[0].path}: cannot be labelled ({type(error).__name__}: {brief(error)})"
                yield bad_file(str(batch[0].path), message, batch[0].seconds)
            return
        each = (time.monotonic() - started) / len(batch)
        for row, reading in enumerate(batch):
            path, seconds = str(reading.path), reading.seconds + each
            yield self.decision.label(path, probability[row], unlike[row], reading.duration, seconds)

    def compute(self, batch: Sequence[Reading]) -> tuple[np.ndarray, list[str | None]]:
        """Calibrated probabilities (n, C), and why each recording is unlike the training tracks."""
        embedders = {key: embedder for model in self.models for key, embedder in model.embedders.items()}
        for values in (reading.values for reading in batch):
            values |= {key: embedders[key].finish(read) for key, read in values.items() if isinstance(read, tuple)}
        read = [reading.values for reading in batch]
        classes, stack, reasons = self.models[0].classifier.card.classes, [], []
        for model in self.models:
            inputs = model.inputs(read)
            order = [model.classifier.card.classes.index(name) for name in classes]
            stack.append(model.predict_proba(inputs)[:, order])
            reasons.append(model.unlike(inputs))
        unlike = [most_say(of_one) for of_one in zip(*reasons, strict=True)]
        return self.finished(self.combine(np.stack(stack)), unlike)

    def finished(self, probability: np.ndarray, unlike: list[str | None]) -> tuple[np.ndarray, list[str | None]]:
        """Combined probabilities (n, C) with the temperature and the class map, and the reasons of `unknown`."""
        if isinstance(self.decision, TagDecision):
            return probability, unlike
        probability = apply_temperature(probability, self.temperature)
        if self.class_map is None:
            return probability, unlike
        mapped, _, rest = self.class_map.map_probabilities(probability, self.models[0].classifier.card.classes)
        is_left_out = rest > mapped.max(axis=1)
        return mapped, [r or (LEFT_OUT if out else None) for r, out in zip(unlike, is_left_out, strict=True)]
