"""Paths that name several runs."""

from __future__ import annotations

import pytest

from musicreclass.runs.folder import Run
from tests.conftest import make_frame, table_overrides


@pytest.fixture
def sweep(run, table, here):
    """A sweep of two runs; its folder."""
    assert run("train", "-m", *table_overrides(table), "model=logreg", "seed=1,2").code == 0
    (folder,) = (here / "outputs" / "sweeps").iterdir()
    return folder


def test_several_runs(run, sweep, here):
    for folder in (sweep, sweep.parent, here / "outputs"):
        result = run("inspect", folder)
        (problem,) = result.problems
        assert (result.code, problem.kind, problem.key, problem.value) == (2, "several_runs", str(folder), 2)
    outputs = {run("compare", folder).out for folder in (sweep, sweep.parent, here / "outputs")}
    assert len(outputs) == 1
    assert "logreg" in outputs.pop()
    (first, _) = sorted(file.parent for file in (here / "outputs").glob("*/status.json"))
    assert [problem.kind for problem in run("evaluate", sweep).problems] == ["not_a_run"]
    result = run("evaluate", first, "--split", "tset")
    assert (result.code, [p.kind for p in result.problems]) == (2, ["invalid_arguments"])
    assert run("inspect", here).problems[0].kind == "several_runs"
    assert run("inspect", sweep / "jobs").problems[0].kind == "not_a_run"


def test_several_runs_are_scored(run, sweep, here):
    runs = [Run.open(file.parent) for file in sorted((here / "outputs").glob("*/status.json"))]
    result = run("evaluate", *(each.folder for each in runs), "--split", "test")
    assert (result.code, result.err) == (0, "")
    for each in runs:
        assert f"{100 * each.metrics['test']['accuracy']:.1f}" in result.out
        assert each.folder.name in result.out
    again = run("evaluate", *(each.folder for each in runs), runs[0].folder)
    assert again.out == result.out


@pytest.mark.slow
def test_a_run_that_cannot_be_scored_does_not_stop_the_others(run, sweep, here):
    """Each failure is one line that names the run."""
    first, second = sorted(file.parent for file in (here / "outputs").glob("*/status.json"))
    (second / "status.json").write_text('{"state": "failed"}')
    result = run("evaluate", "nowhere", second, first, "data.split_column=split")
    assert (result.code, [problem.kind for problem in result.problems]) == (2, ["missing_folder", "unfinished_run"])
    assert len(result.lines) == 2
    assert "nowhere" in result.lines[0]
    assert str(second) in result.lines[1]
    assert "test" in Run.open(first).metrics
    assert first.name in result.out
    make_frame(30, features=5).to_csv("narrow.csv", index=False)
    result = run("evaluate", first, second, "data.path=narrow.csv", "data.split_column=null", "--split", "all")
    assert [problem.kind for problem in result.problems] == ["other_features", "unfinished_run"]
    assert result.lines[0].startswith(str(first))
