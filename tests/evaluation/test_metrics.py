"""Scores against scikit-learn's, intervals against what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from musicreclass.data.tracks import make_tracks
from musicreclass.evaluation.bootstrap import bootstrap_interval
from musicreclass.evaluation.metrics import calibration_error, score
from musicreclass.evaluation.predictions import Predictions


def predictions(y_true, probability, groups=None, classes="abcd") -> Predictions:
    ids = [f"t{i}" for i in range(len(y_true))]
    tracks = make_tracks(ids, [classes[k] for k in y_true], group=groups)
    return Predictions.of(ids, np.asarray(probability), list(classes), tracks)


@given(seed=st.integers(0, 10_000), n=st.integers(1, 60), absent=st.booleans())
@settings(max_examples=60, deadline=None)
def test_scores_agree_with_scikit_learn(seed, n, absent):
    rng = np.random.default_rng(seed)
    y_true = rng.integers(0, 3 if absent else 4, n)
    probability = rng.dirichlet(np.ones(4), n)
    found = score(predictions(y_true, probability))
    y_pred = probability.argmax(1)
    labels = {"labels": range(4), "zero_division": 0}
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y_true, y_pred))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(y_true, y_pred, average="macro", **labels))
    assert found["weighted_f1"] == pytest.approx(sk.f1_score(y_true, y_pred, average="weighted", **labels))
    assert found["balanced_accuracy"] == pytest.approx(sk.recall_score(y_true, y_pred, average="macro", **labels))
    assert found["log_loss"] == pytest.approx(sk.log_loss(y_true, probability, labels=range(4)))
    assert found["top3_accuracy"] == pytest.approx(sk.top_k_accuracy_score(y_true, probability, k=3, labels=range(4)))
    each = sk.precision_recall_fscore_support(y_true, y_pred, **labels)
    for k, name in enumerate("abcd"):
        assert list(found["per_class"][name].values()) == pytest.approx([float(row[k]) for row in each])


def test_calibration_error_of_known_cases():
    assert calibration_error(np.array([0.9] * 10), np.array([True] * 9 + [False])) == pytest.approx(0)
    assert calibration_error(np.array([1.0] * 4), np.array([True, True, False, False])) == pytest.approx(0.5)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(200):
        right = rng.random(80) < 0.7
        low, high = bootstrap_interval(np.zeros(80, int), (~right).astype(int), [None] * 80, 2)["accuracy"]
        inside += low <= 0.7 <= high
    assert 0.9 <= inside / 200 <= 0.99


def test_groups_widen_the_interval():
    right = np.repeat(np.random.default_rng(1).random(20) < 0.7, 10)
    y_true, y_pred = np.zeros(200, int), (~right).astype(int)
    alone = bootstrap_interval(y_true, y_pred, [None] * 200, 2)
    grouped = bootstrap_interval(y_true, y_pred, [f"g{i // 10}" for i in range(200)], 2)
    width = [np.diff(found["accuracy"])[0] for found in (alone, grouped)]
    assert width[1] > 2 * width[0]
    assert (alone["over"], grouped["over"]) == ("200 tracks", "20 groups")
    assert bootstrap_interval(y_true, y_pred, [f"g{i // 10}" for i in range(200)], 2) == grouped


def test_macro_f1_interval_holds_its_estimate_with_one_artist_per_class():
    y_true = np.repeat(np.arange(6), 6)
    y_pred = y_true.copy()
    y_pred[[0, 7, 14]] = 5
    found = score(predictions(y_true, np.eye(6)[y_pred], [f"g{k}" for k in y_true], "abcdef"))
    assert found["macro_f1_ci95"][0] <= found["macro_f1"] <= found["macro_f1_ci95"][1]


def test_most_confused():
    y_true, y_pred = [0, 0, 0, 1, 1, 2], [1, 1, 0, 0, 1, 2]
    found = score(predictions(y_true, np.eye(4)[y_pred]))
    assert found["most_confused"] == [("a", "b", 2, 3), ("b", "a", 1, 2)]
    assert found["top3_accuracy"] == pytest.approx(1)
    ties = score(predictions([3, 3, 0], np.full((3, 4), 0.25)))
    assert ties["top3_accuracy"] == pytest.approx(1 / 3)  # among equals the first classes come first, as for argmax


def test_rows_of_one_track_are_averaged():
    tracks = make_tracks(["x", "y"], ["a", "b"])
    found = Predictions.of(["y", "x", "y"], np.array([[0.2, 0.8], [1.0, 0.0], [0.6, 0.4]]), ["a", "b"], tracks)
    assert found.table.track_id.tolist() == ["x", "y"]
    assert found.probabilities() == pytest.approx(np.array([[1.0, 0.0], [0.4, 0.6]]))
