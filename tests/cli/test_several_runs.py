"""Paths that name several runs, where a task takes one."""

from __future__ import annotations

import pytest

from tests.conftest import table_overrides


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
    runs = sorted(file.parent for file in (here / "outputs").glob("*/status.json"))
    result = run("evaluate", *runs)
    assert (result.code, [(p.kind, p.value) for p in result.problems]) == (2, [("several_runs", 2)])
    result = run("evaluate", runs[0], "--split", "tset")
    assert (result.code, [p.kind for p in result.problems]) == (2, ["invalid_arguments"])
    assert run("inspect", here).problems[0].kind == "several_runs"
    assert run("inspect", sweep / "jobs").problems[0].kind == "not_a_run"
