"""Pruning: hopeless trials end early, the same ones each time, and are no finished runs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from musicreclass.errors import TrialPruned
from musicreclass.runs.folder import Run
from musicreclass.sweep.pruning import SCORE, PruningCheck, read_scores, write_reference
from tests.conftest import table_overrides
from tests.sweep.test_search import latest_trials

PRUNER = {"n_startup_trials": 2, "n_warmup_steps": 1}
EARLIER = [{0: 0.5, 1: 0.6, 2: 0.7}, {0: 0.5, 1: 0.8, 2: 0.9}, {0: 0.5}]


def search(path: Path, *overrides: str) -> list[str]:
    """Two learning rates: one that learns, and one that does not and is pruned."""
    pruner = f"hydra.sweeper.pruner={{n_startup_trials: {PRUNER['n_startup_trials']}, n_warmup_steps: 1}}"
    rates = ["optimizer.lr=choice(0.01,1e-9)", "hydra.sweeper.sampler.n_startup_trials=2", "hydra.sweeper.n_trials=8"]
    return ["-m", "hydra/sweeper=tpe", "model=mlp", *table_overrides(path), *rates, pruner, "logger=none",
            "model.dropout=interval(0.0,0.5)", "hardware.threads=1", *overrides]  # fmt: skip


def pruned_runs(here: Path) -> list[Run]:
    return [run for folder in sorted((here / "outputs").glob("table-*")) if (run := Run.open(folder)).state == "pruned"]


def check_for(folder: Path, **pruner: int) -> PruningCheck:
    write_reference(folder, {**PRUNER, **pruner}, EARLIER)
    check = PruningCheck.load(folder)
    assert check is not None
    return check


def test_a_score_below_the_median_ends_a_trial_after_the_warmup(tmp_path):
    check = check_for(tmp_path)
    check(0, {SCORE: 0.1})
    with pytest.raises(TrialPruned) as caught:
        check(1, {SCORE: 0.65})
    assert caught.value.epoch == 1


def test_trials_that_continue(tmp_path):
    good = check_for(tmp_path)
    good(0, {SCORE: 0.1})
    good(1, {SCORE: 0.75})
    good(1, {SCORE: 0.1})  # trained again after an interruption: counted once
    good(2, {SCORE: 0.8})
    early = check_for(tmp_path, n_startup_trials=4)
    early(1, {SCORE: 0.0})
    without_scores = check_for(tmp_path)
    without_scores(1, {"valid/loss": 9.0})


def test_no_check_without_a_pruner(tmp_path):
    assert PruningCheck.load(tmp_path) is None


def test_a_search_with_pruning_and_the_same_again(run, table, here):
    first = run("train", *search(table))
    assert first.code == 0, first.err
    trials = latest_trials(here)
    assert set(trials.state) == {"done", "pruned"}
    pruned = trials[trials.state == "pruned"]
    assert set(pruned["optimizer.lr"]) == {1e-9}
    assert pruned.macro_f1.isna().all()
    assert trials.best_so_far.max() == trials.macro_f1.max()
    runs = pruned_runs(here)
    assert {str(r.folder) for r in runs} == {str(here / folder) for folder in pruned.run}
    for r in runs:
        assert r.metrics == {}
        assert 2 <= len(read_scores(r.folder)) < 5
    histories = [(r.folder / "history.csv").read_text() for r in runs]

    assert run("train", *search(table)).code == 0
    pd.testing.assert_frame_equal(latest_trials(here), trials)
    assert [(r.folder / "history.csv").read_text() for r in pruned_runs(here)] == histories  # not trained any further


def test_without_a_pruner_every_trial_is_trained_to_its_end(run, table, here):
    assert run("train", *search(table, "hydra.sweeper.pruner=null")).code == 0
    assert set(latest_trials(here).state) == {"done"}


def test_a_batch_is_compared_with_earlier_batches_only(run, table, here):
    assert run("train", *search(table, "hydra.sweeper.n_jobs=8")).code == 0
    assert set(latest_trials(here).state) == {"done"}


def test_a_pruned_run_is_finished_by_an_ordinary_command_and_stays_pruned_in_the_search(run, table, here):
    assert run("train", *search(table)).code == 0
    trials = latest_trials(here)
    pruned = Run.open(here / trials[trials.state == "pruned"].run.iloc[0])
    assert f"{pruned.folder.name} (pruned)" in run("compare", "outputs").out  # as a run that is left out
    drawn = trials.set_index("run").loc[f"outputs/{pruned.folder.name}", ["optimizer.lr", "model.dropout"]]
    settings = [f"{key}={value}" for key, value in drawn.items()]
    finished = run("train", "model=mlp", *table_overrides(table), *settings, "logger=none", "hardware.threads=1")
    assert finished.code == 0, finished.err
    assert pruned.state == "done"
    assert len(read_scores(pruned.folder)) == 5

    uninterrupted = ["run_dir=uninterrupted", *settings, "logger=none", "hardware.threads=1"]
    assert run("train", "model=mlp", *table_overrides(table), *uninterrupted).code == 0
    assert (pruned.folder / "history.csv").read_text() == (here / "uninterrupted" / "history.csv").read_text()

    assert run("train", *search(table)).code == 0
    pd.testing.assert_frame_equal(latest_trials(here), trials)
