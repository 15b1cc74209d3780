"""Cascades: thresholds against all possible ones, what a fit sees, and what is written."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicreclass.evaluation.cascade import (
    NEVER,
    Cascade,
    Goal,
    all_outcomes,
    candidate_thresholds,
    choose_thresholds,
    cross_fit_cascade,
    read_combination,
    verdict,
)
from musicreclass.evaluation.combining import Combination, grouped_folds
from musicreclass.evaluation.probabilities import softmax

LOWEST_COST = Goal()


def draw_stages(seed: int, stages: int = 2, n: int = 60, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (m, n, C) of stages that become better, and the classes."""
    rng = np.random.default_rng(seed)
    y_true = rng.integers(0, classes, n)
    logits = rng.normal(size=(stages, n, classes)) + np.arange(1, stages + 1)[:, None, None] * np.eye(classes)[y_true]
    return softmax(2 * logits), y_true


def fit(stack: np.ndarray, y_true: np.ndarray, goal: Goal = LOWEST_COST) -> Cascade:
    names, classes = [f"m{k}" for k in range(len(stack))], [f"c{k}" for k in range(stack.shape[2])]
    return Cascade.fit(names, classes, stack, y_true, [float(4**k) for k in range(len(stack))], goal)


cases = st.builds(draw_stages, st.integers(0, 10**6), st.integers(2, 4), st.integers(1, 50), st.integers(2, 4))
goals = st.one_of(
    st.just(Goal()),
    st.builds(Goal, target_accuracy=st.floats(0.01, 1)),
    st.builds(Goal, max_cost=st.floats(1, 100)),
)


@given(case=cases)
@settings(max_examples=40)
def test_outcomes_equal_those_of_each_combination(case):
    stack, y_true = case
    confidence, correct, seconds = stack.max(2), stack.argmax(2) == y_true, [float(k + 1) for k in range(len(stack))]
    candidates = [candidate_thresholds(values, 3) for values in confidence[:-1]]
    accuracy, cost = all_outcomes(confidence, correct, seconds, candidates)
    assert accuracy.shape == cost.shape == tuple(map(len, candidates))
    for chosen in itertools.product(*(range(len(values)) for values in candidates)):
        thresholds = [values[k] for values, k in zip(candidates, chosen, strict=True)]
        cascade = Cascade([""] * len(stack), [""] * stack.shape[2], [1.0] * len(stack), thresholds, seconds)
        stages = cascade.stages(stack)
        assert accuracy[chosen] == pytest.approx(correct[stages, np.arange(len(y_true))].mean())
        assert cost[chosen] == pytest.approx(np.cumsum(seconds)[stages].mean())


@given(case=cases, goal=goals)
@settings(max_examples=40)
def test_a_goal_is_reached_on_the_fitted_tracks_where_it_can_be(case, goal):
    stack, y_true = case
    cascade = fit(stack, y_true, goal)
    combined, stages = cascade.combine(stack), cascade.stages(stack)
    assert combined.sum(axis=1) == pytest.approx(1)
    accuracy, cost = (combined.argmax(1) == y_true).mean(), np.cumsum(cascade.seconds)[stages].mean()
    alone = (stack.argmax(2) == y_true).mean(axis=1)
    if goal.max_cost is not None:
        assert cost <= goal.max_cost * (1 + 1e-6)
        assert accuracy >= alone[0] - 1e-9
    elif goal.target_accuracy is None or alone.max() >= goal.target_accuracy:
        possible = max(alone[0], alone[-1])
        assert accuracy >= min(possible, goal.target_accuracy or alone[-1]) - 1e-9


def test_no_threshold_equals_a_confidence():
    confidence = 0.1 + np.random.default_rng(0).random(50).round(2)
    confidence[:5] += 1e-9
    for count in (3, 100):
        values = candidate_thresholds(confidence, count)
        assert (np.diff(values) > 0).all()
        assert abs(values[:, None] - confidence).min() > 1e-7
        assert (values[0], values[-1]) == (0, NEVER)


def test_tracks_stop_where_the_cheap_stage_is_always_right():
    """A stage that is right wherever it is confident, and at random elsewhere; the last one is right in 90 % of the cases."""
    rng = np.random.default_rng(1)
    y_true = rng.integers(0, 3, 600)
    sure = rng.random(600) < 0.4
    y_pred = np.where(sure, y_true, rng.integers(0, 3, 600))
    first = np.where(
        np.eye(3, dtype=bool)[y_pred], np.where(sure, 0.96, 0.4)[:, None], np.where(sure, 0.02, 0.3)[:, None]
    )
    last = np.where(rng.random(600) < 0.9, y_true, (y_true + 1) % 3)
    stack = np.stack([first, np.where(np.eye(3, dtype=bool)[last], 0.9, 0.05)])
    cascade = fit(stack, y_true)
    assert (cascade.stages(stack) == np.where(sure, 0, 1)).all()
    probability, stages = cross_fit_cascade(stack, y_true, [None] * 600, [1.0, 4.0], Goal())
    assert (stages == np.where(sure, 0, 1)).all()
    assert (probability.argmax(1) == y_true).mean() > (last == y_true).mean()


@pytest.mark.parametrize("goal", [Goal(), Goal(target_accuracy=0.8), Goal(max_cost=3)])
def test_a_fit_does_not_see_the_fold_it_is_scored_on(goal):
    stack, y_true = draw_stages(4, 3, n=90)
    groups = [f"a{i // 3}" for i in range(90)]
    probability, stages = cross_fit_cascade(stack, y_true, groups, [1.0, 2.0, 4.0], goal)
    folds = grouped_folds(groups)
    for fold in range(10):
        changed = np.where(folds == fold, (y_true + 1) % 3, y_true)
        other, other_stages = cross_fit_cascade(stack, changed, groups, [1.0, 2.0, 4.0], goal)
        assert (other[folds == fold] == probability[folds == fold]).all()
        assert (other_stages[folds == fold] == stages[folds == fold]).all()


def test_infeasible_targets_give_the_highest_accuracy():
    confidence, correct = np.array([[0.9, 0.8, 0.2], [0.5] * 3]), np.array([[1, 0, 0], [1, 1, 0]], bool)
    thresholds = choose_thresholds(confidence, correct, [1.0, 9.0], Goal(target_accuracy=0.99))
    assert 0.8 < thresholds[0] < 0.9


def test_an_infeasible_cost_gives_the_lowest_cost():
    confidence, correct = np.array([[0.6, 0.7, 0.8, 0.9], [0.9] * 4]), np.array([[0, 0, 1, 1], [1] * 4], bool)
    assert choose_thresholds(confidence, correct, [1.0, 10.0], Goal(max_cost=0.5)) == [0]
    assert choose_thresholds(confidence, correct, [1.0, 10.0], Goal(max_cost=6)) == [pytest.approx(0.75)]


def test_a_cascade_is_read_as_it_was_written():
    cascade = fit(*draw_stages(6, 3))
    content = json.loads(json.dumps(cascade.as_json()))
    assert read_combination(content) == cascade
    assert isinstance(read_combination(Combination("mean", ["a"], ["x"], [1.0], []).as_json()), Combination)
    with pytest.raises(ValueError, match="shape"):
        cascade.combine(np.ones((2, 4, 3)))


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"members": ["a"]},
        {"members": ["a"] * 7},
        {"classes": ["a", "a", "b"]},
        {"temperatures": [1.0]},
        {"temperatures": [0.0, 1.0]},
        {"thresholds": [0.5, 0.5]},
        {"thresholds": [-0.1]},
        {"thresholds": [float("nan")]},
        {"seconds": [-1.0, 2.0]},
        {"seconds": None},
    ],
    ids=str,
)
def test_inconsistent_content_is_rejected(change):
    content = {**fit(*draw_stages(7)).as_json(), **change}
    with pytest.raises(ValueError, match=r"\w"):
        read_combination(content)


@pytest.mark.parametrize(
    ("saving", "difference", "accuracy", "goal", "expected"),
    [
        (0.4, 0.0, 0.8, Goal(), "pays"),
        (0.4, -0.01, 0.8, Goal(), "lower_accuracy"),
        (-0.1, 0.1, 0.8, Goal(), "slower"),
        (0.4, -0.01, 0.8, Goal(target_accuracy=0.8), "pays"),
        (0.4, 0.01, 0.7, Goal(target_accuracy=0.8), "target_missed"),
        (0.4, -0.01, 0.8, Goal(max_cost=1), "lower_accuracy"),
    ],
)
def test_the_verdict(saving, difference, accuracy, goal, expected):
    assert verdict(saving, difference, accuracy, goal) == expected
