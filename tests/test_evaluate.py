"""Scoring a finished run on another split, or on other data with the same classes."""

from __future__ import annotations

import pandas as pd
import pytest

from musicreclass.run import Run
from tests.conftest import make_frame, only_run, table_overrides


@pytest.fixture
def finished(run, table, here) -> Run:
    assert run("train", *table_overrides(table), "model=logreg").code == 0
    return Run.open(only_run(here))


def test_a_split_is_scored_into_the_run(run, finished):
    assert "test" not in finished.metrics
    result = run("evaluate", str(finished.folder), "--split", "test")
    assert result.code == 0, result.err
    assert finished.metrics["test"]["n"] == 18
    assert (finished.folder / "figures" / "confusion_matrix_test.png").exists()
    assert len(finished.predictions("test")) == 18
    again = run("evaluate", str(finished.folder))
    assert "test is scored already" in again.out


def test_other_data_is_recorded_beside_the_runs_own(run, finished, here):
    before = finished.metrics["valid"]
    make_frame(30, seed=0).to_csv("other.csv", index=False)
    result = run(
        "evaluate", str(finished.folder), "--split", "all", f"data.path={here}/other.csv", "data.split_column=null"
    )
    assert result.code == 0, result.err
    (name,) = finished.metrics["elsewhere"]
    assert name.startswith("all@")
    assert finished.metrics["elsewhere"][name]["n"] == 30
    assert finished.metrics["elsewhere"][name]["protocol"]["leaky"] == "unknown"
    assert finished.metrics["valid"] == before
    assert len(pd.read_parquet(finished.folder / "predictions" / f"{name}.parquet")) == 30


def test_mistakes(run, finished, here):
    folder = str(finished.folder)
    frame = make_frame(30)
    frame.loc[0, "label"] = "polka"
    frame.to_csv("polka.csv", index=False)
    cases = {
        ("nowhere",): "nowhere: there is no such folder",
        (folder, "model=mlp"): "model=mlp: only data can be overridden here; the model is as it was trained",
        (folder, "data.pth=x"): "data.pth: no such key; did you mean data.path?",
        (folder, "--split", "all", f"data.path={here}/polka.csv", "data.split_column=null"):
            "the data has classes that the model does not know: polka; it knows blues, jazz, rock",
        (folder, "--split", "all", "data.path=gone.csv"): "data.path=gone.csv: there is no such file",
    }  # fmt: skip
    for words, line in cases.items():
        result = run("evaluate", *words)
        assert (result.code, result.lines) == (2, [line])
    make_frame(30, features=5).to_csv("narrow.csv", index=False)
    result = run("evaluate", folder, "--split", "all", f"data.path={here}/narrow.csv", "data.split_column=null")
    assert result.code == 2
    assert "1 are missing (f5)" in result.lines[0]
    assert "elsewhere" not in finished.metrics
