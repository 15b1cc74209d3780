"""Temperature scaling recovers known temperatures, changes no label, and does not crash on degenerate predictions."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from musicreclass.errors import RunError
from musicreclass.evaluation.calibration import (
    FOLDS,
    MIN_TRACKS,
    TEMPERATURES,
    apply_temperature,
    calibrate,
    calibrated,
    fit_temperature,
    fold_of_tracks,
    why_uncalibrated,
)
from musicreclass.evaluation.predictions import Predictions
from musicreclass.evaluation.resampling import Clusters
from musicreclass.runs.folder import Run
from tests.conftest import only_run, table_overrides


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def simulated(n: int, temperature: float, classes: int = 10, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that a temperature would calibrate, and labels."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes)) * 2
    y = (softmax(logits).cumsum(1) > rng.random((n, 1))).argmax(1)
    return softmax(logits * temperature), y


def as_predictions(probability: np.ndarray, y: np.ndarray, groups: list[str | None] | None = None) -> Predictions:
    classes = [f"c{k}" for k in range(probability.shape[1])]
    table = pd.DataFrame(probability, columns=[f"p/{name}" for name in classes])
    table.insert(0, "track_id", [f"t{i}" for i in range(len(y))])
    table.insert(1, "target", [classes[k] for k in y])
    table.insert(2, "group", [None] * len(y) if groups is None else groups)
    return Predictions(table)


probabilities = arrays(
    np.float64, st.tuples(st.integers(1, 20), st.integers(2, 6)), elements=st.floats(0, 1) | st.sampled_from([0.0, 1.0])
).map(lambda x: (x + 1e-300) / (x + 1e-300).sum(1, keepdims=True))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5, 6.0])
def test_a_known_temperature_is_recovered(temperature):
    probability, y = simulated(20_000, temperature)
    assert fit_temperature(probability, y) == pytest.approx(temperature, rel=0.05)


@given(probabilities, st.floats(*TEMPERATURES))
def test_labels_never_change(probability, temperature):
    after = apply_temperature(probability, temperature)
    assert (after.argmax(1) == probability.argmax(1)).all()
    assert np.allclose(after.sum(1), 1)
    assert (after >= 0).all()


@given(probabilities, st.integers(0, 5))
def test_any_predictions_have_a_temperature(probability, label):
    y = np.full(len(probability), label % probability.shape[1])
    assert TEMPERATURES[0] <= fit_temperature(probability, y) <= TEMPERATURES[1]


def test_one_hot_predictions_get_their_accuracy_as_confidence():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, 2000)
    y_pred = np.where(rng.random(2000) < 0.7, y, (y + 1) % 10)
    probability = np.eye(10)[y_pred]
    confidence = apply_temperature(probability, fit_temperature(probability, y)).max(1)
    assert confidence.mean() == pytest.approx((y == y_pred).mean(), abs=0.02)


def test_calibration_of_over_confident_predictions():
    probability, y = simulated(1000, 3.0)
    predictions = as_predictions(probability, y)
    record = calibrate(predictions)
    assert record is not None
    assert record["temperature"] == pytest.approx(3, rel=0.2)
    assert record["ece_after"] < 0.5 * record["ece_before"]
    assert record["log_loss_after"] < record["log_loss_before"]
    assert (record["n"], record["folds"], record["over"]) == (1000, FOLDS, "1000 tracks")
    after = calibrated(predictions, record["temperature"])
    assert after.y_true().tolist() == y.tolist()
    assert (after.probabilities().argmax(1) == probability.argmax(1)).all()


def test_labels_at_random_take_all_confidence_away():
    probability, _ = simulated(300, 3.0)
    y = np.random.default_rng(1).integers(0, 10, 300)
    record = calibrate(as_predictions(probability, y))
    assert record is not None
    assert record["temperature"] == pytest.approx(TEMPERATURES[1], rel=0.9)
    assert record["log_loss_after"] < record["log_loss_before"]


def test_the_score_afterwards_is_of_other_groups():
    """A wrong artist in each fold: the temperature of the other folds must not be that of the artist."""
    clusters = Clusters.of([f"g{i // 10}" if i < 90 else None for i in range(100)])
    fold = fold_of_tracks(clusters)
    assert all(len(set(fold[clusters.codes == code])) == 1 for code in range(clusters.count))
    assert np.bincount(fold).tolist() == [20] * FOLDS
    assert fold_of_tracks(Clusters.of(["a", "b", "b"])).max() == 1


def test_too_few_tracks_or_groups_give_no_calibration():
    probability, y = simulated(MIN_TRACKS, 1.0)
    for predictions in (
        as_predictions(probability[1:], y[1:]),
        as_predictions(probability, y, ["one artist"] * MIN_TRACKS),
    ):
        assert calibrate(predictions) is None
        assert why_uncalibrated(predictions)
    assert calibrate(as_predictions(probability, y)) is not None
    assert why_uncalibrated(as_predictions(probability, y)) == ""


@pytest.fixture
def big_table(table):
    """The `table` fixture, four times as long."""
    frame = pd.read_csv(table)
    copies = [frame.assign(track_id=frame.track_id + f"-{i}", f0=frame.f0 + i / 100) for i in range(4)]
    pd.concat(copies).to_csv(table, index=False)
    return table


@pytest.mark.parametrize("evaluate", ["valid", "test"])
def test_a_run_records_its_calibration_once_valid_is_scored(run, big_table, here, evaluate):
    result = run("train", "model=logreg", f"evaluate=[{evaluate}]", *table_overrides(big_table))
    assert result.code == 0, result.err
    folder = only_run(here)
    if evaluate == "test":
        assert "calibration" not in Run.open(folder).metrics
        result = run("evaluate", folder, "--split", "valid")
        assert result.code == 0, result.err
    metrics = Run.open(folder).metrics
    expected = calibrate(Run.open(folder).predictions("valid"))
    assert metrics["calibration"] == expected
    assert f"calibration error {100 * expected['ece_before']:.1f} %" in result.out


def test_a_run_with_few_tracks_has_no_calibration(finished_run):
    run = finished_run("logreg")
    assert run.metrics["valid"]["n"] < MIN_TRACKS
    assert "calibration" not in run.metrics
    assert "calibration: none" in (run.folder / "run.log").read_text()


def test_an_impossible_temperature_is_rejected(run, big_table, here):
    assert run("train", "model=logreg", *table_overrides(big_table)).code == 0
    path = only_run(here) / "metrics.json"
    metrics = json.loads(path.read_text())
    assert Run.open(path.parent).metrics == metrics
    for temperature in (0, -1.0, float("nan"), float("inf"), "hot", None):
        metrics["calibration"]["temperature"] = temperature
        path.write_text(json.dumps(metrics))
        with pytest.raises(RunError) as caught:
            _ = Run.open(path.parent).metrics
        assert caught.value.kind == "unreadable", temperature


@pytest.mark.parametrize("seed", range(30))
def test_a_temperature_that_does_not_help_other_tracks_is_not_used(seed):
    """Of calibrated predictions of few tracks, the fitted temperature is noise in about half of the cases."""
    calibration = calibrate(as_predictions(*simulated(30, 1.0, seed=seed)))
    assert calibration is not None
    assert calibration["log_loss_after"] <= calibration["log_loss_before"]
    if calibration["log_loss_after"] == calibration["log_loss_before"]:
        assert calibration["temperature"] == 1.0
        assert calibration["ece_after"] == calibration["ece_before"]
