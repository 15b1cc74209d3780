"""From class probabilities to a label: a genre with its confidence, or `unknown` with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from musicreclass.evaluation.tag_sets import SEPARATOR

UNKNOWN = "unknown"
NO_TAG = "no tag is as probable as its threshold"


@dataclass(frozen=True)
class Label:
    """The label of a recording.

    Attributes:
        path: of the file.
        genre: the most probable class, or `unknown`; empty after an error.
        confidence: probability of the most probable class, calibrated if the run could be.
        top: the most probable classes with their probabilities.
        reason: why the genre is unknown; empty if it is known.
        duration: of the recording, seconds; None if unknown.
        seconds: that reading and labelling took.
        error: why the file could not be used; empty if it could.
        probabilities: of all classes, in their order; empty after an error.
        tags: all tags of the recording joined by `SEPARATOR`, the most probable one first; None if it has one label.
    """

    path: str
    genre: str
    confidence: float | None
    top: tuple[tuple[str, float], ...]
    reason: str
    duration: float | None
    seconds: float
    error: str = ""
    probabilities: tuple[float, ...] = ()
    tags: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The fields of a line of JSON."""
        top = [{"genre": genre, "confidence": round(confidence, 6)} for genre, confidence in self.top]
        return {
            "path": self.path,
            "genre": self.genre,
            "confidence": None if self.confidence is None else round(self.confidence, 6),
            **({} if self.tags is None else {"tags": self.tags}),
            "top_predictions": top,
            "checked": "",
            "reason": self.reason,
            "duration": None if self.duration is None else round(self.duration, 2),
            "processing_time": round(self.seconds, 3),
            "error": self.error,
        }


@dataclass(frozen=True)
class Decision:
    """When a recording is labelled.

    Attributes:
        classes: in the order of the probabilities.
        top_k: how many classes a label lists.
        threshold: the lowest confidence of a label; 0 labels everything.
    """

    classes: list[str]
    top_k: int = 3
    threshold: float = 0.0

    def label(
        self, path: str, probability: np.ndarray, unlike: str | None, duration: float | None, seconds: float
    ) -> Label:
        """The label of a recording.

        Args:
            path: of the file.
            probability: of each class, (C,).
            unlike: why the recording is unlike the training tracks.
            duration, seconds: as in `Label`.
        """
        order = np.argsort(-probability, kind="stable")
        top = tuple((self.classes[i], float(probability[i])) for i in order[: self.top_k])
        confidence = float(probability[order[0]])
        reason = unlike or ""
        if not reason and confidence < self.threshold:
            reason = f"confidence below {self.threshold:.3f}"
        genre = UNKNOWN if reason else self.classes[order[0]]
        return Label(path, genre, confidence, top, reason, duration, seconds, "", tuple(probability.tolist()))


@dataclass(frozen=True)
class TagDecision(Decision):
    """Which tags a recording gets: those that are at least as probable as their thresholds, the most probable one first.

    Attributes:
        thresholds: of each tag, in the order of the probabilities.
    """

    thresholds: tuple[float, ...] = ()

    def label(
        self, path: str, probability: np.ndarray, unlike: str | None, duration: float | None, seconds: float
    ) -> Label:
        """The tags of a recording; its genre is the most probable one. See `Decision`."""
        order = np.argsort(-probability, kind="stable")
        chosen = [i for i in order if probability[i] >= self.thresholds[i]]
        listed = [*chosen, *(i for i in order if i not in chosen)][: max(self.top_k, len(chosen))]
        top = tuple((self.classes[i], float(probability[i])) for i in listed)
        reason = unlike or ("" if chosen else NO_TAG)
        tags = "" if reason else SEPARATOR.join(self.classes[i] for i in chosen)
        genre = UNKNOWN if reason else self.classes[chosen[0]]
        confidence = float(probability[chosen[0] if chosen else order[0]])
        return Label(path, genre, confidence, top, reason, duration, seconds, "", tuple(probability.tolist()), tags)


def bad_file(path: str, error: str, seconds: float) -> Label:
    """The label of a file that could not be used."""
    return Label(path, "", None, (), "", None, seconds, error)


def most_say(reasons: Sequence[str | None]) -> str | None:
    """The first reason of several models, if more than half of them give one."""
    stated = [reason for reason in reasons if reason]
    return stated[0] if 2 * len(stated) > len(reasons) else None
