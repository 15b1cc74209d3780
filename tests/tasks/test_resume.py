"""A run that was killed goes on, and ends where an undisturbed one does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from musicreclass.runs.folder import Run
from tests.conftest import table_overrides

REPO = Path(__file__).parents[2]
LONG = ["trainer.max_epochs=12", "early_stopping=none", "hardware=cpu", "logger=none"]


def start(words: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", "musicreclass", "train", *words], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


@pytest.mark.parametrize("scheduler", ["plateau", "onecycle", "cosine"])
def test_a_fit_that_breaks_in_the_middle_goes_on_exactly(run, table, here, monkeypatch, scheduler):
    from musicreclass.training.module import GenreModule

    words = [*table_overrides(table), *LONG, f"scheduler={scheduler}"]
    assert run("train", *words, "run_dir=whole").code == 0
    original = GenreModule.training_step

    def break_at(self, batch, batch_idx):
        if self.current_epoch == 7:
            raise MemoryError("pulled the plug")
        original(self, batch, batch_idx)

    with monkeypatch.context() as broken:
        broken.setattr(GenreModule, "training_step", break_at)
        assert run("train", *words, "run_dir=broken").code == 1
    assert Run.open(here / "broken").state == "failed"
    result = run("train", *words, "run_dir=broken")
    assert result.code == 0, result.err
    one, two = (pd.read_parquet(here / name / "predictions" / "valid.parquet") for name in ("whole", "broken"))
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    histories = [pd.read_csv(here / name / "history.csv") for name in ("whole", "broken")]
    pd.testing.assert_frame_equal(*histories, check_exact=True)


def test_boosting_that_breaks_in_the_middle_goes_on_exactly(run, table, here, monkeypatch):
    from musicreclass.classifiers import boosted

    words = [*table_overrides(table), "model=xgboost", "model.n_estimators=60", "model.subsample=0.7",
             "model.colsample_bytree=0.5", "model.early_stopping_rounds=8", "hardware=cpu", "logger=none"]  # fmt: skip
    assert run("train", *words, "run_dir=whole").code == 0
    original = boosted.save_rounds

    def break_at(booster, watch, place):
        original(booster, watch, place)
        raise MemoryError("pulled the plug")

    with monkeypatch.context() as broken:
        broken.setattr(boosted, "save_rounds", break_at)
        assert run("train", *words, "run_dir=broken").code == 1
    result = run("train", *words, "run_dir=broken")
    assert result.code == 0, result.err
    one, two = (pd.read_parquet(here / name / "predictions" / "valid.parquet") for name in ("whole", "broken"))
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    histories = [pd.read_csv(here / name / "history.csv") for name in ("whole", "broken")]
    pd.testing.assert_frame_equal(*histories, check_exact=True)
    assert len(histories[0]) > boosted.SEGMENT  # so there was something to go on with


def test_a_killed_process_goes_on(run, table, here):
    words = [*table_overrides(table), *LONG, "trainer.max_epochs=60", "run_dir=killed"]
    process = start(words)
    end = time.monotonic() + 60
    history = here / "killed" / "history.csv"
    while time.monotonic() < end and not (history.exists() and len(history.read_text().splitlines()) > 20):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert Run.open(here / "killed").state == "running"
    before = len(history.read_text().splitlines())
    assert run("train", *words).code == 0
    assert len(history.read_text().splitlines()) == 61 > before
    assert run("train", *words[:-1], "run_dir=whole").code == 0
    one, two = (pd.read_parquet(here / name / "predictions" / "valid.parquet") for name in ("whole", "killed"))
    pd.testing.assert_frame_equal(one, two, check_exact=True)


def test_a_damaged_checkpoint_is_not_trusted(run, table, here):
    words = [*table_overrides(table), *LONG, "run_dir=r"]
    assert run("train", *words).code == 0
    first = pd.read_parquet(here / "r" / "predictions" / "valid.parquet")
    status = here / "r" / "status.json"
    for damage in (
        lambda b: b[: len(b) // 2],
        lambda b: b"version https://git-lfs.github.com/spec/v1\n",
        lambda b: b"",
    ):
        status.write_text(json.dumps({**json.loads(status.read_text()), "state": "interrupted"}))
        last = here / "r" / "checkpoints" / "last.ckpt"
        last.write_bytes(damage(last.read_bytes()))
        assert run("train", *words).code == 0
        assert "the run starts over" in (here / "r" / "run.log").read_text()
        pd.testing.assert_frame_equal(
            pd.read_parquet(here / "r" / "predictions" / "valid.parquet"), first, check_exact=True
        )


SHORT = {
    "mlp": ["model.hidden=[4]", "trainer.max_epochs=3", "early_stopping=none"],
    "xgboost": ["model=xgboost", "model.n_estimators=24", "model.subsample=0.7", "model.early_stopping_rounds=null"],
}


def bring_down(how: str, model: str, every: int, table: Path, here: Path) -> list[dict[str, Any]]:
    """A run brought down at every so many of its writes; what came of each."""
    words = [*table_overrides(table), *SHORT[model], "hardware=cpu", "hardware.threads=1", "logger=none"]
    single = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(REPO)}
    told = subprocess.run([sys.executable, "-m", "tests.failpoints", how, str(every), *words], cwd=here, env=single,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert told.returncode == 0, told.stderr
    return [json.loads(line) for line in told.stdout.splitlines()]


def check_down(how: str, model: str, every: int, table: Path, here: Path) -> int:
    points = bring_down(how, model, every, table, here)
    whole = pd.read_parquet(here / "whole" / "predictions" / "valid.parquet")
    for point in points:
        assert point["second"] == 0, point
        if how == "kill":
            assert point["first"] == 9, point
        else:
            assert point["first"] in (0, 1, 2), point  # 0: where it can do without, as for a note in the cache
            assert bool(point["first"]) == bool(point["said"]), point
            assert not any("Traceback" in line for line in point["said"]), point
        again = pd.read_parquet(here / point["run"] / "predictions" / "valid.parquet")
        pd.testing.assert_frame_equal(again, whole, check_exact=True)
        assert Run.open(here / point["run"]).state == "done"
        assert not [*(here / point["run"]).rglob(".*.part")]
    return len(points)


@pytest.mark.parametrize(("how", "model"), [("kill", "mlp"), pytest.param("full", "xgboost", marks=pytest.mark.slow)])
def test_brought_down_at_some_of_its_writes(how, model, table, here):
    assert check_down(how, model, 11, table, here) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill", "full"])
@pytest.mark.parametrize("model", ["mlp", "xgboost"])
def test_brought_down_at_each_of_its_writes(how, model, table, here):
    assert check_down(how, model, 1, table, here) >= 40


@pytest.mark.parametrize("at", [1, 3, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 5, 7, 9))])
def test_force_killed_early_leaves_nothing_of_the_old_run_under_the_new_name(at, run, table, here):
    words = [*table_overrides(table), "model=random_forest", "model.n_estimators=7", "run_dir=x"]
    assert run("train", *words, "seed=1").code == 0
    old = Run.open(here / "x").predictions("valid").table
    script = (
        "import os, sys\nfrom tests.failpoints import Failpoint\nfrom pathlib import Path\nfrom musicreclass.cli import main as cli\nfrom musicreclass.runs.folder import Run\n"
        f"begin = Run.begin\ndef broken(self, *a, **k):\n    sys.addaudithook(Failpoint(Path.cwd() / 'x', {at}, 'kill'))\n    begin(self, *a, **k)\n"
        "Run.begin = broken\ncli.main(sys.argv[1:])\n"
    )  # fmt: skip
    killed = subprocess.run([sys.executable, "-c", script, "train", *words, "seed=2", "force=true"], cwd=here, check=False,
                            env={**os.environ, "PYTHONPATH": str(REPO)}, capture_output=True)  # fmt: skip
    assert killed.returncode == 9
    again = run("train", *words, "seed=2")
    if again.code == 2:  # nothing had been touched yet
        assert [problem.kind for problem in again.problems] == ["another_run"]
        assert run("train", *words, "seed=1").code == 0  # the old run is still there, or is made again
        pd.testing.assert_frame_equal(Run.open(here / "x").predictions("valid").table, old, check_exact=True)
        return
    assert run("train", *words[:-1], "run_dir=two", "seed=2").code == 0
    new = Run.open(here / "x").predictions("valid").table
    assert not new.equals(old)
    pd.testing.assert_frame_equal(new, Run.open(here / "two").predictions("valid").table, check_exact=True)


def test_changed_code_starts_over(run, table, here, caplog):
    words = [*table_overrides(table), *LONG, "run_dir=r"]
    assert run("train", *words).code == 0
    for name, change in (("identity", {"code": "older"}), ("status", {"state": "interrupted"})):
        file = here / "r" / f"{name}.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    result = run("train", *words)
    assert result.code == 0
    assert str(Path("r")) in result.err  # the warning names the folder
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any("'code': 'older'" in message for message in warnings)  # the code that began the run
    assert len((here / "r" / "history.csv").read_text().splitlines()) == 13
