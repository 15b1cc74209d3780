"""Scores on test tracks are counted however they were made: by tracks, not by the name of a split."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import musicreclass
from musicreclass.data.sources.gtzan import load_index
from musicreclass.runs.score_log import FILE, ScoreLog
from musicreclass.tasks.compare import compare
from tests.conftest import make_frame, table_overrides, with_splits

MODELS = ("logreg", "model.C=0.5"), ("logreg", "model.C=0.1")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two configurations that were scored on validation and test."""
    folder = tmp_path_factory.mktemp("scored")
    with_splits(make_frame()).to_csv(folder / "features.csv", index=False)
    for model, setting in MODELS:
        overrides = [*table_overrides(folder / "features.csv"), f"model={model}", setting, "evaluate=[valid,test]"]
        musicreclass.train([*overrides, f"paths.outputs={folder}/outputs"])
    return folder / "outputs"


@pytest.fixture
def trained(outputs: Path, table: Path, here: Path) -> Path:
    """The table, after the two configurations were trained on it."""
    shutil.copytree(outputs, here / "outputs")
    for config in here.glob("outputs/*/config.yaml"):
        config.write_text(config.read_text().replace(str(outputs.parent), str(here)))
    return table


def uses(*folders):
    """(tracks, configurations, models, shares of others) of each test set."""
    tables = compare(folders).tables
    return [(use.n, use.configurations, use.models, use.shares) for table in tables for use in table.test_sets]


def test_deleting_a_run_does_not_delete_its_scores(trained, here, run):
    assert uses(here / "outputs") == [(18, 2, 2, [])]
    shutil.rmtree(sorted((here / "outputs").glob("table-*"))[0])
    assert uses(here / "outputs") == [(18, 2, 2, [])]
    assert "2 configurations" in run("compare", "outputs").out
    (here / "outputs" / FILE).unlink()
    assert uses(here / "outputs") == [(18, 1, 1, [])]  # the run that is left


def test_a_repeated_run_is_not_counted_again(trained, here, run):
    again = [*table_overrides(trained), "model=logreg", "model.C=0.5", "evaluate=[valid,test]", "force=true"]
    assert run("train", *again).code == 0
    assert len(list((here / "outputs").glob("table-*"))) == 2
    assert uses(here / "outputs") == [(18, 2, 2, [])]


@pytest.mark.slow
def test_other_names_of_the_test_tracks_count(trained, here, run):
    """A run on other training tracks, scored on a file of the test tracks alone, under other ids."""
    frame = pd.read_csv(trained)
    frame[frame.split == "test"].assign(track_id=lambda f: "copy of " + f.track_id).to_csv("testonly.csv", index=False)
    others = frame[frame.split != "test"]
    others.to_csv("others.csv", index=False)
    overrides = [*table_overrides(here / "others.csv"), "model=logreg", "model.C=3", "run_dir=elsewhere/r"]
    assert run("train", *overrides, "evaluate=[valid]").code == 0
    assert uses(here / "outputs") == [(18, 2, 2, [])]
    arguments = [f"data.path={here / 'testonly.csv'}", "--split", "all"]
    result = run("evaluate", "elsewhere/r", *arguments)
    assert result.code == 0, result.err
    assert uses(here / "outputs", here / "elsewhere") == [(18, 3, 3, [])]


@pytest.mark.slow
def test_other_validation_tracks_over_one_test_set_count(trained, here, run):
    frame = pd.read_csv(trained)
    swapped = frame.split.map({"valid": "train", "train": "train", "test": "test"})
    swapped[frame.index[frame.split == "train"][:18]] = "valid"
    frame.assign(split=swapped).to_csv("features.csv", index=False)
    overrides = [*table_overrides(here / "features.csv"), "model=logreg", "model.C=0.5", "evaluate=[valid,test]"]
    assert run("train", *overrides).code == 0
    assert uses(here / "outputs") == 2 * [(18, 3, 3, [])]  # in both tables


@pytest.mark.slow
def test_seeds_of_the_split_count(here, run):
    make_frame(120).to_csv("table.csv", index=False)
    for seed in range(4):
        overrides = ["data=table", "data.path=table.csv", "data/split=random", f"data.split.seed={seed}"]
        assert run("train", *overrides, "model=logreg", "evaluate=[valid,test]").code == 0
    for n, configurations, _, shares in uses(here / "outputs"):
        assert configurations == 1
        assert len(shares) == 3
        assert all(1 / n <= fraction < 1 for fraction in shares)


def test_drawn_folds_are_one_configuration(here, run):
    make_frame(90).to_csv("table.csv", index=False)
    overrides = ["data=table", "data.path=table.csv", "data/split=folds", "data.split.folds=3"]
    result = run("train", "-m", *overrides, "data.split.fold=0,1,2", "model=logreg", "evaluate=[test]", "logger=none")
    assert result.code == 0, result.err
    assert uses(here / "outputs") == [(90, 1, 3, [])]


@pytest.mark.parametrize(("protocol", "configurations"), [("fault_filtered", 2), ("random", 2), ("artist_folds", 1)])
def test_other_data_is_another_configuration_unless_folds_are_pooled(here, run, protocol, configurations):
    """Under a protocol without folds, `data.fold`, which GTZAN always has, does not hide that the data differs."""
    index = load_index()
    clips = [t for t in index.index if t.startswith(("blues", "metal")) and index.fault_filtered[t] is not None]
    for root in ("first", "second"):
        (here / root / "Data").mkdir(parents=True)
        frame = pd.DataFrame({"filename": [f"{clip}.wav" for clip in clips], "length": 661794})
        values = np.random.default_rng(len(root)).normal(size=(len(clips), 6))
        frame = frame.join(pd.DataFrame(values + [[2 * c.startswith("metal")] for c in clips]).add_prefix("f"))
        frame.assign(label=[c.split(".")[0] for c in clips]).to_csv(
            here / root / "Data/features_30_sec.csv", index=False
        )
        overrides = ["data=gtzan_features", f"data.root={root}", f"data/split={protocol}", "model=logreg"]
        assert run("train", *overrides, "evaluate=[test]", "logger=none").code == 0
    counted = uses(here / "outputs")
    assert counted
    assert all(use[1:] == (configurations, 2, []) for use in counted)


def test_the_log_of_a_run_elsewhere_is_in_the_outputs_folder(here, run, table):
    assert run("train", *table_overrides(table), "model=logreg", "run_dir=r", "evaluate=[valid,test]").code == 0
    assert not (here / FILE).exists()
    assert len(ScoreLog.read(here / "outputs").scorings) == 2
