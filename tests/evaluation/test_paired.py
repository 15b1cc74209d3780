"""Paired tests and intervals over seeds: known answers, and what they promise in simulated comparisons."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from musicreclass.evaluation import bootstrap as report_stats
from musicreclass.evaluation.bootstrap import bootstrap_interval
from musicreclass.evaluation.intervals import Sample
from musicreclass.evaluation.paired import holm, mcnemar, paired_tests


def wrong(y_true: np.ndarray, right: np.ndarray, classes: int = 3) -> np.ndarray:
    """Guesses that are right where they should be, and else the next class."""
    return np.where(right, y_true, (y_true + 1) % classes)


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),  # by statsmodels 0.15.0, mcnemar(exact=True)
    [(2, 9, 0.0654296875), (6, 6, 1.0), (0, 5, 0.0625), (13, 3, 0.021270751953125), (0, 0, 1.0)],
)
def test_mcnemar_is_exact_for_few_discordant_tracks(only_first, only_second, p):
    found, method = mcnemar(only_first, only_second)
    assert (found, method) == (pytest.approx(p), "McNemar, exact")
    assert mcnemar(only_second, only_first)[0] == found
    if only_first + only_second:
        assert found == pytest.approx(stats.binomtest(only_first, only_first + only_second).pvalue)


@pytest.mark.parametrize(
    (
        "only_first",
        "only_second",
        "exact",
        "chi2",
    ),  # by statsmodels 0.15.0; the mid-p lies near the uncorrected chi-square's
    [(30, 18, 0.11140289106, 0.08326451667), (60, 35, 0.01337870303, 0.01031918991), (25, 25, 1.0, 1.0)],
)
def test_mcnemar_is_mid_p_for_many(only_first, only_second, exact, chi2):
    n = only_first + only_second
    found, method = mcnemar(only_first, only_second)
    seen = stats.binom.pmf(only_first, n, 0.5)
    tail = 2 * (stats.binom.sf(max(only_first, only_second), n, 0.5) + 0.5 * seen)
    assert (found, method) == (pytest.approx(tail), "McNemar, mid-p")
    assert found <= exact
    assert found == pytest.approx(chi2, rel=0.07)


def test_holm():
    p = np.array([0.01, 0.04, 0.03, 0.005, 0.5, 0.03])  # statsmodels 0.15.0, multipletests(method="holm")
    assert holm(p) == pytest.approx([0.05, 0.12, 0.12, 0.03, 0.5, 0.12])


def test_few_groups_are_swapped_in_every_way():
    rng = np.random.default_rng(0)
    y_true, group = rng.integers(0, 3, 24), np.repeat(np.arange(6), 4)
    one, two = wrong(y_true, rng.random(24) < 0.9), wrong(y_true, rng.random(24) < 0.5)
    found = {pair.metric: pair for pair in paired_tests(Sample(y_true, [[one], [two]], [f"g{g}" for g in group], 3))}

    def macro(y_pred):
        hits, sums = np.bincount(y_true[y_true == y_pred], minlength=3), np.bincount(y_pred, minlength=3)
        return (2 * hits / np.maximum(sums + np.bincount(y_true, minlength=3), 1)).mean()

    seen, as_large = macro(one) - macro(two), 0
    for swap in product([False, True], repeat=6):
        there = np.array(swap)[group]
        as_large += abs(macro(np.where(there, two, one)) - macro(np.where(there, one, two))) >= abs(seen) - 1e-9
    assert found["macro_f1"].p == as_large / 64
    assert found["macro_f1"].difference == pytest.approx(seen)
    each = [(one == y_true)[group == g].mean() - (two == y_true)[group == g].mean() for g in range(6)]
    oracle = stats.permutation_test((each,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert found["accuracy"].p == pytest.approx(oracle.pvalue)
    assert found["accuracy"].method == found["macro_f1"].method == "permutation over 6 groups"


def test_many_tracks_agree_with_scipy_and_with_one_another():
    rng = np.random.default_rng(1)
    y_true = rng.integers(0, 3, 300)
    guesses = [[wrong(y_true, rng.random(300) < share)] for share in (0.75, 0.68, 0.6)]
    pairs = paired_tests(Sample(y_true, guesses, [None] * 300, 3))
    accuracy = [pair for pair in pairs if pair.metric == "accuracy"]
    assert [(pair.first, pair.second) for pair in accuracy] == [(0, 1), (0, 2), (1, 2)]
    assert [pair.adjusted for pair in accuracy] == pytest.approx(holm(np.array([pair.p for pair in accuracy])))
    for pair in accuracy:
        right = [guesses[row][0] == y_true for row in (pair.first, pair.second)]
        oracle = stats.binomtest(int((right[0] & ~right[1]).sum()), int((right[0] != right[1]).sum())).pvalue
        assert pair.p == pytest.approx(oracle, rel=0.35)
        assert pair.method == "McNemar, mid-p"
        gap = right[0].mean() - right[1].mean()
        error = np.std(right[0].astype(int) - right[1]) / np.sqrt(300)
        assert pair.difference == pytest.approx(gap)
        assert [pair.low, pair.high] == pytest.approx([gap - 1.96 * error, gap + 1.96 * error], abs=0.012)


def test_seeds_that_all_agree_leave_the_error_to_the_tracks():
    rng = np.random.default_rng(2)
    y_true = rng.integers(0, 3, 400)
    one, two = (wrong(y_true, rng.random(400) < share) for share in (0.7, 0.6))
    sample = Sample(y_true, [[one] * 3, [two] * 3], [None] * 400, 3)
    pair = paired_tests(sample)[0]
    assert pair.p == pytest.approx(stats.ttest_rel((one == y_true) * 1, (two == y_true) * 1).pvalue, rel=0.3)
    alone = bootstrap_interval(y_true, one, [None] * 400, 3)["accuracy"]
    found = sample.estimate("accuracy", 0)
    assert ([found.low, found.high], found.sd) == (pytest.approx(alone), 0.0)


def test_seeds_that_differ_widen_the_interval_and_raise_p():
    rng = np.random.default_rng(3)
    y_true = rng.integers(0, 3, 400)
    steady = [wrong(y_true, np.arange(400) < 280)] * 3
    swinging = [wrong(y_true, np.arange(400) < n) for n in (240, 280, 320)]
    worse = [wrong(y_true, np.arange(400) < 250)] * 3
    sample = Sample(y_true, [steady, swinging, worse], [None] * 400, 3)
    found = [sample.estimate("accuracy", row) for row in (0, 1)]
    assert found[0].mean == found[1].mean == pytest.approx(0.7)
    assert (found[0].sd, found[1].sd) == (pytest.approx(0), pytest.approx(0.1))
    assert found[1].high - found[1].low > 2 * (found[0].high - found[0].low)
    p = {(pair.first, pair.second): pair.p for pair in paired_tests(sample) if pair.metric == "accuracy"}
    assert p[0, 2] < 1e-6
    assert p[1, 2] > 0.3


def test_nothing_to_tell_apart():
    y_true = np.arange(30) % 3
    same = wrong(y_true, np.arange(30) < 20)
    for seeds in (1, 3):
        for groups in ([None] * 30, [f"g{i // 10}" for i in range(30)]):
            for pair in paired_tests(Sample(y_true, [[same] * seeds, [same] * seeds], groups, 3), flips=99):
                assert (pair.p, pair.adjusted, pair.difference) == (1, 1, 0)
    one = paired_tests(Sample(np.zeros(1, int), [[np.zeros(1, int)], [np.ones(1, int)]], [None], 2))
    assert {pair.p for pair in one} == {1.0}
    other, artist = np.roll(same, 1), ["one"] * 30
    assert {pair.p for pair in paired_tests(Sample(y_true, [[same, other], [y_true, y_true]], artist, 3))} == {1.0}
    assert paired_tests(Sample(y_true, [[same]], [None] * 30, 3)) == []


def found_share(
    trials: int, clusters: int, size: int, seeds: int, swing: float, gain: float = 0.0, blind: bool = False
):
    """The share of simulated pairs that are called different at 5 %: (accuracy, macro-F1).

    Two models are right at the same rate, or one at `gain` more. The tracks of a group are right or wrong together, in each
    model by its own lot; each seed is better or worse by about `swing`.
    """
    rng = np.random.default_rng(4)
    n, hits = clusters * size, {"accuracy": 0, "macro_f1": 0}
    group = np.repeat(np.arange(clusters), size)
    for _ in range(trials):
        y_true = rng.integers(0, 3, n)
        rows = []
        for rate in (0.65, 0.65 + gain):
            odds = rng.beta(2 * rate, 2 * (1 - rate), clusters)[group] if size > 1 else np.full(n, rate)
            rows.append([wrong(y_true, rng.random(n) < odds + rng.normal(0, swing)) for _ in range(seeds)])
        groups = [f"g{g}" for g in group] if size > 1 and not blind else [None] * n
        for pair in paired_tests(Sample(y_true, rows, groups, 3), flips=499):
            hits[pair.metric] += pair.p <= 0.05
    return hits["accuracy"] / trials, hits["macro_f1"] / trials


@pytest.fixture
def quick(monkeypatch):
    """Fewer replicates, for simulations."""
    monkeypatch.setattr(report_stats, "REPLICATES", 300)


@pytest.mark.parametrize(("clusters", "size", "seeds", "swing"), [(150, 1, 1, 0), (40, 5, 1, 0), (150, 1, 3, 0.04), (40, 5, 3, 0.04)])  # fmt: skip
def test_false_alarms_are_about_one_in_twenty(quick, clusters, size, seeds, swing):
    for share in found_share(300, clusters, size, seeds, swing):
        assert 0.015 <= share <= 0.08  # 300 pairs: 5 % +- 2.5


def test_tracks_of_one_artist_taken_for_independent_raise_false_alarms(quick):
    assert found_share(150, 40, 5, 1, 0, blind=True)[0] > 0.12


@pytest.mark.parametrize(("clusters", "size", "seeds", "swing"), [(150, 1, 1, 0), (60, 5, 1, 0), (150, 1, 3, 0.02), (60, 5, 3, 0.02)])  # fmt: skip
def test_a_real_difference_is_found(quick, clusters, size, seeds, swing):
    for share in found_share(60, clusters, size, seeds, swing, gain=0.22):
        assert share > 0.8
