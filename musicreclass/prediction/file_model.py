"""One fitted model with what it reads of a recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from musicreclass.classifiers.model_folder import ModelCard
from musicreclass.prediction.readers import Embedder, Reader


class Labeller(Protocol):
    """What labels arrays: a `Classifier`, or `TagClassifier`.

    Attributes:
        card: what it reads, and its classes.
    """

    card: ModelCard

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """Class probabilities, (n, C)."""

    def unlike(self, x: np.ndarray) -> list[str | None]:
        """Why each input cannot be labelled; None if it can."""


@dataclass(frozen=True)
class FileModel:
    """A fitted model that labels recordings.

    Attributes:
        name: for messages.
        classifier: fitted, or a mapping of tags.
        readers: what it reads; several for joined features.
        embedders: by the key of the reader, of encoders.
        columns: positions of the features that the model reads among those of all readers; empty for all.
        min_seconds: recordings that are shorter cannot be used.
    """

    name: str
    classifier: Labeller
    readers: Sequence[Reader]
    embedders: Mapping[str, Embedder] = field(default_factory=dict)
    columns: Sequence[int] = ()
    min_seconds: float = 1.0

    def inputs(self, read: Sequence[Mapping[str, Any]]) -> list[np.ndarray]:
        """The input of the model for each recording: features (1, D), or crops (1, crops, samples).

        Args:
            read: what the readers have read of each recording, by their keys.
        """
        if self.classifier.card.input == "waveform":
            (reader,) = self.readers
            return [values[reader.key][None] for values in read]
        columns: Any = list(self.columns) or slice(None)
        return [np.concatenate([values[r.key] for r in self.readers])[None, columns] for values in read]

    def predict_proba(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """Class probabilities of recordings, (n, C); those of equal shape are computed together."""
        probabilities = np.empty((len(inputs), len(self.classifier.card.classes)))
        shapes = [x.shape for x in inputs]
        for shape in dict.fromkeys(shapes):
            rows = [i for i, other in enumerate(shapes) if other == shape]
            probabilities[rows] = self.classifier.predict_proba(np.concatenate([inputs[i] for i in rows]))
        return probabilities

    def unlike(self, inputs: Sequence[np.ndarray]) -> list[str | None]:
        """Why each recording is unlike the training tracks; None if it is not, or if that is unknown."""
        return [self.classifier.unlike(x)[0] for x in inputs]
