"""Scores agree with scikit-learn, intervals have their nominal coverage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats
from sklearn import metrics as sklearn_metrics

from musicreclass.data.tracks import make_tracks
from musicreclass.evaluation.bootstrap import binomial_interval, bootstrap_interval, corrected_interval
from musicreclass.evaluation.calibration import calibration_error
from musicreclass.evaluation.intervals import Sample
from musicreclass.evaluation.metrics import score
from musicreclass.evaluation.predictions import Predictions
from musicreclass.evaluation.resampling import Clusters
from musicreclass.report.summary import split_parts


def make_predictions(y_true, probability, groups=None, classes="abcd") -> Predictions:
    ids = [f"t{i}" for i in range(len(y_true))]
    tracks = make_tracks(ids, [classes[k] for k in y_true], group=groups)
    return Predictions.of(ids, np.asarray(probability), list(classes), tracks)


@given(seed=st.integers(0, 10_000), n=st.integers(1, 60), absent=st.booleans())
@settings(max_examples=60)
def test_scores_agree_with_scikit_learn(seed, n, absent):
    rng = np.random.default_rng(seed)
    y_true = rng.integers(0, 3 if absent else 4, n)
    probability = rng.dirichlet(np.ones(4), n)
    metrics = score(make_predictions(y_true, probability))
    y_pred = probability.argmax(1)
    labels = {"labels": range(4), "zero_division": 0}
    assert metrics["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(y_true, y_pred))
    assert metrics["macro_f1"] == pytest.approx(sklearn_metrics.f1_score(y_true, y_pred, average="macro", **labels))
    assert metrics["weighted_f1"] == pytest.approx(
        sklearn_metrics.f1_score(y_true, y_pred, average="weighted", **labels)
    )
    assert metrics["balanced_accuracy"] == pytest.approx(
        sklearn_metrics.recall_score(y_true, y_pred, average="macro", **labels)
    )
    assert metrics["log_loss"] == pytest.approx(sklearn_metrics.log_loss(y_true, probability, labels=range(4)))
    assert metrics["top3_accuracy"] == pytest.approx(
        sklearn_metrics.top_k_accuracy_score(y_true, probability, k=3, labels=range(4))
    )
    per_class = sklearn_metrics.precision_recall_fscore_support(y_true, y_pred, **labels)
    for k, name in enumerate("abcd"):
        assert list(metrics["per_class"][name].values()) == pytest.approx([float(values[k]) for values in per_class])


def test_absent_classes_count_as_zero_and_are_listed():
    metrics = score(make_predictions([0, 0, 1, 3], np.eye(4)[[0, 0, 1, 0]]))
    assert metrics["absent_classes"] == ["c"]
    assert metrics["macro_f1_present"] == pytest.approx(metrics["macro_f1"] * 4 / 3)
    complete = score(make_predictions([0, 1, 2, 3], np.eye(4)))
    assert (complete["absent_classes"], complete["macro_f1_present"]) == ([], complete["macro_f1"])
    text = Console(width=200)
    for scores, named in ((metrics, True), (complete, False)):
        with text.capture() as shown:
            text.print(split_parts("test", scores)[0])
        assert (f"{100 * scores['macro_f1_present']:.1f} over" in shown.get()) == named


def test_calibration_error():
    assert calibration_error(np.array([0.9] * 10), np.array([True] * 9 + [False])) == pytest.approx(0)
    assert calibration_error(np.array([1.0] * 4), np.array([True, True, False, False])) == pytest.approx(0.5)


def test_interval_coverage():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        right = rng.random(80) < 0.7
        low, high = bootstrap_interval(np.zeros(80, int), (~right).astype(int), [None] * 80, 2)["accuracy"]
        covered += low <= 0.7 <= high
    assert 0.9 <= covered / 200 <= 0.99


def test_groups_widen_the_interval():
    right = np.repeat(np.random.default_rng(1).random(20) < 0.7, 10)
    y_true, y_pred = np.zeros(200, int), (~right).astype(int)
    ungrouped = bootstrap_interval(y_true, y_pred, [None] * 200, 2)
    grouped = bootstrap_interval(y_true, y_pred, [f"g{i // 10}" for i in range(200)], 2)
    ungrouped_width, grouped_width = (np.diff(interval["accuracy"])[0] for interval in (ungrouped, grouped))
    assert grouped_width > 2 * ungrouped_width
    assert (ungrouped["over"], grouped["over"]) == ("200 tracks", "20 groups")
    assert bootstrap_interval(y_true, y_pred, [f"g{i // 10}" for i in range(200)], 2) == grouped
    partly_grouped = bootstrap_interval(y_true, y_pred, [*["g"] * 150, *[None] * 50], 2)
    assert partly_grouped["over"] == "51 groups and single tracks"


def test_bias_shifts_the_interval_up():
    rng = np.random.default_rng(2)
    y_true = np.repeat(np.arange(10), 12)
    y_pred = np.where(rng.random(120) < 0.4, y_true, rng.integers(0, 10, 120))
    sample = Sample(y_true, [[y_pred]], [f"g{i // 4}" for i in range(120)], 10)
    replicates, estimate = sample.replicates["macro_f1"][0], sample.estimate("macro_f1", 0)
    low, high = np.quantile(replicates, (0.025, 0.975))
    assert replicates.mean() < estimate.mean  # macro-F1 is too low in a replicate
    assert (estimate.low + estimate.high) / 2 > (low + high) / 2 + 0.5 * (estimate.mean - replicates.mean())
    assert estimate.high - estimate.low > high - low


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_few_or_unequal_clusters_widen_the_interval(metric):
    rng = np.random.default_rng(3)
    right = np.repeat(rng.random(60) < 0.6, 4)
    y_true = np.tile(np.arange(4), 60)
    y_pred = np.where(right, y_true, (y_true + 1) % 4)
    equal = [f"g{i // 12}" for i in range(240)]
    unequal = ["large" if i < 120 else f"g{i // 12}" for i in range(240)]
    clusters = {name: Clusters.of(groups) for name, groups in (("equal", equal), ("unequal", unequal))}
    assert clusters["equal"].df == pytest.approx(19)
    assert clusters["unequal"].df == 1.0 < clusters["unequal"].count - 1
    sample = Sample(y_true, [[y_pred]], equal, 4)
    arguments = (float(sample.scores[metric][0][0]), sample.replicates[metric][0], sample.jackknives[0], metric)
    widths = [np.diff(corrected_interval(*arguments, clusters[name]))[0] for name in ("equal", "unequal")]
    assert np.diff(np.quantile(arguments[1], (0.025, 0.975)))[0] < widths[0] < widths[1]


def test_intervals_of_few_groups_are_as_wide_as_those_of_tracks_at_least():
    y_true = np.tile(np.repeat(np.arange(5), 2), 5)  # five groups that each hold every class
    right = np.tile(np.arange(10) < 6, 5)
    y_pred = np.where(right, y_true, (y_true + 1) % 5)
    y_pred[9] = 1  # equal accuracy in every group, macro-F1 varies a little
    grouped = bootstrap_interval(y_true, y_pred, [f"g{i // 10}" for i in range(50)], 5)
    single = bootstrap_interval(y_true, y_pred, [None] * 50, 5)
    for metric in ("accuracy", "macro_f1"):
        assert 0.8 * np.diff(single[metric])[0] < np.diff(grouped[metric])[0] < 0.6


def test_equal_replicates_have_binomial_bounds():
    y = np.arange(40) % 2
    for groups, trials in (([None] * 40, 40), ([f"g{i // 4}" for i in range(40)], 10)):
        interval = bootstrap_interval(y, y, groups, 2)
        expected = [stats.beta.ppf(0.025, trials, 1), 1.0]
        assert interval["accuracy"] == interval["macro_f1"] == pytest.approx(expected)
    one_error = np.where(np.arange(40) == 0, 1, y)  # few distinct replicates: Clopper-Pearson bounds, nearly
    exact = stats.binomtest(39, 40).proportion_ci()
    assert bootstrap_interval(y, one_error, [None] * 40, 2)["accuracy"] == pytest.approx([*exact], abs=0.01)


@pytest.mark.parametrize("groups", [[None] * 9, ["one"] * 9, [*"aabbbccc", None]])
def test_the_interval_of_one_seed_is_the_same_in_a_comparison(groups):
    y_true, y_pred = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2]), np.array([0, 1, 2, 0, 1, 2, 1, 2, 0])
    interval = bootstrap_interval(y_true, y_pred, groups, 3)
    for metric in ("accuracy", "macro_f1"):
        estimate = Sample(y_true, [[y_pred]], groups, 3).estimate(metric, 0)
        assert [estimate.low, estimate.high] == interval[metric]
        assert 0 <= estimate.low < estimate.mean < estimate.high <= 1


def test_macro_f1_interval_contains_the_estimate_with_one_artist_per_class():
    y_true = np.repeat(np.arange(6), 6)
    y_pred = y_true.copy()
    y_pred[[0, 7, 14]] = 5
    metrics = score(make_predictions(y_true, np.eye(6)[y_pred], [f"g{k}" for k in y_true], "abcdef"))
    assert metrics["macro_f1_ci95"][0] <= metrics["macro_f1"] <= metrics["macro_f1_ci95"][1]


def test_most_confused():
    y_true, y_pred = [0, 0, 0, 1, 1, 2], [1, 1, 0, 0, 1, 2]
    metrics = score(make_predictions(y_true, np.eye(4)[y_pred]))
    assert metrics["most_confused"] == [("a", "b", 2, 3), ("b", "a", 1, 2)]
    assert metrics["top3_accuracy"] == pytest.approx(1)
    ties = score(make_predictions([3, 3, 0], np.full((3, 4), 0.25)))
    assert ties["top3_accuracy"] == pytest.approx(1 / 3)  # ties in the order of the classes, as with argmax


def test_rows_of_one_track_are_averaged():
    tracks = make_tracks(["x", "y"], ["a", "b"])
    rows = np.array([[0.2, 0.8], [1.0, 0.0], [0.6, 0.4]])
    predictions = Predictions.of(["y", "x", "y"], rows, ["a", "b"], tracks)
    assert predictions.table.track_id.tolist() == ["x", "y"]
    assert predictions.probabilities() == pytest.approx(np.array([[1.0, 0.0], [0.4, 0.6]]))


@pytest.mark.parametrize("score", [1 + 2**-52, 1.0, -(2.0**-60), 0.0])
def test_binomial_bounds_of_a_perfect_score_with_an_error_of_rounding(score):
    low, high = binomial_interval(score, 1e-17, Clusters.of([f"artist {i}" for i in range(5)]))
    assert (low, high) == pytest.approx((0.478, 1) if score > 0.5 else (0, 0.522), abs=1e-3)
