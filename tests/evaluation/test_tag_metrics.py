"""Metrics of sets of tags: equal to scikit-learn's, also on adversarial tables; intervals and tests that hold what they say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sklearn.metrics import average_precision_score, f1_score, log_loss, precision_recall_curve, roc_auc_score

from musicreclass.errors import DataError, RunError
from musicreclass.evaluation.intervals import TagSample
from musicreclass.evaluation.metrics import score
from musicreclass.evaluation.paired import paired_tests
from musicreclass.evaluation.predictions import Predictions
from musicreclass.evaluation.ranking import Ranking, Rankings, best_thresholds
from musicreclass.evaluation.tag_metrics import prior_scores, tag_thresholds
from musicreclass.evaluation.tag_sets import class_numbers, has_tag_sets, tag_sets

TAGS, TRACKS = 5, 200
TRIALS = 250  # Monte Carlo standard error at 95 %: 1.4 points


def predictions_of(y_true: np.ndarray, probability: np.ndarray, groups: list[str | None] | None = None) -> Predictions:
    names = [f"tag {i}" for i in range(y_true.shape[1])]
    ids = [f"t{i}" for i in range(len(y_true))]
    target = [tuple(np.array(names)[row]) for row in y_true.astype(bool)]
    tracks = pd.DataFrame({"track_id": ids, "target": pd.Series(target, dtype=object), "group": groups})
    return Predictions.of(ids, probability, names, tracks)


@st.composite
def weighted_rankings(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n = draw(st.integers(2, 30))
    y_true = draw(npst.arrays(np.int8, n, elements=st.integers(0, 1)))
    score = draw(
        npst.arrays(np.float64, n, elements=st.sampled_from([0.0, 0.1, 0.5, 0.5000001, 1.0]) | st.floats(0, 1))
    )
    weight = draw(npst.arrays(np.float64, n, elements=st.integers(0, 3)))
    return y_true, score, weight


@given(weighted_rankings())
def test_areas_equal_those_of_scikit_learn_with_weights_and_ties(case):
    y_true, score_, weight = case
    roc_auc, pr_auc = Ranking(y_true, score_).areas(weight[None])[:, 0]
    positives, negatives = weight[y_true == 1].sum(), weight[y_true == 0].sum()
    if not positives or not negatives:
        assert np.isnan(roc_auc)
        assert np.isnan(pr_auc)
        return
    assert roc_auc == pytest.approx(roc_auc_score(y_true, score_, sample_weight=weight), abs=1e-9)
    assert pr_auc == pytest.approx(average_precision_score(y_true, score_, sample_weight=weight), abs=1e-9)


def test_every_score_equals_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    y_true = rng.random((150, 6)) < [0.5, 0.3, 0.1, 0.05, 0, 1]
    probability = np.clip(0.3 * y_true + rng.normal(0.35, 0.2, y_true.shape), 0.01, 0.99).round(2)
    predictions = predictions_of(y_true, probability)
    thresholds = tag_thresholds(predictions)
    scores = score(predictions, thresholds)
    scored = y_true[:, :4], probability[:, :4]
    y_pred = probability >= np.array(list(thresholds.values()))
    assert scores["roc_auc"] == pytest.approx(roc_auc_score(*scored))
    assert scores["pr_auc"] == pytest.approx(average_precision_score(*scored))
    assert scores["micro_roc_auc"] == pytest.approx(roc_auc_score(y_true.ravel(), probability.ravel()))
    assert scores["micro_pr_auc"] == pytest.approx(average_precision_score(y_true.ravel(), probability.ravel()))
    assert scores["macro_f1"] == pytest.approx(f1_score(y_true[:, :4], y_pred[:, :4], average="macro"))
    assert scores["micro_f1"] == pytest.approx(f1_score(y_true, y_pred, average="micro"))
    assert scores["log_loss"] == pytest.approx(log_loss(y_true.ravel(), probability.ravel()))
    assert scores["unscored_tags"] == ["tag 4", "tag 5"]
    assert scores["per_tag"]["tag 4"] == {"roc_auc": None, "pr_auc": None, "f1": 0.0, "support": 0}
    assert scores["per_tag"]["tag 2"]["pr_auc"] == pytest.approx(
        average_precision_score(y_true[:, 2], probability[:, 2])
    )


def test_no_threshold_has_a_higher_f1():
    rng = np.random.default_rng(1)
    y_true = rng.random((80, 3)) < [0.5, 0.1, 0.02]
    y_true[0, 2] = True
    probability = np.clip(0.2 * y_true + rng.random(y_true.shape), 0, 1).round(1)
    for tag, threshold in enumerate(best_thresholds(y_true, probability)):
        precision, recall, _ = precision_recall_curve(y_true[:, tag], probability[:, tag])
        best = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12))
        assert f1_score(y_true[:, tag], probability[:, tag] >= threshold) == pytest.approx(best)


def test_f1_on_validation_uses_thresholds_of_other_tracks():
    """With thresholds from the same tracks, the F1 of random probabilities would be too high."""
    rng = np.random.default_rng(2)
    y_true, probability = rng.random((60, 8)) < 0.15, rng.random((60, 8))
    predictions = predictions_of(y_true, probability)
    assert score(predictions)["macro_f1"] < score(predictions, tag_thresholds(predictions))["macro_f1"]


@pytest.mark.parametrize("seed", range(3))
def test_the_scores_of_the_prior_are_those_of_equal_probabilities(seed):
    """The fitted threshold gives every track the tag: an F1 of 2 p / (1 + p)."""
    rng = np.random.default_rng(seed)
    y_true = rng.random((80, 4)) < [0.5, 0.3, 0.1, 0.9]
    predictions = predictions_of(y_true, np.tile(y_true.mean(axis=0), (80, 1)))
    scores = score(predictions, tag_thresholds(predictions))
    assert prior_scores(scores) == pytest.approx({name: scores[name] for name in prior_scores(scores)})
    assert set(prior_scores(scores)) == {"roc_auc", "pr_auc", "macro_f1", "micro_f1"}


def test_tags_of_all_or_no_tracks_leave_nothing_to_score():
    scores = score(predictions_of(np.ones((5, 2), int), np.full((5, 2), 0.5)))
    assert scores["roc_auc"] is None
    assert scores["roc_auc_ci95"] is None
    assert scores["macro_f1"] is None
    assert scores["unscored_tags"] == ["tag 0", "tag 1"]
    assert prior_scores(scores) == {}


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan])
def test_values_that_are_no_probabilities_are_rejected(value):
    with pytest.raises((ValueError, FloatingPointError)):
        predictions_of(np.eye(2, dtype=int), np.array([[0.5, 0.5], [value, 0.5]]))


def test_predictions_are_saved_with_indicators(tmp_path):
    predictions = predictions_of(np.array([[1, 0], [1, 1], [0, 0]]), np.array([[0.9, 0.2], [0.6, 0.7], [0.1, 0.0]]))
    predictions.save(tmp_path / "p.parquet")
    loaded = Predictions.load(tmp_path / "p.parquet")
    assert list(loaded.table) == ["track_id", "group", "y/tag 0", "y/tag 1", "p/tag 0", "p/tag 1"]
    assert loaded.is_multi
    assert loaded.y_true().tolist() == [[1, 0], [1, 1], [0, 0]]
    assert loaded.targets() == ["tag 0", "tag 0|tag 1", ""]
    loaded.table.drop(columns="y/tag 1").to_parquet(tmp_path / "p.parquet")
    with pytest.raises(RunError) as caught:
        Predictions.load(tmp_path / "p.parquet")
    assert caught.value.kind == "invalid_predictions"


def test_sets_of_tags_and_class_names_do_not_mix():
    assert not has_tag_sets(["a", None, float("nan")])
    assert has_tag_sets([None, ("a",), ()])
    with pytest.raises(DataError) as caught:
        has_tag_sets(["a", ("b",)])
    assert caught.value.kind == "mixed_targets"
    numbers = class_numbers(tag_sets([["b", "a", "b"], ()]), ["a", "b", "c"])
    assert numbers.tolist() == [[1, 1, 0], [0, 0, 0]]


def simulated(
    rng: np.random.Generator, sizes: list[int], models: int
) -> tuple[np.ndarray, list[np.ndarray], list[str]]:
    """Tags and scores of equally good models, both correlated within artists."""
    artist = np.repeat(np.arange(len(sizes)), sizes)
    liking = rng.normal(size=(len(sizes), TAGS))
    y_true = (0.7 * liking[artist] + rng.normal(size=(len(artist), TAGS)) > 0.6).astype(int)
    scores = []
    for _ in range(models):
        bias = 0.5 * rng.normal(size=(len(sizes), TAGS))
        noise = rng.normal(size=y_true.shape)
        scores.append(1 / (1 + np.exp(-(1.2 * y_true + bias[artist] + noise))))
    return y_true, scores, [f"a{i}" for i in artist]


DESIGNS = {"40 artists of 5": [5] * 40, "20 artists of 10": [10] * 20, "unequal": [40, 30, *[5] * 26]}


@pytest.mark.slow
@pytest.mark.parametrize("sizes", DESIGNS.values(), ids=DESIGNS)
def test_intervals_cover_the_score_of_many_artists(sizes):
    """At least 92 % of the 95 % intervals contain the score on 4,000 artists; 250 trials have a standard error of 1.4 points."""
    rng = np.random.default_rng(3)
    y_true, (probability,), _ = simulated(rng, [5] * 4000, 1)
    expected = {m: float(v[0]) for m, v in Rankings(y_true, probability).macro(np.ones((1, len(y_true)))).items()}
    covered = dict.fromkeys(expected, 0)
    for _ in range(TRIALS):
        y_true, scores, groups = simulated(rng, sizes, 1)
        sample = TagSample(y_true, [scores], groups, TAGS)
        for metric, value in expected.items():
            estimate = sample.estimate(metric, 0)
            covered[metric] += estimate.low <= value <= estimate.high
    assert {m: count / TRIALS >= 0.92 for m, count in covered.items()} == dict.fromkeys(expected, True), covered


@pytest.mark.slow
@pytest.mark.parametrize("sizes", DESIGNS.values(), ids=DESIGNS)
def test_equally_good_runs_differ_significantly_in_about_5_percent(sizes):
    """From 1 to 9 % of 250 trials: 5 % with three standard errors of 1.4 points; fewer are conservative."""
    rng = np.random.default_rng(4)
    positives = {"roc_auc": 0, "pr_auc": 0}
    for _ in range(TRIALS):
        y_true, scores, groups = simulated(rng, sizes, 2)
        for pair in paired_tests(TagSample(y_true, [[s] for s in scores], groups, TAGS)):
            positives[pair.metric] += pair.p <= 0.05
    assert all(count / TRIALS <= 0.09 for count in positives.values()), positives
    if sizes != DESIGNS["unequal"]:
        assert all(count / TRIALS >= 0.01 for count in positives.values()), positives


def test_a_better_run_is_found():
    rng = np.random.default_rng(5)
    y_true, (good, bad), groups = simulated(rng, [5] * 40, 2)
    bad = 0.5 * bad + 0.5 * rng.random(bad.shape)
    roc_auc, pr_auc = paired_tests(TagSample(y_true, [[good], [bad]], groups, TAGS))
    assert roc_auc.metric == "roc_auc"
    assert roc_auc.difference > 0
    assert roc_auc.p < 0.01
    assert pr_auc.low < pr_auc.difference < pr_auc.high
    assert pr_auc.adjusted < 0.01
