"""Pruning: poor trials end early, reproducibly, and do not count as finished runs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from musicreclass.errors import TrialPruned
from musicreclass.runs.folder import Run
from musicreclass.sweep.pruning import SCORES, PruningCheck, read_scores, write_reference
from tests.conftest import table_overrides
from tests.sweep.test_search import latest_trials

QUICK = ["model=mlp", "logger=none", "hardware.threads=1", "hardware.micro_batch=null"]
PRUNER = {"n_startup_trials": 2, "n_warmup_steps": 1}
EARLIER = [{0: 0.5, 1: 0.6, 2: 0.7}, {0: 0.5, 1: 0.8, 2: 0.9}, {0: 0.5}]


def search(path: Path, *overrides: str) -> list[str]:
    """Two learning rates: one that learns, and one that does not and is pruned."""
    rates = ["optimizer.lr=choice(0.01,1e-9)", "hydra.sweeper.sampler.n_startup_trials=6", "hydra.sweeper.n_trials=6"]
    pruner = "hydra.sweeper.pruner={n_startup_trials: 2, n_warmup_steps: 1}"
    return ["-m", "hydra/sweeper=tpe", *QUICK, *table_overrides(path), *rates, pruner, "trainer.max_epochs=3",
            "model.dropout=interval(0.0,0.5)", *overrides]  # fmt: skip


def pruned_runs(here: Path) -> list[Run]:
    return [run for folder in sorted((here / "outputs").glob("table-*")) if (run := Run.open(folder)).state == "pruned"]


def check_for(folder: Path, **pruner: int) -> PruningCheck:
    write_reference(folder, {**PRUNER, **pruner}, EARLIER)
    check = PruningCheck.load(folder)
    assert check is not None
    return check


def test_a_score_below_the_median_ends_a_trial_after_the_warmup(tmp_path):
    check = check_for(tmp_path)
    check(0, {SCORES[0]: 0.1})
    with pytest.raises(TrialPruned) as caught:
        check(1, {SCORES[0]: 0.65})
    assert caught.value.epoch == 1


def test_trials_that_continue(tmp_path):
    good = check_for(tmp_path)
    good(0, {SCORES[0]: 0.1})
    good(1, {SCORES[0]: 0.75})
    good(1, {SCORES[0]: 0.1})  # trained again after an interruption: counted once
    good(2, {SCORES[0]: 0.8})
    early = check_for(tmp_path, n_startup_trials=4)
    early(1, {SCORES[0]: 0.0})
    without_scores = check_for(tmp_path)
    without_scores(1, {"valid/loss": 9.0})


def test_no_check_without_a_pruner(tmp_path):
    assert PruningCheck.load(tmp_path) is None


@pytest.mark.slow
def test_a_search_with_pruning_is_reproduced(run, table, here):
    first = run("train", *search(table))
    assert first.code == 0, first.err
    trials = latest_trials(here)
    assert set(trials.state) == {"done", "pruned"}
    pruned = trials[trials.state == "pruned"]
    assert set(pruned["optimizer.lr"]) == {1e-9}
    assert pruned.macro_f1.isna().all()
    runs = pruned_runs(here)
    assert {str(r.folder) for r in runs} == {str(here / folder) for folder in pruned.run}
    assert all(r.metrics == {} and list(read_scores(r.folder)) == [0, 1] for r in runs)
    assert f"{runs[0].folder.name} (pruned)" in run("compare", "outputs").out  # as a run that is left out

    assert run("train", *search(table)).code == 0
    pd.testing.assert_frame_equal(latest_trials(here), trials)
    assert [list(read_scores(r.folder)) for r in pruned_runs(here)] == [[0, 1]] * len(runs)  # not trained any further

    drawn = trials.set_index("run").loc[f"outputs/{runs[0].folder.name}", ["optimizer.lr", "model.dropout"]]
    command = [
        "train",
        *QUICK,
        *table_overrides(table),
        "trainer.max_epochs=3",
        *(f"{k}={v}" for k, v in drawn.items()),
    ]
    assert run(*command).code == 0
    assert runs[0].state == "done"
    assert run(*command, "run_dir=uninterrupted").code == 0
    assert (runs[0].folder / "history.csv").read_text() == (here / "uninterrupted" / "history.csv").read_text()
    assert run("train", *search(table)).code == 0  # takes it as pruned all the same
    pd.testing.assert_frame_equal(latest_trials(here), trials)

    assert run("train", *search(table, "hydra.sweeper.pruner=null")).code == 0
    assert set(latest_trials(here).state) == {"done"}
    assert run("train", *search(table, "hydra.sweeper.n_jobs=6")).code == 0  # compared with earlier batches only
    assert set(latest_trials(here).state) == {"done"}
