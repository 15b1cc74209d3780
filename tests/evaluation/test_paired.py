"""Paired tests and intervals over seeds: reference values, and error rates in simulations."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from musicreclass.evaluation import resampling
from musicreclass.evaluation.bootstrap import bootstrap_interval
from musicreclass.evaluation.intervals import Sample
from musicreclass.evaluation.paired import holm, mcnemar, paired_tests


def predict(y_true: np.ndarray, correct: np.ndarray, classes: int = 3) -> np.ndarray:
    """Predictions that are correct where `correct`, and the next class elsewhere."""
    return np.where(correct, y_true, (y_true + 1) % classes)


# Expected values from statsmodels 0.15.0: mcnemar(exact=True), and the chi-square test without continuity correction.


@pytest.mark.parametrize(
    ("only_first", "only_second", "expected"),
    [(2, 9, 0.0654296875), (6, 6, 1.0), (0, 5, 0.0625), (13, 3, 0.021270751953125), (0, 0, 1.0)],
)
def test_mcnemar_is_exact_for_few_discordant_tracks(only_first, only_second, expected):
    p, method = mcnemar(only_first, only_second)
    assert (p, method) == (pytest.approx(expected), "McNemar, exact")
    assert mcnemar(only_second, only_first)[0] == p
    if only_first + only_second:
        assert p == pytest.approx(stats.binomtest(only_first, only_first + only_second).pvalue)


@pytest.mark.parametrize(
    ("only_first", "only_second", "exact", "chi2"),
    [(30, 18, 0.11140289106, 0.08326451667), (60, 35, 0.01337870303, 0.01031918991), (25, 25, 1.0, 1.0)],
)
def test_mcnemar_is_mid_p_for_many_discordant_tracks(only_first, only_second, exact, chi2):
    n = only_first + only_second
    p, method = mcnemar(only_first, only_second)
    probability = stats.binom.pmf(only_first, n, 0.5)
    expected = 2 * (stats.binom.sf(max(only_first, only_second), n, 0.5) + 0.5 * probability)
    assert (p, method) == (pytest.approx(expected), "McNemar, mid-p")
    assert p <= exact
    assert p == pytest.approx(chi2, rel=0.07)


def test_holm():
    p = np.array([0.01, 0.04, 0.03, 0.005, 0.5, 0.03])  # statsmodels 0.15.0, multipletests(method="holm")
    assert holm(p) == pytest.approx([0.05, 0.12, 0.12, 0.03, 0.5, 0.12])


def test_permutations_of_few_groups_are_exhaustive():
    rng = np.random.default_rng(0)
    y_true, group = rng.integers(0, 3, 24), np.repeat(np.arange(6), 4)
    first, second = predict(y_true, rng.random(24) < 0.9), predict(y_true, rng.random(24) < 0.5)
    sample = Sample(y_true, [[first], [second]], [f"g{g}" for g in group], 3)
    pairs = {pair.metric: pair for pair in paired_tests(sample)}

    def macro_f1(y_pred):
        hits, predicted = np.bincount(y_true[y_true == y_pred], minlength=3), np.bincount(y_pred, minlength=3)
        return (2 * hits / np.maximum(predicted + np.bincount(y_true, minlength=3), 1)).mean()

    observed, as_large = macro_f1(first) - macro_f1(second), 0
    for swapped_groups in product([False, True], repeat=6):
        swapped = np.array(swapped_groups)[group]
        difference = macro_f1(np.where(swapped, second, first)) - macro_f1(np.where(swapped, first, second))
        as_large += abs(difference) >= abs(observed) - 1e-9
    assert pairs["macro_f1"].p == as_large / 64
    assert pairs["macro_f1"].difference == pytest.approx(observed)
    by_group = [(first == y_true)[group == g].mean() - (second == y_true)[group == g].mean() for g in range(6)]
    expected = stats.permutation_test((by_group,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert pairs["accuracy"].p == pytest.approx(expected.pvalue)
    assert pairs["accuracy"].method == pairs["macro_f1"].method == "permutation over 6 groups"


def test_accuracy_of_many_tracks_agrees_with_scipy():
    rng = np.random.default_rng(1)
    y_true = rng.integers(0, 3, 300)
    y_pred = [[predict(y_true, rng.random(300) < rate)] for rate in (0.75, 0.68, 0.6)]
    pairs = paired_tests(Sample(y_true, y_pred, [None] * 300, 3))
    accuracy = [pair for pair in pairs if pair.metric == "accuracy"]
    assert [(pair.first, pair.second) for pair in accuracy] == [(0, 1), (0, 2), (1, 2)]
    assert [pair.adjusted for pair in accuracy] == pytest.approx(holm(np.array([pair.p for pair in accuracy])))
    for pair in accuracy:
        correct = [y_pred[row][0] == y_true for row in (pair.first, pair.second)]
        only_first, discordant = int((correct[0] & ~correct[1]).sum()), int((correct[0] != correct[1]).sum())
        assert pair.p == pytest.approx(stats.binomtest(only_first, discordant).pvalue, rel=0.35)
        assert pair.method == "McNemar, mid-p"
        difference = correct[0].mean() - correct[1].mean()
        error = np.std(correct[0].astype(int) - correct[1]) / np.sqrt(300)
        expected_interval = [difference - 1.96 * error, difference + 1.96 * error]
        assert pair.difference == pytest.approx(difference)
        assert [pair.low, pair.high] == pytest.approx(expected_interval, abs=0.012)


def test_identical_seeds_add_no_variance():
    rng = np.random.default_rng(2)
    y_true = rng.integers(0, 3, 400)
    first, second = (predict(y_true, rng.random(400) < rate) for rate in (0.7, 0.6))
    sample = Sample(y_true, [[first] * 3, [second] * 3], [None] * 400, 3)
    pair = paired_tests(sample)[0]
    assert pair.p == pytest.approx(stats.ttest_rel((first == y_true) * 1, (second == y_true) * 1).pvalue, rel=0.3)
    expected_interval = bootstrap_interval(y_true, first, [None] * 400, 3)["accuracy"]
    estimate = sample.estimate("accuracy", 0)
    assert [estimate.low, estimate.high] == pytest.approx(expected_interval)
    assert estimate.sd == 0.0


def test_differing_seeds_widen_the_interval_and_increase_p():
    rng = np.random.default_rng(3)
    y_true = rng.integers(0, 3, 400)
    constant = [predict(y_true, np.arange(400) < 280)] * 3
    varying = [predict(y_true, np.arange(400) < n) for n in (240, 280, 320)]
    worse = [predict(y_true, np.arange(400) < 250)] * 3
    sample = Sample(y_true, [constant, varying, worse], [None] * 400, 3)
    estimates = [sample.estimate("accuracy", row) for row in (0, 1)]
    assert estimates[0].mean == estimates[1].mean == pytest.approx(0.7)
    assert (estimates[0].sd, estimates[1].sd) == (pytest.approx(0), pytest.approx(0.1))
    assert estimates[1].high - estimates[1].low > 2 * (estimates[0].high - estimates[0].low)
    p = {(pair.first, pair.second): pair.p for pair in paired_tests(sample) if pair.metric == "accuracy"}
    assert p[0, 2] < 1e-6
    assert p[1, 2] > 0.3


def test_equal_predictions_or_too_little_data_give_p_of_one():
    y_true = np.arange(30) % 3
    y_pred = predict(y_true, np.arange(30) < 20)
    for seeds in (1, 3):
        for groups in ([None] * 30, [f"g{i // 10}" for i in range(30)]):
            for pair in paired_tests(Sample(y_true, [[y_pred] * seeds, [y_pred] * seeds], groups, 3), flips=99):
                assert (pair.p, pair.adjusted, pair.difference) == (1, 1, 0)
    one_track = Sample(np.zeros(1, int), [[np.zeros(1, int)], [np.ones(1, int)]], [None], 2)
    assert {pair.p for pair in paired_tests(one_track)} == {1.0}
    one_group = Sample(y_true, [[y_pred, np.roll(y_pred, 1)], [y_true, y_true]], ["one"] * 30, 3)
    assert {pair.p for pair in paired_tests(one_group)} == {1.0}
    assert paired_tests(Sample(y_true, [[y_pred]], [None] * 30, 3)) == []


def detection_rate(
    trials: int, clusters: int, size: int, seeds: int, seed_sd: float, gain: float = 0.0, ignore_groups: bool = False
):
    """The share of simulated pairs with p <= 0.05: (accuracy, macro-F1).

    The second model's accuracy exceeds the first's by `gain`. Tracks of a group are correlated, independently in each model; each
    seed's accuracy varies with standard deviation `seed_sd`.
    """
    rng = np.random.default_rng(4)
    n, detected = clusters * size, {"accuracy": 0, "macro_f1": 0}
    group = np.repeat(np.arange(clusters), size)
    for _ in range(trials):
        y_true = rng.integers(0, 3, n)
        rows = []
        for rate in (0.65, 0.65 + gain):
            rates = rng.beta(2 * rate, 2 * (1 - rate), clusters)[group] if size > 1 else np.full(n, rate)
            rows.append([predict(y_true, rng.random(n) < rates + rng.normal(0, seed_sd)) for _ in range(seeds)])
        groups = [f"g{g}" for g in group] if size > 1 and not ignore_groups else [None] * n
        for pair in paired_tests(Sample(y_true, rows, groups, 3), flips=499):
            detected[pair.metric] += pair.p <= 0.05
    return detected["accuracy"] / trials, detected["macro_f1"] / trials


@pytest.fixture
def few_replicates(monkeypatch):
    monkeypatch.setattr(resampling, "REPLICATES", 300)


@pytest.mark.parametrize(("clusters", "size", "seeds", "seed_sd"), [(150, 1, 1, 0), (40, 5, 1, 0), (150, 1, 3, 0.04), (40, 5, 3, 0.04)])  # fmt: skip
def test_false_positive_rate_is_about_5_percent(few_replicates, clusters, size, seeds, seed_sd):
    for rate in detection_rate(300, clusters, size, seeds, seed_sd):
        assert 0.015 <= rate <= 0.08  # 300 pairs: 5 % +- 2.5


@pytest.mark.slow
def test_ignoring_groups_increases_the_false_positive_rate(few_replicates):
    assert detection_rate(150, 40, 5, 1, 0, ignore_groups=True)[0] > 0.12


@pytest.mark.parametrize(("clusters", "size", "seeds", "seed_sd"), [(150, 1, 1, 0), (60, 5, 1, 0), (150, 1, 3, 0.02), (60, 5, 3, 0.02)])  # fmt: skip
def test_large_differences_are_detected(few_replicates, clusters, size, seeds, seed_sd):
    for rate in detection_rate(60, clusters, size, seeds, seed_sd, gain=0.22):
        assert rate > 0.8
