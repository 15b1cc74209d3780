"""Cascades of finished runs: what is written and refused, and that files are labelled as by the runs' own tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import musicreclass as mrc
from musicreclass.errors import RunError, UserError
from musicreclass.evaluation.cascade import Cascade, Goal, cross_fit_cascade
from musicreclass.evaluation.predictions import PREFIX
from musicreclass.runs.folder import Run
from musicreclass.tasks.cascade import CascadeOptions, check_options
from musicreclass.tasks.ensemble import ensemble
from tests.conftest import sum_again
from tests.library import TONES, write_tone
from tests.run_factory import make_run
from tests.tasks.test_ensemble import valid_stack


@pytest.fixture
def runs(here: Path) -> list[Path]:
    """A cheap run and two better ones, written without training."""
    rights = {"mlp": 0.6, "cnn": 0.7, "svm": 0.8}
    return [make_run(here / "outputs", name, model=name, groups=20, right=right) for name, right in rights.items()]


def test_a_cascade_is_a_run(runs, run, here):
    result = run("ensemble", *runs, "--method", "cascade", "--seconds", 1, 2, 8, "--max-cost", 6)
    assert result.code == 0, result.err
    (folder,) = (here / "outputs").glob("*-ensemble_cascade-*")
    built = Run.open(folder)
    stack, y_true, groups = valid_stack(built)
    probability, stages = cross_fit_cascade(stack, y_true, groups, [1, 2, 8], Goal(max_cost=6))
    table = built.predictions("valid").table.sort_values("track_id")
    np.testing.assert_allclose(table.filter(regex="^p/"), probability)
    record = built.metrics["ensemble"]
    assert [member["name"] for member in record["members"]] == [path.name for path in runs]  # in the order given
    assert [member["tracks"] for member in record["members"]] == np.bincount(stages, minlength=3).tolist()
    cascade = record["cascade"]
    assert cascade["seconds"] == pytest.approx(np.array([1, 3, 11])[stages].mean())
    assert cascade["saving"] == pytest.approx(1 - cascade["seconds"] / 8)
    assert record["difference"]["accuracy"]["difference"] == pytest.approx(
        built.metrics["valid"]["accuracy"] - record["last_member"]["accuracy"]
    )
    assert record["last_member"]["accuracy"] == pytest.approx(0.8)
    assert isinstance(built.combination, Cascade)
    assert run("inspect", folder).code == 0
    assert "ensemble: cascade of 3" in set(mrc.compare(here / "outputs")["model"])

    again = run("ensemble", *runs, "--method", "cascade", "--seconds", 1, 2, 8, "--max-cost", 6)
    assert "already" in again.out
    others = (["--seconds", 1, 2, 9, "--max-cost", 6], ["--seconds", 1, 2, 8, "--target-accuracy", 0.7])
    for options in others:
        assert run("ensemble", *runs, "--method", "cascade", *options).code == 0
    assert run("ensemble", *runs[::-1], "--method", "cascade", "--seconds", 1, 2, 8, "--max-cost", 6).code == 0
    assert len(list((here / "outputs").glob("*-ensemble_cascade-*"))) == 4


def test_test_is_scored_with_the_fitted_thresholds(runs, here):
    built = Run.open(mrc.ensemble(runs, "cascade", here / "e", seconds=[1, 2, 8]).folder)
    for k, member in enumerate(built.members):
        metrics = json.loads((member.folder / "metrics.json").read_text())
        assert metrics["test"], k
    mrc.evaluate(built.folder, "test")
    tables = [member.predictions("test").table.set_index("track_id").sort_index() for member in built.members]
    assert built.combination is not None
    expected = built.combination.combine(np.stack([table.filter(regex="^p/").to_numpy() for table in tables]))
    scored = built.predictions("test").table.set_index("track_id").sort_index()
    np.testing.assert_allclose(scored.filter(regex="^p/"), expected)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        (["--target-accuracy", "0.8", "--max-cost", "3"], "target_accuracy"),
        (["--target-accuracy", "80"], "target_accuracy"),
        (["--max-cost", "0"], "max_cost"),
        (["--max-cost", "nan"], "max_cost"),
        (["--max-cost", "0.5"], "max_cost"),
        (["--seconds", "1", "2"], "seconds"),
        (["--seconds", "1", "2", "-3"], "seconds"),
        (["--recordings", "nowhere"], "nowhere"),
        (["--method", "mean", "--max-cost", "3"], "method"),
    ],
)
def test_wrong_options_are_one_line(runs, run, here, options, key):
    seconds = [] if "--seconds" in options or "--recordings" in options else ["--seconds", 1, 2, 8]
    result = run("ensemble", *runs, "--method", "cascade", *seconds, *options)
    assert (result.code, len(result.lines)) == (2, 1)
    assert Path(result.problems[0].key).name == key
    assert len(list(here.glob("outputs/*/status.json"))) == len(runs)


def test_seconds_that_cannot_be_measured_need_the_option(runs, run):
    result = run("ensemble", *runs, "--method", "cascade", "--output", "e")
    assert (result.code, result.problems[0].kind) == (2, "no_recordings")
    assert "--seconds" in result.err
    with pytest.raises(UserError) as caught:
        check_options(CascadeOptions(), 7)
    assert caught.value.kind == "too_many_stages"


@pytest.mark.parametrize("change", [{"thresholds": [3.0, 0.5]}, {"temperatures": "x"}, {"members": []}])
def test_a_damaged_cascade_is_named(runs, run, change):
    built = ensemble(runs, "cascade", Path("e"), CascadeOptions(seconds=[1, 2, 8])).run
    path = built.folder / "model" / "ensemble.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    sum_again(path.parent)
    with pytest.raises(RunError):
        _ = built.combination
    assert run("inspect", "e").code == 2


def test_a_cascade_of_one_stage_pays_nothing(here):
    """Where the cheap run is the better one, all tracks stop there."""
    runs = [make_run(here / "outputs", n, model=n, groups=20, right=r) for n, r in (("mlp", 0.9), ("cnn", 0.4))]
    record = mrc.ensemble(runs, "cascade", here / "e", seconds=[1, 9]).metrics["ensemble"]
    assert [member["tracks"] for member in record["members"]] == [120, 0]
    assert record["members"][1]["stopped_accuracy"] is None
    assert (record["cascade"]["verdict"], record["cascade"]["saving"]) == ("pays", pytest.approx(8 / 9))


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three genres of ten tones of five artists each."""
    folder = tmp_path_factory.mktemp("tones")
    for genre, frequency in TONES.items():
        for i in range(10):
            path = folder / genre / f"{genre} artist {i % 5}" / f"{i}.wav"
            write_tone(path, frequency, i, seconds=2.3, rate=16000)
    return folder


def test_files_are_labelled_as_by_the_tables_of_the_runs(tones, here, run, cache):
    """Seconds are measured; the command can be repeated; each file has the probabilities of the stage at which it stops."""
    data = ["data=folder", f'data.root="{tones}"', "features=fma518", "model=logreg", "logger=none"]
    runs = [
        mrc.train([*data, f"features.sets=[{sets}]", "evaluate=[train,valid]", f"run_dir={name}"]).folder
        for name, sets in (("cheap", "zcr"), ("better", "mfcc,zcr"))
    ]
    result = run("ensemble", *runs, "--method", "cascade", "--output", "e")
    assert result.code == 0, result.err
    record = Run.open(here / "e").metrics["ensemble"]
    assert all(member["seconds"] > 0 for member in record["members"])
    assert "measured on" in record["cascade"]["seconds_source"]
    path = here / "e" / "model" / "ensemble.json"
    content = json.loads(path.read_text())
    table = mrc.load(runs[0]).predictions("train")
    confidence = np.sort(table.filter(regex="^p/").max(axis=1))
    content |= {"temperatures": [1.0, 1.0], "thresholds": [float(confidence[8:10].mean())]}  # so that some go on
    path.write_text(json.dumps(content))
    sum_again(path.parent)
    assert mrc.evaluate("e", "train")["n"] == len(table)
    expected = mrc.load("e").predictions("train").set_index("track_id")
    labels = mrc.predict("e", [tones / track_id for track_id in expected.index], calibrated=False)
    names = [name for name in expected if name.startswith(PREFIX)]
    np.testing.assert_allclose(labels[names], expected[names], atol=1e-5)

    (here / "music").mkdir()
    (here / "music" / "bad.wav").write_bytes(b"no audio")
    arguments = ["predict", "e", "--input", tones, here / "music", "--output", "genres.csv"]
    result = run(*arguments)
    assert result.code == 0, result.err
    rows = pd.read_csv("genres.csv", keep_default_na=False).set_index("path")
    assert len(rows) == 31
    assert [Path(name).name for name in rows.index[rows.error != ""]] == ["bad.wav"]
    assert "up to date: 30" in run(*arguments).out
