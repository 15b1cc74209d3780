"""The parts of the ensemble task that only a cascade has: its options, the fit, and what metrics.json records of its stages."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from musicreclass.errors import UserError
from musicreclass.evaluation.bootstrap import bootstrap_interval
from musicreclass.evaluation.cascade import MAX_STAGES, NEVER, Cascade, Goal, cross_fit_cascade, verdict
from musicreclass.evaluation.combining import Combination
from musicreclass.plurals import counted
from musicreclass.runs.folder import Run
from musicreclass.tasks.stage_costs import Costs, measure, validation_recordings


@dataclass(frozen=True)
class CascadeOptions:
    """Options of a cascade.

    Attributes:
        goal: what thresholds are chosen for.
        seconds: per track, that each stage adds; None to measure them.
        recordings: to measure on; None for those of the validation tracks.
        trust: your own modules that the models need.
    """

    goal: Goal = field(default_factory=Goal)
    seconds: Sequence[float] | None = None
    recordings: Sequence[Path] | None = None
    trust: tuple[str, ...] = ()

    def signed(self) -> dict[str, Any]:
        """What the signature of the ensemble depends on; measured seconds vary, and are not in it."""
        return {**asdict(self.goal), "seconds": self.seconds and list(self.seconds)}

    def costs(self, runs: Sequence[Run], ids: Iterable[str]) -> Costs:
        """The seconds per track of the stages.

        Args:
            runs: of the stages.
            ids: of the validation tracks.

        Raises:
            UserError: if they cannot be measured, or the limit is below those of the first stage.
        """
        if self.seconds is not None:
            costs = Costs(list(self.seconds), self.seconds[-1], "set by --seconds")
        else:
            recordings = self.recordings
            if recordings is None:
                recordings = validation_recordings(runs[0], ids, self.trust)
            costs = measure(runs, recordings, self.trust)
        if self.goal.max_cost is not None and self.goal.max_cost < costs.seconds[0]:
            line = f"--max-cost {self.goal.max_cost:g}: the first run alone takes {costs.seconds[0]:.3g} s per track ({costs.source})"
            raise UserError(line, "invalid_value", "max_cost", self.goal.max_cost)
        return costs


@dataclass(frozen=True)
class Fitted:
    """A fitted ensemble.

    Attributes:
        combination: fitted on all validation tracks.
        probability: cross-fitted, (n, C).
        baseline_name: of the member that it is compared with, in metrics.json.
        baseline: the probabilities of that member, (n, C).
        of_members: what metrics.json records of each member besides its scores.
        record: what it records of the ensemble.
    """

    combination: Combination | Cascade
    probability: np.ndarray
    baseline_name: str
    baseline: np.ndarray
    of_members: list[dict[str, Any]]
    record: dict[str, Any] = field(default_factory=dict)


def check_options(options: CascadeOptions, stages: int) -> None:
    """Make sure that options are possible.

    Raises:
        UserError: if they are not.
    """
    goal = options.goal
    if goal.target_accuracy is not None and goal.max_cost is not None:
        line = "--target-accuracy and --max-cost exclude each other: name one of them"
        raise UserError(line, "invalid_arguments", "target_accuracy")
    if goal.target_accuracy is not None and not 0 < goal.target_accuracy <= 1:
        line = f"--target-accuracy {goal.target_accuracy:g}: must be between 0 and 1, as 0.8"
        raise UserError(line, "invalid_value", "target_accuracy", goal.target_accuracy)
    if goal.max_cost is not None and not 0 < goal.max_cost < math.inf:
        line = f"--max-cost {goal.max_cost:g}: must be a positive number of seconds per track"
        raise UserError(line, "invalid_value", "max_cost", goal.max_cost)
    if stages > MAX_STAGES:
        line = f"a cascade has at most {MAX_STAGES} runs, not {stages}"
        raise UserError(line, "too_many_stages", "runs", stages)
    seconds = options.seconds
    if seconds is not None and (len(seconds) != stages or not all(0 < value < 1e6 for value in seconds)):
        line = f"--seconds {' '.join(f'{value:g}' for value in seconds)}: must be {counted(stages, 'positive number')}, one per run"
        raise UserError(line, "invalid_value", "seconds", list(seconds))


def fit_cascade(
    options: CascadeOptions,
    names: list[str],
    classes: list[str],
    stack: np.ndarray,
    y_true: np.ndarray,
    groups: list[str | None],
    costs: Costs,
) -> Fitted:
    """Fit a cascade, and cross-fit it.

    Args:
        options: of the cascade.
        names: of the stages.
        classes: of the columns.
        stack: probabilities of the members, (m, n, C).
        y_true: class numbers, (n,).
        groups: of the tracks.
        costs: of the stages.
    """
    goal = options.goal
    cascade = Cascade.fit(names, classes, stack, y_true, costs.seconds, goal)
    probability, stages = cross_fit_cascade(stack, y_true, groups, costs.seconds, goal)
    correct = stack.argmax(axis=2) == y_true
    seconds = float(np.cumsum(costs.seconds)[stages].mean())
    accuracy = float((probability.argmax(axis=1) == y_true).mean())
    saving = 1 - seconds / costs.alone
    scored = CrossFitted(y_true, probability.argmax(axis=1), correct[-1], groups, len(classes))
    of_members = [
        {
            "seconds": costs.seconds[k],
            "temperature": cascade.temperatures[k],
            "threshold": reachable(cascade.thresholds[k]) if k < len(names) - 1 else None,
            **scored.scores(stages == k),
        }
        for k in range(len(names))
    ]
    record = {
        **asdict(goal),
        "seconds": seconds,
        "seconds_alone": costs.alone,
        "seconds_source": costs.source,
        "saving": saving,
        "early": scored.scores(stages < len(names) - 1),
        "verdict": verdict(saving, accuracy - float(correct[-1].mean()), accuracy, goal),
    }
    return Fitted(cascade, probability, "last_member", stack[-1], of_members, {"cascade": record})


def reachable(threshold: float) -> float | None:
    """A threshold; None if no track stops there."""
    return None if threshold == NEVER else threshold


class CrossFitted(NamedTuple):
    """What was cross-validated of all tracks, to score some of them.

    Attributes:
        y_true, y_pred: class numbers, (n,).
        last_correct: whether the last run alone is right, (n,).
        groups: of the tracks.
        classes: number of classes.
    """

    y_true: np.ndarray
    y_pred: np.ndarray
    last_correct: np.ndarray
    groups: list[str | None]
    classes: int

    def scores(self, rows: np.ndarray) -> dict[str, Any]:
        """Number and share of some tracks, and the accuracy among them, also of the last run; None without tracks.

        Args:
            rows: which of the tracks, (n,) bool.
        """
        count = int(rows.sum())
        scores: dict[str, Any] = {"tracks": count, "fraction": count / len(rows)}
        if not count:
            return {**scores, "stopped_accuracy": None, "stopped_accuracy_ci95": None, "last_accuracy": None}
        y_true, y_pred = self.y_true[rows], self.y_pred[rows]
        groups = [group for group, is_scored in zip(self.groups, rows, strict=True) if is_scored]
        interval = list(bootstrap_interval(y_true, y_pred, groups, self.classes)["accuracy"]) if count > 1 else None
        return {
            **scores,
            "stopped_accuracy": float((y_true == y_pred).mean()),
            "stopped_accuracy_ci95": interval,
            "last_accuracy": float(self.last_correct[rows].mean()),
        }
