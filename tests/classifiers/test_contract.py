"""The contract that every file under conf/model keeps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.pipeline import Pipeline

from musicreclass.classifiers.base import Workspace
from musicreclass.classifiers.boosting_progress import Progress, logged_name
from musicreclass.classifiers.estimator import preprocessing_steps
from musicreclass.classifiers.factory import build_classifier, load
from musicreclass.classifiers.network_builder import STATISTICS_COLUMNS, fit_standardize
from musicreclass.config.check import train_settings
from musicreclass.data.sources.table_file import TableFile
from musicreclass.errors import DataError, RunError
from musicreclass.evaluation.metrics import score
from musicreclass.hardware.resolution import resolve_profile
from musicreclass.models.frontend import Standardize
from musicreclass.report.figures import curves_figure
from tests.conftest import MODELS, make_frame

QUICK = {
    "mlp": ["trainer.max_epochs=4", "trainer.batch_size=16"],
    "xgboost": ["model.n_estimators=20"],
    "random_forest": ["model.n_estimators=20"],
}


def fitted(model: str, data: TableFile, folder: Path, *overrides: str):
    settings = train_settings([f"model={model}", "hardware=cpu", *QUICK.get(model, []), *overrides])
    classifier = build_classifier(settings, resolve_profile(settings.hardware), data)
    classifier.fit(data, Workspace(folder, lambda epoch, values: None))
    return classifier


@pytest.fixture
def data(here) -> TableFile:
    make_frame(groups=10).to_csv("t.csv", index=False)
    table = TableFile("t.csv", {"protocol": "auto"}, group_column="artist")
    table.setup()
    return table


@pytest.mark.parametrize("model", MODELS)
def test_contract(model, data, here):
    first, second = fitted(model, data, here / "a"), fitted(model, data, here / "b")
    ids, x, y = data.arrays("valid")
    probability = first.predict_proba(x)
    assert probability.shape == (len(ids), 3)
    assert probability.dtype == np.float64
    assert np.allclose(probability.sum(1), 1, atol=1e-6)
    assert (probability.argmax(1) == y).mean() > 0.6  # it learned something: chance is 0.33
    assert np.array_equal(second.predict_proba(x), probability)  # same seed, same result

    predictions = first.predict(data, "valid")
    assert predictions.table.track_id.tolist() == ids
    assert np.array_equal(predictions.probabilities(), probability)
    assert predictions.groups() == data.tracks.group[data.tracks.split == "valid"].tolist()

    saved = here / "saved"
    saved.mkdir()
    first.save(saved)
    again = load(saved)
    assert again.card == first.card
    assert np.array_equal(again.predict_proba(x), probability)


@pytest.mark.parametrize("model", MODELS)
def test_classes_that_only_test_has_do_not_change_what_is_learned(model, here):
    frame = make_frame()
    frame["split"] = np.array(["train", "train", "train", "valid", "test"])[frame.index // 3 % 5]
    tables = []
    for extra in (False, True):
        if extra:
            renamed = frame[frame.split == "test"].iloc[:4].index
            frame.loc[renamed, "label"] = "bossa"  # between the other classes in alphabetical order
        file = here / f"{extra}.csv"
        frame.to_csv(file, index=False)
        table = TableFile(str(file), {"protocol": "auto"}, split_column="split")
        table.allow_untrained_classes = True
        table.setup()
        tables.append(table)
    plain, extended = (fitted(model, table, here / name) for table, name in zip(tables, "ab", strict=True))
    assert extended.card.classes == [*plain.card.classes, "bossa"]
    assert any("bossa" in note for note in tables[1].notes)
    _, x, _ = tables[0].arrays("valid")
    assert np.array_equal(extended.predict_proba(x), np.pad(plain.predict_proba(x), ((0, 0), (0, 1))))
    saved = here / "saved"
    saved.mkdir()
    extended.save(saved)
    again = load(saved).predict(tables[1], "test")
    scores = score(again)
    assert again.classes[-1] == "bossa"
    assert scores["per_class"]["bossa"] == {"precision": 0, "recall": 0, "f1": 0, "support": 4}
    assert scores["absent_classes"] == []
    assert score(extended.predict(tables[1], "valid"))["absent_classes"] == ["bossa"]


@pytest.mark.parametrize("model", MODELS)
def test_balanced_classes(model, here):
    frame = make_frame(240)
    rare = frame[(frame.label != "rock") | (frame.index % 15 == 2)]  # one rock track in five stays
    assert 0 < (rare.label == "rock").sum() < 25
    rare.to_csv("rare.csv", index=False)
    data = TableFile("rare.csv", {"protocol": "auto"})
    data.setup()
    _, x, _ = data.arrays("train")
    plain = fitted(model, data, here / "a").predict_proba(x)[:, 2].mean()
    balanced = fitted(model, data, here / "b", "class_weight=balanced").predict_proba(x)[:, 2].mean()
    assert balanced > plain


@pytest.mark.parametrize("model", MODELS)
def test_a_class_without_training_tracks_gets_no_probability(model, here):
    frame = make_frame(60)
    frame["split"] = np.where(frame.index % 4 == 3, "valid", "train")
    frame.loc[(frame.label == "jazz"), "split"] = "valid"
    frame.to_csv("t.csv", index=False)
    data = TableFile("t.csv", {"protocol": "auto"}, split_column="split")
    data.allow_untrained_classes = True
    data.setup()
    assert any("no train tracks of jazz" in note for note in data.notes)
    probability = fitted(model, data, here / "a").predict_proba(data.arrays("valid")[1])
    assert probability.shape[1] == 3
    if model not in ("mlp", "layer_probe"):  # a network keeps an output for it, which it learns to leave alone
        assert (probability[:, 1] == 0).all()


def test_seeds_differ(data, here):
    x = data.arrays("valid")[1]
    one, two = (fitted("mlp", data, here / str(s), f"seed={s}").predict_proba(x) for s in (1, 2))
    assert not np.allclose(one, two)


def test_micro_batches_change_nothing(data, here):
    x = data.arrays("valid")[1]
    together = fitted("mlp", data, here / "a", "model.dropout=0.0").predict_proba(x)
    parts = fitted("mlp", data, here / "b", "model.dropout=0.0", "hardware.micro_batch=3").predict_proba(x)
    assert np.allclose(together, parts, atol=1e-5)
    weighted = [
        fitted("mlp", data, here / f"c{m}", "model.dropout=0.0", "class_weight=balanced", f"hardware.micro_batch={m}")
        for m in (16, 5)
    ]
    assert np.allclose(weighted[0].predict_proba(x), weighted[1].predict_proba(x), atol=1e-5)


def test_rows_that_do_not_fit_in_memory_are_scored_in_smaller_parts(data, here, monkeypatch):
    classifier = fitted("mlp", data, here)
    x, forward = data.arrays("valid")[1], classifier.network.forward
    expected = classifier.predict_proba(x)

    def narrow(rows: torch.Tensor) -> torch.Tensor:
        if len(rows) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(rows)

    monkeypatch.setattr(classifier.network, "forward", narrow)
    assert len(x) > 5
    assert np.allclose(classifier.predict_proba(x), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("optimizer", "scheduler"),
    [
        *(("adamw", scheduler) for scheduler in ("none", "plateau", "cosine", "onecycle")),
        *((optimizer, "onecycle") for optimizer in ("adam", "sgd")),
        *(
            pytest.param(optimizer, scheduler, marks=pytest.mark.slow)
            for optimizer in ("adam", "sgd")
            for scheduler in ("none", "plateau", "cosine")
        ),
    ],
)
def test_optimizers_and_schedulers(scheduler, optimizer, data, here):
    rates: list[float] = []
    overrides = ["model=mlp", f"scheduler={scheduler}", f"optimizer={optimizer}", "trainer.max_epochs=6"]
    settings = train_settings([*overrides, "trainer.batch_size=16", "early_stopping=none"])
    classifier = build_classifier(settings, resolve_profile(settings.hardware), data)
    classifier.fit(data, Workspace(here / "a", lambda epoch, values: rates.append(values["lr"])))
    top = settings.optimizer.lr
    assert len(rates) == 6
    if scheduler == "none":
        assert set(rates) == {top}
    if scheduler == "cosine":
        assert rates[0] == top
        assert rates == sorted(rates, reverse=True)
        assert rates[-1] < top / 4
    if scheduler == "onecycle":
        assert rates[-1] < 1e-3 * top  # the last step has the lowest rate
        assert max(rates) > 0.5 * top


def test_early_stopping_ends_a_fit(data, here):
    epochs: list[int] = []
    settings = train_settings(["trainer.max_epochs=200", "optimizer.lr=0.03", "early_stopping.patience=2"])
    classifier = build_classifier(settings, resolve_profile(settings.hardware), data)
    classifier.fit(data, Workspace(here / "a", lambda epoch, values: epochs.append(epoch)))
    assert 3 <= len(epochs) < 200


def test_boosting_stops_early_and_predicts_with_the_best_round(data, here):
    losses: list[float] = []
    settings = train_settings(["model=xgboost", "model.early_stopping_rounds=5", "model.learning_rate=0.3"])
    classifier = build_classifier(settings, resolve_profile(settings.hardware), data)
    classifier.fit(data, Workspace(here, lambda epoch, values: losses.append(values["valid/loss"])))
    best = int(np.argmin(losses))
    assert len(losses) == best + 6 < 500
    y_true, probability = data.arrays("valid")[2], classifier.predict_proba(data.arrays("valid")[1])
    loss = -np.log(probability[np.arange(len(y_true)), y_true]).mean()
    assert loss == pytest.approx(losses[best], rel=1e-4)


def boost(data, folder: Path, metric: object, rounds: int = 30) -> tuple[list[dict[str, float]], int]:
    """The values of each round, and the best round."""
    rows: list[dict[str, float]] = []
    overrides = [f"+model.eval_metric={metric}", f"model.n_estimators={rounds}", "model.early_stopping_rounds=4"]
    settings = train_settings(["model=xgboost", "model.learning_rate=0.3", *overrides])
    classifier = build_classifier(settings, resolve_profile(settings.hardware), data)
    classifier.fit(data, Workspace(folder, lambda epoch, values: rows.append({"epoch": epoch, **values})))
    return rows, classifier.fit_summary["best_round"]


@pytest.mark.parametrize(
    ("metric", "name", "grows"),
    [
        ("auc", "auc", True),
        ("merror", "merror", False),
        ("[auc,mlogloss]", "loss", False),
    ],
)
def test_boosting_logs_its_metric_by_name(metric, name, grows, data, here):
    rows, best = boost(data, here, metric)
    assert {*rows[0]} == {"epoch", f"train/{name}", f"valid/{name}"}
    values = [row[f"valid/{name}"] for row in rows]
    assert best == int(np.argmax(values) if grows else np.argmin(values))
    assert len(rows) == min(best + 5, 30)
    assert curves_figure(rows, best) is not None


def test_names_of_metrics_suit_trackers():
    assert [logged_name(metric) for metric in ("logloss", "error", "error@0.3")] == ["loss", "error", "error_at_0.3"]


def test_rounds_of_an_undefined_metric_are_never_the_best():
    progress = Progress([np.nan, 0.5, np.nan, 0.4, 0.6], patience=2)
    assert (progress.best(), progress.is_over()) == (3, False)
    progress.losses.append(np.nan)
    assert progress.is_over()
    undefined = Progress([np.nan, np.nan], patience=2)
    assert not undefined.is_over()
    undefined.losses.append(np.nan)
    with pytest.raises(RunError) as caught:
        undefined.is_over()
    assert (caught.value.kind, caught.value.key) == ("undefined_metric", "model.eval_metric")


def test_predicting_other_features_is_rejected(data, here):
    classifier = fitted("logreg", data, here / "a")
    frame = make_frame(features=5)
    frame.to_csv("u.csv", index=False)
    other = TableFile("u.csv", {"protocol": "auto"})
    other.setup()
    with pytest.raises(DataError) as caught:
        classifier.predict(other, "valid")
    assert (caught.value.kind, caught.value.problems[0].value) == ("other_features", ["f5"])


@pytest.mark.parametrize(("rare", "overrides"), [(1, []), (2, ["model.cv=3"])])
def test_a_calibration_needs_tracks_of_every_class(rare, overrides, here):
    frame = make_frame(60)
    frame["split"] = np.where(frame.index % 4 == 3, "valid", "train")
    trained = frame.index[(frame.label == "jazz") & (frame.split == "train")]
    frame.drop(trained[rare:]).to_csv("t.csv", index=False)
    data = TableFile("t.csv", {"protocol": "auto"}, split_column="split")
    data.setup()
    with pytest.raises(DataError) as caught:
        fitted("svm", data, here / "a", *overrides)
    assert (caught.value.kind, caught.value.key) == ("too_few_for_calibration", "model.cv")
    assert f"jazz has {rare}" in str(caught.value)
    n = (data.tracks.target == "jazz").sum()
    without = TableFile("t.csv", {"protocol": "auto"}, split_column="split", min_class_tracks=n + 1)
    assert f"data.min_class_tracks={n + 1}" in str(caught.value)
    without.setup()
    fitted("svm", without, here / "b", *overrides)


@pytest.mark.parametrize("rows", [40, 41])
@pytest.mark.parametrize("missing", [False, True])
def test_statistics_of_a_network_are_those_of_the_estimators(rows, missing):
    """More columns than are computed together; missing values in some of these parts, or in none."""
    x = np.random.default_rng(0).normal(size=(rows, 2 * STATISTICS_COLUMNS + 3)).astype(np.float32)
    if missing:
        x[::3, 1] = np.nan
    front = Standardize(x.shape[1])
    fit_standardize(front, x)
    steps = Pipeline(preprocessing_steps(scale=True)).fit(x)
    for name, expected in (
        ("fill", steps["impute"].statistics_),
        ("mean", steps["scale"].mean_),
        ("scale", steps["scale"].scale_),
    ):
        assert torch.equal(getattr(front, name), torch.from_numpy(expected).to(getattr(front, name).dtype)), name
