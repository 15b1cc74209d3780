"""The Python API: what the command line does, from Python; the examples of its docstrings run as they are."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import musicreclass as mrc
from musicreclass.errors import ConfigError, DataError, RunError, UserError
from tests.conftest import only_run, table_overrides

NAMES = [name for name in mrc.__all__ if name != "__version__"]


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    """A working directory in which each example finds the runs of others."""
    return tmp_path_factory.mktemp("examples")


@pytest.mark.parametrize("test", doctest.DocTestFinder().find(mrc), ids=lambda test: test.name)
def test_examples_run(examples, monkeypatch, test):
    monkeypatch.chdir(examples)
    if not test.examples:
        pytest.skip("no example")
    test.globs = {"mrc": mrc}
    assert doctest.DocTestRunner(verbose=False).run(test).failed == 0


@pytest.mark.parametrize("name", NAMES)
def test_every_name_has_an_example(name):
    assert ">>>" in (inspect.getdoc(getattr(mrc, name)) or "")


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, musicreclass; print(sorted({'torch', 'hydra', 'pandas', 'numpy'} & set(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout == "[]\n"


def test_python_and_the_command_line_find_the_same_run(run, here, table):
    overrides = [*table_overrides(table), "model=logreg"]
    trained = mrc.train(overrides)
    assert trained.folder.resolve() == only_run(here).resolve()
    result = run("train", *overrides)
    assert result.code == 0
    assert str(trained.folder) in result.out


@pytest.mark.parametrize(
    ("task", "function", "other"),
    [
        ("predict", mrc.predict, {"runs", "input", "output", "force"}),
        ("predict", mrc.file_classifier, {"runs", "input", "output", "force", "corrections"}),
        ("review", mrc.review, set()),
        ("organize", mrc.organize, {"yes", "undo"}),
        ("evaluate", mrc.evaluate, {"runs"}),
        ("export", mrc.export, set()),
        ("ensemble", mrc.ensemble, {"split"}),
        ("import", mrc.import_weights, set()),
    ],
)
def test_functions_take_the_options_of_the_command_line(task, function, other, parser_of):
    """Where Python has another name, it is `calibrated`, for the opposite of --uncalibrated."""
    options = {action.dest.replace("uncalibrated", "calibrated") for action in parser_of(task)._actions} - {"help"}
    assert options - other <= set(inspect.signature(function).parameters)


@pytest.mark.parametrize(("name", "values"), {"select": [0, -1, 1.5, "2", True], "seed": [-1, 0.5, "0"]}.items())
def test_invalid_numbers_of_review_are_rejected(here, name, values):
    for value in values:
        with pytest.raises(UserError) as caught:
            mrc.review("genres.csv", "review.html", **{"select": 2, name: value})
        assert (caught.value.kind, caught.value.key) == ("invalid_value", name)


def test_options_of_a_selection_need_one(here):
    for options in ({"space": "musicnn"}, {"overrides": "paths.cache=c"}):
        with pytest.raises(UserError) as caught:
            mrc.review("genres.csv", "review.html", **options)
        assert (caught.value.kind, caught.value.key) == ("invalid_arguments", "select")


def test_a_run_has_metrics_predictions_and_probabilities(finished_run, table):
    run = mrc.load(finished_run("mlp").folder)
    predictions = run.predictions("valid")
    assert list(predictions.columns) == ["track_id", "target", "group", *(f"p/{name}" for name in run.classes)]
    assert len(predictions) == run.metrics["valid"]["n"]
    frame = pd.read_csv(table).set_index("track_id").loc[predictions.track_id]
    x = frame[[c for c in frame.columns if c.startswith("f")]].to_numpy(np.float32)
    probabilities = mrc.load(run.folder).predict_proba(x)
    assert np.allclose(probabilities, predictions.filter(like="p/"), atol=1e-6)


def test_evaluate_scores_a_split_and_other_data(here, table, finished_run):
    run = mrc.load(finished_run("logreg").folder)
    test = mrc.evaluate(run)
    assert test == mrc.load(run.folder).metrics["test"]
    pd.read_csv(table).iloc[:30].to_csv(here / "other.csv", index=False)
    other = mrc.evaluate(run.folder, "all", ["data.path=other.csv"])
    assert other["n"] == 30


def test_evaluate_trusts_what_the_run_was_trained_with(here, table):
    (here / "api_estimators.py").write_text(
        "from sklearn.naive_bayes import GaussianNB\n\n\nclass Bayes(GaussianNB):\n    pass\n"
    )
    (here / "conf" / "model").mkdir(parents=True)
    (here / "conf" / "model" / "bayes.yaml").write_text("_target_: api_estimators.Bayes\ninput: table\n")
    sys.path.insert(0, str(here))
    try:
        run = mrc.train([*table_overrides(table), "model=bayes"], config_dir=here / "conf")
        assert mrc.evaluate(run)["n"] == 18
        other = ["data.path=features.csv"]
        assert mrc.evaluate(run, "all", other, config_dir=here / "conf")["n"] == 90
        with pytest.raises(RunError) as caught:
            mrc.evaluate(run.folder, "train")
        assert caught.value.kind == "untrusted_module"
        assert mrc.evaluate(run.folder, "train", trust=["api_estimators"])["n"] == 54
    finally:
        sys.path.remove(str(here))


def test_an_unfinished_run_has_no_classes(finished_run):
    folder = finished_run("logreg").folder
    (folder / "metrics.json").unlink()
    with pytest.raises(RunError) as caught:
        _ = mrc.load(folder).classes
    assert (caught.value.kind, caught.value.key) == ("unfinished_run", str(folder))


def test_compare_is_a_frame_with_a_row_per_configuration(here, table, finished_run):
    overrides = [*table_overrides(table), "model=logreg"]
    runs = [mrc.load(finished_run("logreg").folder), mrc.train([*overrides, "class_weight=balanced"])]
    frame = mrc.compare(*runs)
    assert len(frame) == 2
    assert frame.equals(mrc.compare(here / "outputs"))
    assert frame.equals(mrc.compare(runs))
    assert frame.equals(mrc.compare([run.folder for run in runs]))


def test_the_module_lists_its_public_names_only():
    assert dir(mrc) == sorted(mrc.__all__)


def test_a_text_is_a_list_of_one(here, finished_run):
    with pytest.raises(ConfigError) as caught:
        mrc.train("model=mpl")
    assert [(p.key, p.suggestion) for p in caught.value.problems] == [("model", "mlp")]
    run = mrc.load(finished_run("logreg").folder)
    assert mrc.load(run.folder, trust="my_networks")._trust == ("my_networks",)
    assert mrc.evaluate(run, "all", "data.path=features.csv", trust="my_networks")["n"] == 90


@pytest.mark.parametrize(
    ("overrides", "kind", "key"),
    [
        (["seed=1,2"], "sweep_without_multirun", "seed"),
        (["-m", "seed=1,2"], "flag_in_python", "-m"),
        (["--multirun"], "flag_in_python", "-m"),
        (["--config-dir", "mine"], "flag_in_python", "--config-dir"),
        (["--config-dir=mine"], "flag_in_python", "--config-dir"),
        (["--cfg", "job"], "flag_in_python", "--cfg"),
    ],
)
def test_what_only_the_command_line_takes_is_rejected(here, overrides, kind, key):
    with pytest.raises(UserError) as caught:
        mrc.train(overrides)
    assert [(p.kind, p.key) for p in caught.value.problems] == [(kind, key)]
    message = str(caught.value)
    assert ("config_dir=" in message) == (key == "--config-dir")


def test_a_split_that_does_not_exist_is_rejected(finished_run):
    run = mrc.load(finished_run("logreg").folder)
    with pytest.raises(UserError) as caught:
        mrc.evaluate(run, "tst")
    (problem,) = caught.value.problems
    assert (problem.kind, problem.key, problem.suggestion) == ("invalid_value", "split", "test")
    for split, near in (("vald", "valid"), ("test", "")):
        with pytest.raises(RunError) as caught:
            run.predictions(split)
        (problem,) = caught.value.problems
        assert (problem.kind, problem.value, problem.suggestion) == ("predictions_not_found", split, near)
        assert "valid" in problem.message


@pytest.mark.parametrize("model", ["logreg", "mlp"])
def test_arrays_of_another_shape_are_rejected(finished_run, model):
    run = mrc.load(finished_run(model).folder)
    for x, kind in (
        (np.zeros((3, 5), np.float32), "wrong_shape"),
        (np.zeros(6, np.float32), "wrong_shape"),
        ([["a"] * 6], "not_a_matrix"),
    ):
        with pytest.raises(DataError) as caught:
            run.predict_proba(x)
        assert (caught.value.kind, caught.value.key) == (kind, "x")
    assert run.predict_proba(np.zeros((3, 6)).tolist()).shape == (3, 3)


def test_clips_of_another_shape_are_rejected(here):
    from musicreclass.classifiers.model_folder import ModelCard
    from musicreclass.classifiers.network import NetworkClassifier

    card = ModelCard("network", "musicreclass.models.cnn.PlainCNN", {}, "waveform", ["a", "b"], [])
    classifier = NetworkClassifier.__new__(NetworkClassifier)
    classifier.card = card
    for x in (np.zeros(100, np.float32), np.zeros((1, 2, 3, 4), np.float32), np.zeros((2, 0), np.float32)):
        with pytest.raises(DataError) as caught:
            classifier.checked(x)
        assert (caught.value.kind, caught.value.problems[0].value) == ("wrong_shape", x.shape)
    assert classifier.checked(np.zeros((2, 100), np.int16)).dtype == np.int16
    assert classifier.checked(np.zeros((2, 3, 100))).dtype == np.float32


def test_errors_name_what_is_wrong(here, finished_run):
    with pytest.raises(RunError):
        mrc.load(here / "nowhere")
    with pytest.raises(UserError) as caught:
        mrc.compare(here)
    assert caught.value.kind == "no_finished_runs"
    run = mrc.load(finished_run("logreg").folder)
    with pytest.raises(RunError):
        run.predictions("train")


def test_mistakes_and_history_of_a_run(here, table):
    run = mrc.train([*table_overrides(table), "model=mlp", "trainer.max_epochs=2", "logger=none"])
    predictions = run.predictions("valid").set_index("track_id")
    mistakes = run.mistakes("valid")
    assert len(mistakes) == round((1 - run.metrics["valid"]["accuracy"]) * len(predictions))
    assert mistakes.confidence.is_monotonic_decreasing
    for row in mistakes.itertuples():
        assert row.target == predictions.target[row.track_id] != row.predicted
        assert row.confidence == predictions[f"p/{row.predicted}"][row.track_id]
    assert [*run.history.epoch] == [0, 1]
    assert {"train/loss", "valid/macro_f1"} <= {*run.history.columns}
