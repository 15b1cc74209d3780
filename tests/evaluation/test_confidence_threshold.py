"""The threshold keeps its promise in at least 90 % of simulated validation splits; unreachable precisions have no threshold."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, norm

from musicreclass.evaluation.calibration import apply_temperature, fit_temperature
from musicreclass.evaluation.coverage import (
    confidence_threshold,
    coverage_curve,
    lowest_threshold,
    min_tracks,
    precision_bound,
)
from musicreclass.evaluation.predictions import Predictions

REPETITIONS = 120
EVIDENCE = np.random.default_rng(9).normal(size=20_000) * 1.3 + 0.5  # of new tracks; the probit of their confidence


def simulated(n: int, groups: int, seed: int, correlation: float = 0.8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Calibrated confidences, whether each is correct (with correlated errors within a group), and the group of each track."""
    rng = np.random.default_rng(seed)
    group = np.arange(n) * groups // n if groups else np.arange(n)
    evidence = rng.choice(EVIDENCE, n)
    shared = rng.normal(size=group.max() + 1)[group] if groups else 0
    noise = np.sqrt(correlation if groups else 0) * shared + np.sqrt(1 - (correlation if groups else 0)) * rng.normal(
        size=n
    )
    return norm.cdf(evidence), noise < evidence, group


def predictions_of(confidence: np.ndarray, correct: np.ndarray, group: np.ndarray | None = None) -> Predictions:
    """Three classes, the most probable of which is the first."""
    confidence = np.maximum(confidence, 0.34)
    return Predictions(
        pd.DataFrame({
            "track_id": [f"t{i}" for i in range(len(correct))],
            "target": np.where(correct, "a", "b"),
            "group": [None] * len(correct) if group is None else [f"g{k}" for k in group],
            "p/a": confidence,
            "p/b": (1 - confidence) / 2,
            "p/c": (1 - confidence) / 2,
        })
    )  # fmt: skip


@pytest.mark.parametrize("precision", [0.8, 0.9])
@pytest.mark.parametrize(("n", "groups"), [(93, 0), (197, 0), (197, 40), (1000, 0), (1000, 30)])
def test_the_promise_is_kept_in_90_percent_of_validation_splits(n, groups, precision):
    new = norm.cdf(EVIDENCE)
    broken = 0
    for seed in range(REPETITIONS):
        value = lowest_threshold(*simulated(n, groups, seed), precision)
        broken += value is not None and new[new >= value].mean() < precision
    assert broken <= 0.1 * REPETITIONS


@pytest.mark.parametrize(("n", "precision"), [(93, 0.8), (197, 0.9), (1000, 0.9)])
def test_the_promise_is_kept_by_a_model_with_meaningless_confidences(n, precision):
    """Its accuracy is just below the promise at each threshold, so that each threshold breaks it."""
    rng = np.random.default_rng(0)
    promises = 0
    for seed in range(300):
        confidence, _, group = simulated(n, 0, seed)
        promises += lowest_threshold(confidence, rng.random(n) < precision - 0.001, group, precision) is not None
    assert promises <= 0.1 * 300 + 3 * np.sqrt(300 * 0.09)


def test_many_tracks_are_labelled_almost_as_the_true_precision_allows():
    confidence, correct, group = simulated(5000, 0, 0)
    value = lowest_threshold(confidence, correct, group, 0.9)
    ranked = np.sort(norm.cdf(EVIDENCE))[::-1]
    possible = (np.cumsum(ranked) / np.arange(1, len(ranked) + 1) >= 0.9).mean()
    assert value is not None
    assert possible - 0.1 < (ranked >= value).mean() <= possible


def test_the_estimate_is_of_held_out_tracks():
    threshold = confidence_threshold(predictions_of(*simulated(1000, 0, 3)[:2]), 0.9)
    assert threshold.value is not None
    assert threshold.reason == ""
    assert threshold.interval is not None
    assert threshold.accuracy is not None
    assert threshold.interval[0] <= threshold.accuracy <= threshold.interval[1]
    assert threshold.accuracy > 0.88
    assert threshold.coverage == threshold.labelled / threshold.n == pytest.approx(0.4, abs=0.1)
    assert threshold.over == "1000 tracks"


def test_the_estimate_is_of_tracks_that_the_calibration_did_not_see():
    confidence, correct, group = simulated(200, 40, 0)
    predictions, seen = predictions_of(confidence, correct, group), []

    def calibrated_on(rows: np.ndarray) -> Predictions:
        seen.append(rows)
        return predictions_of(np.where(rows, confidence, 0.0), correct, group)  # held-out tracks are never labelled

    threshold = confidence_threshold(predictions, 0.7, calibrated_on)
    assert threshold.value == confidence_threshold(predictions, 0.7).value is not None
    assert threshold.labelled == 0
    assert (np.sum([~rows for rows in seen], axis=0) == 1).all()
    assert all(not set(group[rows]) & set(group[~rows]) for rows in seen)


@pytest.mark.slow
@pytest.mark.parametrize("precision", [0.8, 0.9])
@pytest.mark.parametrize(("n", "groups"), [(93, 0), (197, 40), (1000, 30)])
def test_the_promise_is_kept_with_a_temperature_fitted_on_the_same_tracks(n, groups, precision):
    """The model's confidences are too high: the log odds are twice the true ones."""

    def exaggerated(confidence: np.ndarray) -> np.ndarray:
        odds = (confidence / (1 - confidence + 1e-9)) ** 2
        return np.column_stack([odds / (1 + odds), 1 / (1 + odds)])

    new, broken = norm.cdf(EVIDENCE), 0
    for seed in range(REPETITIONS):
        confidence, correct, group = simulated(n, groups, seed)
        temperature = fit_temperature(exaggerated(confidence), (~correct).astype(int))
        after = apply_temperature(exaggerated(confidence), temperature)[:, 0]
        value = lowest_threshold(after, correct, group, precision)
        chosen = apply_temperature(exaggerated(new), temperature)[:, 0] >= (2 if value is None else value)
        broken += bool(chosen.any()) and new[chosen].mean() < precision
    assert broken <= 0.1 * REPETITIONS


@pytest.mark.parametrize(("n", "groups"), [(10, 0), (1, 0), (40, 1), (40, 5)])
def test_too_few_tracks_or_groups_have_no_threshold(n, groups):
    confidence, _, group = simulated(n, groups, 0)
    threshold = confidence_threshold(predictions_of(confidence, np.ones(n, bool), group if groups else None), 0.9)
    assert threshold.value is None
    assert str(min_tracks(0.9)) in threshold.reason
    assert (threshold.coverage, threshold.accuracy, threshold.interval) == (0, None, None)


def test_a_model_that_is_never_right_has_no_threshold():
    threshold = confidence_threshold(predictions_of(np.full(200, 0.99), np.zeros(200, bool)), 0.5)
    assert threshold.value is None
    assert "200" in threshold.reason


def test_equal_confidences_are_labelled_together():
    correct = np.arange(200) % 4 > 0
    assert confidence_threshold(predictions_of(np.ones(200), correct), 0.9).value is None
    assert confidence_threshold(predictions_of(np.ones(200), correct), 0.6).value == 1
    curve = coverage_curve(predictions_of(np.ones(200), correct))
    assert (curve.coverage.tolist(), curve.accuracy.tolist()) == ([1.0], [0.75])
    assert curve.area == pytest.approx(0.25)


@pytest.mark.parametrize("precision", [0, 1, -0.5, 90, float("nan")])
def test_impossible_precisions_are_rejected(precision):
    with pytest.raises(ValueError, match="precision"):
        confidence_threshold(predictions_of(*simulated(50, 0, 0)), precision)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.integers(0, 5)), min_size=1, max_size=60),
    st.floats(0.05, 0.99),
)
def test_any_predictions(rows, precision):
    confidence, correct, group = map(np.array, zip(*rows, strict=True))
    predictions = predictions_of(confidence, correct, group)
    threshold = confidence_threshold(predictions, precision)
    assert (threshold.value is None) == bool(threshold.reason)
    curve = coverage_curve(predictions)
    assert curve.coverage[-1] == 1
    assert curve.accuracy[-1] == pytest.approx(correct.mean())
    assert (np.diff(curve.confidence) < 0).all()
    if threshold.value is not None:  # what it labels is accurate enough on the tracks it was chosen on
        assert correct[np.maximum(confidence, 0.34) >= threshold.value].mean() >= precision


def test_bounds_of_independent_tracks_are_clopper_and_pearsons():
    correct = np.arange(50) >= 3
    assert precision_bound(correct, np.arange(50)) == pytest.approx(beta.ppf(0.1, 47, 4))
    assert precision_bound(np.ones(50, bool), np.arange(50)) == pytest.approx(0.1 ** (1 / 50))
    assert precision_bound(np.ones(50, bool), np.arange(50) // 5) == pytest.approx(0.1 ** (1 / 10))
    assert precision_bound(correct, np.arange(50) // 5) < precision_bound(correct, np.arange(50))
