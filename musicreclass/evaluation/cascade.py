"""Cascades: a cheap model labels the tracks of which it is sure, and the next, more expensive one only the others.

Each stage has a temperature, which calibrates its probabilities, and a threshold on its calibrated confidence. Both are fitted on
validation predictions; `cross_fit_cascade` scores them on tracks that the fit did not see.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from musicreclass.evaluation.calibration import MIN_TRACKS, TEMPERATURES, apply_temperature, fit_temperature
from musicreclass.evaluation.combining import FORMAT, Combination, checked_names, checked_numbers, grouped_folds
from musicreclass.evaluation.probabilities import check_stack

METHOD = "cascade"
NEVER = 2.0  # a threshold that no confidence reaches
MAX_STAGES = 6
MAX_CANDIDATES = 100  # thresholds of a stage that are tried
MAX_COMBINATIONS = 20_000  # of thresholds of all stages
MIN_GAP = 1e-6  # between two confidences that a threshold separates
TOLERANCE = 1e-9  # relative, when accuracies and seconds are compared


@dataclass(frozen=True)
class Goal:
    """What thresholds are chosen for. Without both: the lowest cost at the accuracy of the last stage alone.

    Attributes:
        target_accuracy: to be reached at the lowest cost; the highest accuracy if none of the thresholds reaches it.
        max_cost: seconds per track, on average, at which accuracy is to be highest; the lowest cost if all thresholds exceed it.
    """

    target_accuracy: float | None = None
    max_cost: float | None = None


@dataclass(frozen=True)
class Cascade:
    """How the probabilities of some members become those of their cascade.

    Attributes:
        members: a name for each stage, from the cheapest.
        classes: the names of the columns, which every member has in this order.
        temperatures: of each stage.
        thresholds: of each stage but the last: the lowest calibrated confidence of a track that stops there.
        seconds: per track, that each stage adds.
    """

    method: ClassVar[str] = METHOD
    members: list[str]
    classes: list[str]
    temperatures: list[float]
    thresholds: list[float]
    seconds: list[float]

    @classmethod
    def fit(
        cls,
        members: list[str],
        classes: list[str],
        stack: np.ndarray,
        y_true: np.ndarray,
        seconds: list[float],
        goal: Goal,
    ) -> Cascade:
        """Fit temperatures and thresholds on labelled tracks.

        Args:
            members, classes, seconds: as in the attributes.
            stack: probabilities of the members, (m, n, C).
            y_true: class numbers, (n,).
            goal: what thresholds are chosen for.
        """
        enough = len(y_true) >= MIN_TRACKS
        temperatures = [fit_temperature(probability, y_true) if enough else 1.0 for probability in stack]
        confidence = np.stack([apply_temperature(p, t).max(axis=1) for p, t in zip(stack, temperatures, strict=True)])
        thresholds = choose_thresholds(confidence, stack.argmax(axis=2) == y_true, seconds, goal)
        return cls(members, classes, temperatures, thresholds, seconds)

    def calibrated(self, stack: np.ndarray) -> np.ndarray:
        """The calibrated probabilities of each stage, (m, n, C).

        Raises:
            ValueError: for another number of members or classes.
        """
        check_stack(stack, len(self.members), len(self.classes))
        return np.stack([apply_temperature(p, t) for p, t in zip(stack, self.temperatures, strict=True)])

    def stages(self, stack: np.ndarray) -> np.ndarray:
        """The stage at which each track stops, (n,).

        Args:
            stack: probabilities of the members, (m, n, C).
        """
        confidence = self.calibrated(stack)[:-1].max(axis=2)
        stops = confidence >= np.array(self.thresholds)[:, None]
        return np.concatenate([stops, np.ones((1, stack.shape[1]), bool)]).argmax(axis=0)

    def combine(self, stack: np.ndarray) -> np.ndarray:
        """The probabilities of the cascade, (n, C) float64: those of the stage at which a track stops.

        Args:
            stack: probabilities of the members in their order, (m, n, C).

        Raises:
            ValueError: for another number of members or classes.
        """
        return self.calibrated(stack)[self.stages(stack), np.arange(stack.shape[1])]

    def as_json(self) -> dict[str, Any]:
        """The content of ensemble.json."""
        return {"format": FORMAT, "method": METHOD, **asdict(self)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Cascade:
        """Read what `as_json` returned.

        Raises:
            ValueError: if it is inconsistent.
        """
        members, classes = (checked_names(content.get(name), name) for name in ("members", "classes"))
        stages = len(members)
        if not 2 <= stages <= MAX_STAGES or len(set(classes)) < len(classes):
            raise ValueError(f"must have 2 to {MAX_STAGES} stages, and no class twice")
        temperatures = checked_numbers(content.get("temperatures"), "temperatures", stages)
        thresholds = checked_numbers(content.get("thresholds"), "thresholds", stages - 1)
        seconds = checked_numbers(content.get("seconds"), "seconds", stages)
        if min(temperatures) < TEMPERATURES[0] or max(temperatures) > TEMPERATURES[1]:
            raise ValueError("temperatures: out of range")
        if min(thresholds) < 0 or max(thresholds) > NEVER or min(seconds) < 0:
            raise ValueError(f"thresholds: must be between 0 and {NEVER:g}; seconds must not be negative")
        return cls(members, classes, temperatures, thresholds, seconds)


def read_combination(content: Any) -> Combination | Cascade:
    """Read the content of ensemble.json.

    Raises:
        ValueError: if it is not of this format, or inconsistent.
    """
    if isinstance(content, dict) and content.get("format") == FORMAT and content.get("method") == METHOD:
        return Cascade.from_json(content)
    return Combination.from_json(content)


def cross_fit_cascade(
    stack: np.ndarray, y_true: np.ndarray, groups: list[str | None], seconds: list[float], goal: Goal
) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities of a cascade, (n, C), and the stage of each track, (n,), each track's from a fit without its fold.

    Args:
        stack, y_true, seconds, goal: as in `Cascade.fit`.
        groups: each track's group, or None; a group is in one fold.
    """
    folds = grouped_folds(groups)
    combined, stages = np.empty(stack.shape[1:]), np.empty(len(y_true), int)
    names, classes = [str(k) for k in range(len(stack))], [str(k) for k in range(stack.shape[2])]
    for fold in np.unique(folds):
        rows = folds == fold
        cascade = Cascade.fit(names, classes, stack[:, ~rows], y_true[~rows], seconds, goal)
        combined[rows], stages[rows] = cascade.combine(stack[:, rows]), cascade.stages(stack[:, rows])
    return combined, stages


def choose_thresholds(confidence: np.ndarray, correct: np.ndarray, seconds: list[float], goal: Goal) -> list[float]:
    """The best thresholds for a goal on these tracks, one per stage but the last.

    All combinations of some quantiles of each stage's confidences are tried, and thresholds at which all tracks or none stop.

    Args:
        confidence: calibrated, of each stage, (m, n).
        correct: whether the stage's most probable class is true, (m, n).
        seconds: per track, that each stage adds.
        goal: what is best.
    """
    count = min(MAX_CANDIDATES, int(MAX_COMBINATIONS ** (1 / (len(seconds) - 1))) - 2)
    candidates = [candidate_thresholds(values, count) for values in confidence[:-1]]
    accuracy, cost = all_outcomes(confidence, correct, seconds, candidates)
    if goal.max_cost is not None:
        feasible = cost <= goal.max_cost * (1 + TOLERANCE)
        order = (cost, -accuracy) if feasible.any() else (-accuracy, cost)
    else:
        target = float(correct[-1].mean()) if goal.target_accuracy is None else goal.target_accuracy
        feasible = accuracy >= target - TOLERANCE
        order = (-accuracy, cost) if feasible.any() else (cost, -accuracy)
    if not feasible.any():
        feasible = np.ones_like(feasible)
    ranked = np.lexsort([np.round(values, 12).ravel() for values in order] + [~feasible.ravel()])
    chosen = np.unravel_index(ranked[0], accuracy.shape)
    return [float(values[k]) for values, k in zip(candidates, chosen, strict=True)]


def candidate_thresholds(confidence: np.ndarray, count: int) -> np.ndarray:
    """Thresholds to try, ascending: 0, some between two confidences that are next to each other, and `NEVER`.

    None is close to a confidence, so that rounding errors do not change at which stage a track stops.
    """
    distinct = np.unique(confidence)
    middles = ((distinct[1:] + distinct[:-1]) / 2)[np.diff(distinct) > MIN_GAP]
    if len(middles) > count:
        middles = middles[np.linspace(0, len(middles) - 1, count).round().astype(int)]
    return np.concatenate([[0.0], middles, [NEVER]])


def all_outcomes(
    confidence: np.ndarray, correct: np.ndarray, seconds: list[float], candidates: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy, and seconds per track, of every combination of thresholds: an axis per stage but the last.

    Tracks are counted by the thresholds that they reach, so that the time does not grow with tracks times combinations.

    Args:
        confidence, correct, seconds: as in `choose_thresholds`.
        candidates: of each stage but the last, ascending.
    """
    n, last = confidence.shape[1], len(seconds) - 1
    shape = tuple(len(values) for values in candidates)
    reached = [np.searchsorted(v, c, side="right") - 1 for v, c in zip(candidates, confidence[:last], strict=True)]

    def counted(stage: int, stops: bool, weights: np.ndarray | None = None) -> np.ndarray:
        """Tracks that come to a stage, and stop there."""
        axes = stage + 1 if stops and stage < last else stage
        cells = np.ravel_multi_index(reached[:axes], shape[:axes]) if axes else np.zeros(n, int)
        table = np.bincount(cells, weights, int(np.prod(shape[:axes]))).astype(float).reshape(shape[:axes])
        for axis in range(stage):  # tracks below the threshold reach the next stage
            table = np.cumsum(table, axis=axis) - table
        if axes > stage:
            table = np.flip(np.cumsum(np.flip(table, stage), axis=stage), stage)
        return table.reshape(shape[:axes] + (1,) * (last - axes))

    right = sum(counted(stage, True, correct[stage].astype(float)) for stage in range(last + 1))
    cost = sum(seconds[stage] * counted(stage, False) for stage in range(last + 1))
    return np.broadcast_to(right / n, shape), np.broadcast_to(cost / n, shape)


def verdict(saving: float, difference: float, accuracy: float, goal: Goal) -> str:
    """Whether a cascade pays, by cross-validated scores: `pays`, or why it does not.

    Args:
        saving: share of the seconds of the last stage alone; negative if the cascade is slower.
        difference: of its accuracy from that of the last stage alone.
        accuracy: its own.
        goal: whose target accuracy, if it has one, replaces the accuracy of the last stage.

    Returns:
        `pays`, `slower`, `lower_accuracy`, or `target_missed`.
    """
    if saving <= 0:
        return "slower"
    if goal.target_accuracy is not None:
        return "pays" if accuracy >= goal.target_accuracy - TOLERANCE else "target_missed"
    return "pays" if difference >= -TOLERANCE else "lower_accuracy"
