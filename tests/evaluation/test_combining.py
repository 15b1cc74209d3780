"""Combinations of class probabilities: what holds for every method, and reference values."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from musicreclass.evaluation import combining
from musicreclass.evaluation.combining import BEST, METHODS, Combination, cross_fit, grouped_folds, quality
from musicreclass.evaluation.probabilities import softmax


def draw_members(seed: int, members: int, n: int = 60, classes: int = 4, sharpness: float = 3.0):
    """Probabilities (m, n, C) of members of differing quality, and the classes."""
    rng = np.random.default_rng(seed)
    y_true = rng.integers(0, classes, n)
    logits = rng.normal(size=(members, n, classes)) * sharpness / 2
    logits += rng.uniform(0, sharpness, members)[:, None, None] * np.eye(classes)[y_true]
    return softmax(logits), y_true


def fit(method: str, stack: np.ndarray, y_true: np.ndarray) -> Combination:
    names = [f"m{k}" for k in range(len(stack))]
    return Combination.fit(method, names, [f"c{k}" for k in range(stack.shape[2])], stack, y_true)


cases = st.builds(
    draw_members,
    st.integers(0, 10**6),
    st.integers(1, 5),
    st.integers(1, 40),
    st.integers(2, 5),
    st.sampled_from([0.5, 3.0, 40.0]),
)
few = settings(max_examples=25)  # a stacker takes a while
methods = pytest.mark.parametrize("method", METHODS)


@methods
@few
@given(case=cases)
def test_rows_sum_to_one_also_on_other_tracks(method, case):
    stack, y_true = case
    combination = fit(method, stack, y_true)
    zeros_and_ones = np.repeat(np.eye(stack.shape[2])[None], len(stack), axis=0)
    for probabilities in (stack, zeros_and_ones):
        combined = combination.combine(probabilities)
        assert combined.shape == probabilities.shape[1:]
        assert (combined >= 0).all()
        assert combined.sum(axis=1) == pytest.approx(1)
    if method != "stacking":
        assert sum(combination.weights) == pytest.approx(1)
        assert min(combination.weights) >= 0


@given(case=cases)
def test_greedy_is_never_below_the_best_member_on_the_fitted_tracks(case):
    stack, y_true = case
    combined = fit("greedy", stack, y_true).combine(stack)
    best = max(quality(member, y_true) for member in stack)
    assert quality(combined, y_true)[0] >= best[0] - 1e-12
    assert quality(combined, y_true) >= (best[0] - 1e-12, best[1] - 1e-9) or quality(combined, y_true)[0] > best[0]


@methods
@few
@given(case=cases, data=st.data())
def test_a_permutation_of_members_permutes_weights(method, case, data):
    stack, y_true = case
    assume(
        len({tuple(np.round(quality(member, y_true), 9)) for member in stack}) == len(stack)
    )  # else the first of equals wins
    order = data.draw(st.permutations(range(len(stack))))
    combination, permuted = fit(method, stack, y_true), fit(method, stack[order], y_true)
    assert permuted.weights == pytest.approx([combination.weights[k] for k in order], abs=2e-4)
    assert permuted.bias == pytest.approx(combination.bias, abs=2e-4)


@methods
@few
@given(case=cases, copies=st.integers(2, 4))
def test_identical_members_change_nothing(method, case, copies):
    stack, y_true = case
    single = fit(method, stack[:1], y_true)
    several = fit(method, np.repeat(stack[:1], copies, axis=0), y_true)
    expected = single.combine(stack[:1])
    assert several.combine(np.repeat(stack[:1], copies, axis=0)) == pytest.approx(expected, abs=2e-4)
    if method != "stacking":
        assert expected == pytest.approx(stack[0])


def test_weights_minimise_the_penalised_log_loss():
    stack, y_true = draw_members(1, 3, n=200)
    likelihood = stack[:, np.arange(200), y_true]

    def loss(logits):
        weights = softmax(logits)
        return -np.log(weights @ likelihood).sum() - combining.PRIOR_TRACKS / 3 * np.log(weights).sum()

    expected = softmax(minimize(loss, np.zeros(3), tol=1e-10).x)
    assert fit("weighted", stack, y_true).weights == pytest.approx(expected, abs=1e-3)


def test_greedy_leaves_out_a_member_of_noise():
    stack, y_true = draw_members(2, 2, n=300, sharpness=6)
    noise = np.random.default_rng(0).dirichlet(np.full(4, 0.05), 300)[None]
    weights = fit("greedy", np.concatenate([stack, noise]), y_true).weights
    assert weights[2] < min(weights[:2]) / 2


def test_stacking_corrects_an_overconfident_member():
    calibrated, y_true = draw_members(3, 1, n=400)
    overconfident = softmax(np.log(calibrated) * 4)
    combination = fit("stacking", overconfident, y_true)
    loss = [quality(p, y_true)[1] for p in (combination.combine(overconfident), overconfident[0])]
    assert loss[0] > loss[1]
    assert 0 < combination.weights[0] < 1


@pytest.mark.parametrize("method", [*METHODS, BEST])
def test_a_fit_does_not_see_the_fold_it_is_scored_on(method):
    stack, y_true = draw_members(4, 3, n=90)
    groups = [f"a{i // 3}" for i in range(90)]
    combined = cross_fit(method, stack, y_true, groups)
    folds = grouped_folds(groups)
    for fold in range(10):
        changed = np.where(folds == fold, (y_true + 1) % 4, y_true)
        assert (cross_fit(method, stack, changed, groups)[folds == fold] == combined[folds == fold]).all()


def test_labels_of_noise_give_no_cross_fitted_skill():
    """The accuracy on the fitted tracks is above chance, and the cross-fitted one is not."""
    rng = np.random.default_rng(5)
    stack, y_true = rng.dirichlet(np.ones(4), (20, 200)), rng.integers(0, 4, 200)
    fitted = fit("greedy", stack, y_true).combine(stack)
    honest = cross_fit("greedy", stack, y_true, [None] * 200)
    assert (fitted.argmax(1) == y_true).mean() > 0.3
    assert (honest.argmax(1) == y_true).mean() < 0.3


def test_folds_have_whole_groups_and_similar_sizes():
    groups = [f"a{i % 17}" if i % 3 else None for i in range(120)]
    folds = grouped_folds(groups)
    assert sorted(set(folds)) == list(range(10))
    assert all(
        len({fold for fold, g in zip(folds, groups, strict=True) if g == name}) == 1 for name in set(groups) - {None}
    )
    assert np.bincount(folds).max() - np.bincount(folds).min() <= 8
    assert (grouped_folds(groups) == folds).all()
    assert len(set(grouped_folds(["a", "a", "b"]))) == 2


def test_tracks_of_one_group_cannot_be_cross_fitted():
    stack, y_true = draw_members(0, 2, n=5)
    with pytest.raises(ValueError, match="group"):
        cross_fit("greedy", stack, y_true, ["a"] * 5)


@methods
def test_a_combination_is_read_as_it_was_written(method):
    stack, y_true = draw_members(6, 3)
    combination = fit(method, stack, y_true)
    assert Combination.from_json(json.loads(json.dumps(combination.as_json()))) == combination


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"method": "median"},
        {"members": []},
        {"members": ["a", 1]},
        {"classes": ["x", "x", "y", "z"]},
        {"weights": [0.5]},
        {"weights": [2.0, -1.0]},
        {"weights": [0.5, 0.6]},
        {"weights": [0.5, True]},
        {"weights": [0.5, float("nan")]},
        {"bias": [0.0] * 4},
        {"method": "stacking", "weights": [1e300, 0.0], "bias": [0.0] * 4},
        {"method": "stacking", "bias": []},
    ],
)
def test_an_inconsistent_file_is_rejected(change):
    stack, y_true = draw_members(7, 2)
    content = fit("mean", stack, y_true).as_json()
    with pytest.raises(ValueError, match=r"."):
        Combination.from_json({**content, **change})


def test_another_number_of_members_or_classes_is_rejected():
    stack, y_true = draw_members(8, 2)
    combination = fit("mean", stack, y_true)
    for other in (stack[:1], stack[:, :, :3], stack[0]):
        with pytest.raises(ValueError, match="shape"):
            combination.combine(other)
