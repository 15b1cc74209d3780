"""Searches with Optuna: validation alone, the same trials again, a summary, and a winner's command that is what it says."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf

from musicreclass.config.check import Check, compose
from musicreclass.config.tree import Tree
from musicreclass.runs.folder import Run
from musicreclass.runs.signature import scientific
from tests.conftest import table_overrides

SEARCHES = [p.stem for p in (Path(__file__).parents[2] / "conf" / "search").glob("*.yaml")]
WAVEFORMS = ["data=gtzan", "data.root=x"]


def problems(*words: str, multirun: bool = True) -> list[str]:
    return Check(Tree(), "train", list(words), multirun).problems()


def search(path: Path, trials: int, *words: str) -> list[str]:
    quick = ["model.n_estimators=4", "hardware.threads=1", "logger=none"]
    return ["-m", "search=xgboost", *table_overrides(path)[:3], *quick, f"hydra.sweeper.n_trials={trials}", *words]


def trials_in(folder: Path) -> pd.DataFrame:
    *_, last = sorted((folder / "outputs" / "sweeps").glob("*/search.csv"), key=lambda p: p.stat().st_mtime)
    return pd.read_csv(last)


@pytest.mark.parametrize("name", SEARCHES)
def test_every_search_can_start_and_looks_at_validation_alone(name):
    data = ["data=demo"] if name in ("mlp", "xgboost") else WAVEFORMS
    assert problems(f"search={name}", *data) == []
    assert problems(f"search={name}", *data, "experiment=demo", *data) == []  # whose own evaluate holds test
    chosen = Tree().chosen_by("search", name)
    assert chosen == {**({"features": "openjmla"} if name == "openjmla_head" else {}), "model": chosen["model"]}
    (line,) = problems(f"search={name}", *data, "evaluate=[valid,test]")
    assert line == (f"search={name}: a search scores validation alone: evaluate=[valid]; its winner is scored on test")


@pytest.mark.parametrize(("words", "line"), [
    (["seed=1,2"], "seed=1,2: a search chooses none of these; sweep over it with the winner"),
    (["data/split=random,grouped"], "data/split=random,grouped: a search chooses none of these; sweep over it with the winner"),
    (["hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials=0: must be a whole number, at least 1"),
    (["hydra/launcher=joblib"], "hydra.sweeper.n_jobs=-1: must be a whole number, at least 1"),
    (["hydra.sweeper.direction=minimize"], "search=mlp: it would look for the lowest macro-F1: hydra.sweeper.direction=maximize"),
    (["+hydra.sweeper.params={model.droput: 'interval(0,1)'}"], "model.droput: no such key; did you mean model.dropout?"),
])  # fmt: skip
def test_what_a_search_must_not_do(words, line):
    assert problems("search=mlp", *words) == [line]


def test_a_search_is_many_runs():
    assert problems("search=mlp", multirun=False) == ["search=mlp: a search is many runs: add -m"]


def test_a_search_its_summary_and_the_same_again(run, table, here):
    first = run("train", *search(table, 6, "model.subsample=0.9", "model.max_depth=choice(2,3)"))
    assert first.code == 0, first.err
    trials = trials_in(here)
    assert trials.trial.tolist() == list(range(6))
    assert trials.best_so_far.tolist() == trials.macro_f1.cummax().tolist()
    assert "model.subsample" not in trials  # said, so not searched
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
    assert f"best validation macro-F1: {100 * trials.macro_f1.max():.2f}" in first.out

    again = run("train", *search(table, 6, "model.subsample=0.9", "model.max_depth=choice(2,3)"))
    assert again.out.count("found finished") == 6
    pd.testing.assert_frame_equal(trials_in(here), trials)
    other = run("train", *search(table, 2, "seed=1"))  # another seed, other trials
    assert other.code == 0
    assert not set(trials_in(here)["model.learning_rate"]) & set(trials["model.learning_rate"])


def test_the_winners_command_is_the_winner_with_other_seeds(run, table, here):
    assert run("train", *search(table, 4)).code == 0
    trials = trials_in(here)
    best = Run.open(here / trials.run[trials.macro_f1.idxmax()])
    (told,) = (here / "outputs" / "sweeps").glob("*/winner.txt")
    words = shlex.split(told.read_text())
    assert words[:3] == ["musicreclass", "train", "-m"]
    assert words[-2:] == ["seed=1,2,3,4,5", "evaluate=[valid,test]"]
    composed = OmegaConf.to_container(compose("train", words[3:-2]), resolve=True)
    assert scientific(composed) == scientific(best.config)  # type: ignore[arg-type]
    assert problems(*words[3:]) == []


def test_a_search_in_which_every_trial_fails(run, table, here):
    words = [
        "-m",
        "search=mlp",
        *table_overrides(table),
        "optimizer.lr=1e30",
        "hydra.sweeper.n_trials=2",
        "logger=none",
    ]
    result = run("train", *words)
    assert result.code == 1
    assert "0 of 2 jobs done" in result.out
    assert "no trial was finished, so there is no winner" in result.out
    assert len(result.lines) == 2  # one for each, at once


@pytest.mark.slow
def test_a_killed_search_started_again_ends_as_an_undisturbed_one(table, here):
    words = [sys.executable, "-m", "musicreclass", "train", *search(table, 20)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def done() -> set[Path]:
        return {f.parent for f in (here / "outputs").glob("table-*/status.json") if '"done"' in f.read_text()}

    end = time.monotonic() + 300
    while len(done()) < 7 and time.monotonic() < end:
        time.sleep(0.01)
    process.kill()
    process.wait()
    finished = done()
    assert 7 <= len(finished) < 20
    before = {f: f.stat().st_mtime_ns for folder in finished for f in folder.rglob("*")}
    again = subprocess.run(words, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("found finished") == len(finished)
    assert {f: f.stat().st_mtime_ns for folder in finished for f in folder.rglob("*")} == before
    resumed = trials_in(here)
    whole = subprocess.run([*words, "paths.outputs=undisturbed"], capture_output=True, text=True, check=False)
    assert whole.returncode == 0, whole.stderr
    (undisturbed,) = (here / "undisturbed" / "sweeps").glob("*/search.csv")
    left, right = (frame.drop(columns="run") for frame in (resumed, pd.read_csv(undisturbed)))
    pd.testing.assert_frame_equal(left, right, check_exact=True)
