"""Searches with Optuna: scored on validation only, repeatable, resumable; the winner's command reproduces the winner."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from musicreclass.config.check import Check
from musicreclass.config.tree import Tree
from musicreclass.errors import Problem
from musicreclass.runs.find import finished_run
from musicreclass.runs.folder import Run
from tests.conftest import settings_for, table_overrides

SEARCHES = [p.stem for p in (Path(__file__).parents[2] / "conf" / "search").glob("*.yaml")]
WAVEFORMS = ["data=gtzan", "data.root=x"]


def problems(*overrides: str, multirun: bool = True) -> list[Problem]:
    return Check(Tree(), "train", list(overrides), multirun).problems()


def kinds(*overrides: str, multirun: bool = True) -> list[tuple[str, str]]:
    return [(p.kind, p.key) for p in problems(*overrides, multirun=multirun)]


def search(path: Path, trials: int, *overrides: str) -> list[str]:
    quick = ["model.n_estimators=4", "hardware.threads=1", "logger=none"]
    return ["-m", "search=xgboost", *table_overrides(path)[:3], *quick, f"hydra.sweeper.n_trials={trials}", *overrides]


def latest_trials(folder: Path) -> pd.DataFrame:
    *_, latest = sorted((folder / "outputs" / "sweeps").glob("*/search.csv"), key=lambda p: p.stat().st_mtime)
    return pd.read_csv(latest)


def times(folders: set[Path]) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for folder in folders for file in folder.rglob("*")}


@pytest.mark.parametrize("name", SEARCHES)
def test_every_search_can_start_and_is_scored_on_validation_only(name):
    data = ["data=demo"] if name in ("mlp", "xgboost") else WAVEFORMS
    assert problems(f"search={name}", *data) == []
    assert problems(f"search={name}", *data, "experiment=demo", *data) == []  # its evaluate includes test
    chosen = Tree().chosen_by("search", name)
    assert chosen == {**({"features": "openjmla"} if name == "openjmla_head" else {}), "model": chosen["model"]}
    assert kinds(f"search={name}", *data, "evaluate=[valid,test]") == [("search_scores_test", "evaluate")]


@pytest.mark.parametrize(("overrides", "kind", "key"), [
    (["seed=1,2"], "not_searched", "seed"),
    (["data.split.seed=range(0,50)"], "not_searched", "data.split.seed"),
    (["data.split.valid=choice(0.1,0.2)"], "not_searched", "data.split.valid"),
    (["+model.random_state=1,2"], "not_searched", "model.random_state"),
    (["+hydra.sweeper.params={data.split.seed: 'range(0,50)'}"], "not_searched", "data.split.seed"),
    (["data/split=random,grouped"], "not_searched", "data/split"),
    (["hydra.sweeper.n_trials=0"], "invalid_value", "hydra.sweeper.n_trials"),
    (["hydra/launcher=joblib"], "invalid_value", "hydra.sweeper.n_jobs"),  # its n_jobs is -1
    (["hydra.sweeper.pruner=median"], "invalid_value", "hydra.sweeper.pruner"),
    (["model=xgboost"], "pruner_without_epochs", "hydra.sweeper.pruner"),
])  # fmt: skip
def test_rules_of_a_search(overrides, kind, key):
    assert (kind, key) in kinds("search=mlp", *overrides)


def test_an_unknown_key_of_the_search_space():
    space = "+hydra.sweeper.params={model.droput: 'interval(0,1)'}"
    assert kinds("search=mlp", space) == [("unknown_key", "model.droput")]


def test_a_search_needs_a_multirun():
    assert kinds("search=mlp", multirun=False) == [("search_without_multirun", "search")]


@pytest.mark.parametrize(("override", "kind", "key"), [
    ("+hydra.sweeper.pruner.n_startup=3", "invalid_value", "hydra.sweeper.pruner"),
    ("+hydra.sweeper.sampler.multi=true", "invalid_value", "hydra.sweeper.sampler"),
    ("model=glob(m*)", "unsupported_sweep", "model"),
])  # fmt: skip
def test_arguments_that_optuna_rejects_end_the_search_before_its_first_trial(override, kind, key, run, table, here):
    result = run("train", "-m", "search=mlp", *table_overrides(table), override)
    assert result.code == 2
    assert [(problem.kind, problem.key) for problem in result.problems] == [(kind, key)]
    assert not (here / "outputs").exists()


@pytest.mark.slow
def test_a_search_is_reproduced_with_its_files(run, table, here):
    command = search(table, 6, "model.subsample=0.9", "model.max_depth=choice(2,3)")
    first = run("train", *command)
    assert first.code == 0, first.err
    trials = latest_trials(here)
    assert trials.trial.tolist() == list(range(6))
    assert trials.best_so_far.tolist() == trials.macro_f1.cummax().tolist()
    assert "model.subsample" not in trials  # fixed, so not searched
    assert set(trials["model.max_depth"]) <= {2, 3}
    assert trials["model.learning_rate"].between(0.03, 0.3).all()
    assert trials["model.learning_rate"].nunique() == 6
    for folder, value in zip(trials.run, trials.macro_f1, strict=True):
        metrics = Run.open(here / folder).metrics
        assert metrics["valid"]["macro_f1"] == value
        assert "test" not in metrics
    (folder,) = (here / "outputs" / "sweeps").iterdir()
    importance = pd.read_csv(folder / "importance.csv")
    assert importance.importance.sum() == pytest.approx(1)
    assert set(importance.key) == set(trials.columns[5:])
    assert (folder / "search.png").stat().st_size > 10_000
    assert f"{100 * trials.macro_f1.max():.2f}" in first.out

    before = times({here / folder for folder in trials.run})
    assert run("train", *command).code == 0
    assert times({here / folder for folder in trials.run}) == before
    pd.testing.assert_frame_equal(latest_trials(here), trials)
    other = run("train", *search(table, 2, "seed=1"))  # another seed, other trials
    assert other.code == 0
    assert not set(latest_trials(here)["model.learning_rate"]) & set(trials["model.learning_rate"])


@pytest.mark.slow
def test_trials_of_a_batch_are_proposed_together(run, table, here):
    space = ["hydra.sweeper.sampler.n_startup_trials=0", "seed=3"]
    assert run("train", *search(table, 3, *space, "hydra.sweeper.n_jobs=3")).code == 0
    together = latest_trials(here)
    assert run("train", *search(table, 3, *space)).code == 0
    alone = latest_trials(here)
    assert together["model.learning_rate"][0] == alone["model.learning_rate"][0]
    assert together["model.learning_rate"].nunique() == 3
    assert together["model.learning_rate"].tolist() != alone["model.learning_rate"].tolist()


@pytest.mark.slow
def test_the_winners_command_is_the_winner_with_other_seeds(run, table, here):
    assert run("train", *search(table, 4)).code == 0
    trials = latest_trials(here)
    best = Run.open(here / trials.run[trials.macro_f1.idxmax()])
    (file,) = (here / "outputs" / "sweeps").glob("*/winner.txt")
    arguments = shlex.split(file.read_text())
    assert arguments[:3] == ["musicreclass", "train", "-m"]
    assert arguments[-2:] == ["seed=1,2,3,4,5", "evaluate=[valid,test]"]
    finished = finished_run(settings_for(*arguments[3:-2]))
    assert finished is not None
    assert finished.folder.resolve() == best.folder.resolve()
    assert problems(*arguments[3:]) == []


def test_a_search_in_which_every_trial_fails(run, table, here):
    quick = ["optimizer.lr=1000", "hydra.sweeper.n_trials=2", "logger=none"]
    result = run("train", "-m", "search=mlp", *table_overrides(table), *quick)
    assert result.code == 1
    assert latest_trials(here).state.tolist() == ["failed", "failed"]
    assert len(result.problems) == 2
    assert len(result.lines) == 2
    assert not list((here / "outputs" / "sweeps").glob("*/winner.txt"))


@pytest.mark.slow
def test_a_restarted_search_reproduces_the_uninterrupted_one(table, here):
    command = [sys.executable, "-m", "musicreclass", "train", *search(table, 20)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def done() -> set[Path]:
        return {f.parent for f in (here / "outputs").glob("table-*/status.json") if '"done"' in f.read_text()}

    end = time.monotonic() + 300
    while len(done()) < 7 and time.monotonic() < end:
        time.sleep(0.01)
    process.kill()
    process.wait()
    finished = done()
    assert 7 <= len(finished) < 20
    before = times(finished)
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert times(finished) == before
    resumed = latest_trials(here)
    uninterrupted = subprocess.run(
        [*command, "paths.outputs=uninterrupted"], capture_output=True, text=True, check=False
    )
    assert uninterrupted.returncode == 0, uninterrupted.stderr
    (file,) = (here / "uninterrupted" / "sweeps").glob("*/search.csv")
    left, right = (frame.drop(columns="run") for frame in (resumed, pd.read_csv(file)))
    pd.testing.assert_frame_equal(left, right, check_exact=True)
