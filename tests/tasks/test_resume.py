"""An interrupted run resumes and reproduces the uninterrupted result exactly."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import musicreclass
from musicreclass.runs.code_version import library_version
from musicreclass.runs.folder import Run
from tests.conftest import make_frame, table_overrides, wait_until, with_splits

REPO = Path(__file__).parents[2]
LONG = ["trainer.max_epochs=8", "early_stopping=none", "hardware=cpu", "logger=none", "scheduler=cosine"]


HANGS_AT_EPOCH_4 = """
import sys, time
from musicreclass.cli import main as cli
from musicreclass.training.module import GenreModule

training_step = GenreModule.training_step

def hang(self, batch, batch_idx):
    if self.current_epoch == 4:
        time.sleep(10_000)
    training_step(self, batch, batch_idx)

GenreModule.training_step = hang
cli.main(["train", *sys.argv[1:]])
"""


@pytest.fixture(scope="module")
def shared_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with the settings `LONG` over the table."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    with_splits(make_frame()).to_csv(folder / "features.csv", index=False)
    overrides = [*table_overrides(folder / "features.csv"), *LONG, f"paths.outputs={folder}"]
    return musicreclass.train([*overrides, f"run_dir={folder}/run"]).folder


@pytest.fixture
def uninterrupted(shared_run: Path, here: Path) -> Path:
    """A copy of the run that nothing has interrupted."""
    return shutil.copytree(shared_run, here / "uninterrupted")


def assert_same_result(one: Path, two: Path) -> int:
    """Compare the predictions and the epochs or rounds of two runs; returns the number of epochs or rounds."""
    predictions = [pd.read_parquet(run / "predictions" / "valid.parquet") for run in (one, two)]
    pd.testing.assert_frame_equal(*predictions, check_exact=True)
    histories = [pd.read_csv(run / "history.csv") for run in (one, two)]
    pd.testing.assert_frame_equal(*histories, check_exact=True)
    return len(histories[0])


@pytest.mark.parametrize(
    "scheduler", ["cosine", *(pytest.param(name, marks=pytest.mark.slow) for name in ("plateau", "onecycle"))]
)
def test_a_failed_fit_resumes_exactly(run, table, here, uninterrupted, monkeypatch, scheduler):
    from musicreclass.training.module import GenreModule

    arguments = [*table_overrides(table), *LONG, f"scheduler={scheduler}"]
    if scheduler != "cosine":
        assert run("train", *arguments, f"run_dir={uninterrupted}", "force=true").code == 0
    original = GenreModule.training_step

    def fail_at(self, batch, batch_idx):
        if self.current_epoch == 5:
            raise MemoryError("simulated")
        original(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(GenreModule, "training_step", fail_at)
        assert run("train", *arguments, "run_dir=interrupted").code == 1
    assert Run.open(here / "interrupted").state == "failed"
    cost = json.loads((here / "interrupted" / "cost.json").read_text())
    assert cost["seconds"]["fit"] > 0
    cost["seconds"] = {"data": 1000.0, "fit": 2000.0}
    (here / "interrupted" / "cost.json").write_text(json.dumps({**cost, "peak_memory_mib": 10**6}))
    result = run("train", *arguments, "run_dir=interrupted")
    assert result.code == 0, result.err
    assert_same_result(uninterrupted, here / "interrupted")
    provenance = Run.open(here / "interrupted").provenance
    assert 1000 < provenance["seconds"]["data"] < 2000 < provenance["seconds"]["fit"]
    assert provenance["peak_memory_mib"] == 10**6
    assert not (here / "interrupted" / "cost.json").exists()


def test_failed_boosting_resumes_exactly(run, table, here, monkeypatch):
    from musicreclass.classifiers import boosted

    arguments = [*table_overrides(table), "model=xgboost", "model.n_estimators=60", "model.subsample=0.7",
             "model.colsample_bytree=0.5", "model.early_stopping_rounds=8", "hardware=cpu", "logger=none"]  # fmt: skip
    assert run("train", *arguments, "run_dir=uninterrupted").code == 0
    original = boosted.save_rounds

    def fail_at(booster, watch, path):
        original(booster, watch, path)
        raise MemoryError("simulated")

    with monkeypatch.context() as patch:
        patch.setattr(boosted, "save_rounds", fail_at)
        assert run("train", *arguments, "run_dir=interrupted").code == 1
    cost = json.loads((here / "interrupted" / "cost.json").read_text())["seconds"]
    result = run("train", *arguments, "run_dir=interrupted")
    assert result.code == 0, result.err
    assert Run.open(here / "interrupted").provenance["seconds"]["fit"] > cost["fit"] > 0
    rounds = assert_same_result(here / "uninterrupted", here / "interrupted")
    assert rounds > boosted.SEGMENT  # otherwise nothing was resumed


def test_a_killed_process_resumes(run, table, here, uninterrupted):
    arguments = [*table_overrides(table), *LONG, "run_dir=killed"]
    process = subprocess.Popen([sys.executable, "-c", HANGS_AT_EPOCH_4, *arguments], env={**os.environ, "PYTHONPATH": str(REPO)},
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    history = here / "killed" / "history.csv"

    def epochs() -> int:
        return len(history.read_text().splitlines()) - 1 if history.exists() else 0

    wait_until(lambda: epochs() == 4 or process.poll() is not None)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert Run.open(here / "killed").state == "running"
    assert epochs() == 4
    cost = json.loads((here / "killed" / "cost.json").read_text())["seconds"]
    assert run("train", *arguments).code == 0
    assert Run.open(here / "killed").provenance["seconds"]["fit"] > cost["fit"] > 0
    assert assert_same_result(uninterrupted, here / "killed") == 8


def test_the_last_checkpoint_is_that_of_the_last_epoch(run, table, here):
    assert run("train", *table_overrides(table), *LONG, "optimizer.lr=1e-30", "run_dir=r").code == 0
    last, best = (
        torch.load(here / "r" / "checkpoints" / f"{name}.ckpt", weights_only=True) for name in ("last", "best")
    )
    assert (last["epoch"], best["epoch"]) == (7, 0)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_ignored(run, table, here):
    arguments = [*table_overrides(table), *LONG, "run_dir=r"]
    assert run("train", *arguments).code == 0
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
        assert run("train", *arguments).code == 0
        assert "the run starts over" in (here / "r" / "run.log").read_text()
        pd.testing.assert_frame_equal(
            pd.read_parquet(here / "r" / "predictions" / "valid.parquet"), first, check_exact=True
        )


SHORT = {
    "mlp": ["model.hidden=[4]", "trainer.max_epochs=3", "early_stopping=none"],
    "xgboost": ["model=xgboost", "model.n_estimators=24", "model.subsample=0.7", "model.early_stopping_rounds=null"],
}


def fail_at_writes(how: str, model: str, every: int, table: Path, here: Path) -> list[dict[str, Any]]:
    """Fail a run at every `every`-th of its writes; returns the outcome of each failure."""
    arguments = [*table_overrides(table), *SHORT[model], "hardware=cpu", "hardware.threads=1", "logger=none"]
    single = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(REPO)}
    process = subprocess.run([sys.executable, "-m", "tests.failpoints", how, str(every), *arguments], cwd=here, env=single,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert process.returncode == 0, process.stderr
    return [json.loads(line) for line in process.stdout.splitlines()]


def check_recovery(how: str, model: str, every: int, table: Path, here: Path) -> int:
    points = fail_at_writes(how, model, every, table, here)
    expected = pd.read_parquet(here / "whole" / "predictions" / "valid.parquet")
    for point in points:
        assert point["second"] == 0, point
        if how == "kill":
            assert point["first"] == 9, point
        else:
            assert point["first"] in (0, 2), point  # 0: the file is optional, as a digest in the cache
            # A score that the log of scores cannot take is a notice, not an error of the run.
            errors = [line for line in point["errors"] if "scores.jsonl" not in line]
            assert all(point["run"] in line or "cache" in line for line in errors), point
            assert bool(point["first"]) == bool(errors), point
            assert not any("Traceback" in line or "Logging error" in line for line in point["errors"]), point
        again = pd.read_parquet(here / point["run"] / "predictions" / "valid.parquet")
        pd.testing.assert_frame_equal(again, expected, check_exact=True)
        assert Run.open(here / point["run"]).state == "done"
        assert not [*(here / point["run"]).rglob(".*.part")]
    return len(points)


@pytest.mark.slow
@pytest.mark.parametrize(("how", "model"), [("kill", "mlp"), pytest.param("full", "xgboost", marks=pytest.mark.slow)])
def test_a_failure_at_some_writes_is_recovered_from(how, model, table, here):
    assert check_recovery(how, model, 11, table, here) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill", "full"])
@pytest.mark.parametrize("model", ["mlp", "xgboost"])
def test_a_failure_at_each_write_is_recovered_from(how, model, table, here):
    assert check_recovery(how, model, 1, table, here) >= 40


@pytest.mark.slow
@pytest.mark.parametrize("at", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2, 5, 7, 9))])
def test_force_killed_early_leaves_no_files_of_the_old_run(at, run, table, here):
    arguments = [*table_overrides(table), "model=random_forest", "model.n_estimators=7", "run_dir=x"]
    assert run("train", *arguments, "seed=1").code == 0
    old = Run.open(here / "x").predictions("valid").table
    script = (
        "import os, sys\nfrom tests.failpoints import Failpoint\nfrom pathlib import Path\nfrom musicreclass.cli import main as cli\nfrom musicreclass.runs.folder import Run\n"
        f"begin = Run.begin\ndef broken(self, *a, **k):\n    sys.addaudithook(Failpoint(Path.cwd() / 'x', {at}, 'kill'))\n    begin(self, *a, **k)\n"
        "Run.begin = broken\ncli.main(sys.argv[1:])\n"
    )  # fmt: skip
    killed = subprocess.run([sys.executable, "-c", script, "train", *arguments, "seed=2", "force=true"], cwd=here, check=False,
                            env={**os.environ, "PYTHONPATH": str(REPO)}, capture_output=True)  # fmt: skip
    assert killed.returncode == 9
    again = run("train", *arguments, "seed=2")
    if again.code == 2:  # no file was changed yet
        assert [problem.kind for problem in again.problems] == ["another_run"]
        assert run("train", *arguments, "seed=1").code == 0  # the old run still exists, or is trained again
        pd.testing.assert_frame_equal(Run.open(here / "x").predictions("valid").table, old, check_exact=True)
        return
    assert run("train", *arguments[:-1], "run_dir=two", "seed=2").code == 0
    new = Run.open(here / "x").predictions("valid").table
    assert not new.equals(old)
    pd.testing.assert_frame_equal(new, Run.open(here / "two").predictions("valid").table, check_exact=True)


def test_changed_code_starts_over(run, table, here, uninterrupted, caplog):
    arguments = [*table_overrides(table), *LONG, "run_dir=r"]
    uninterrupted.rename(here / "r")
    for name, change in (("identity", {"code": "older"}), ("status", {"state": "interrupted"})):
        file = here / "r" / f"{name}.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    result = run("train", *arguments)
    assert result.code == 0
    assert str(Path("r")) in result.err  # the warning names the folder
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any("'code': 'older'" in message for message in warnings)  # the code that began the run
    assert len((here / "r" / "history.csv").read_text().splitlines()) == 9


@pytest.mark.parametrize(
    ("model", "library"),
    [("mlp", "pytorch_lightning"), ("mlp", "torch"), ("xgboost", "sklearn"), ("xgboost", "xgboost")],
)
def test_changed_libraries_start_over(model, library, run, table, here):
    arguments = [*table_overrides(table), *SHORT[model], "hardware=cpu", "logger=none", "run_dir=r"]
    assert run("train", *arguments).code == 0
    for file, change in (("identity", {}), ("status", {"state": "interrupted"})):
        path = here / "r" / f"{file}.json"
        content = json.loads(path.read_text()) | change
        for recorded in ("libraries", "checkpoint_libraries"):
            if library in content.get(recorded, {}):
                content[recorded][library] = "0.0.1"
        path.write_text(json.dumps(content))
    result = run("train", *arguments)
    assert result.code == 0
    (notice,) = [line for line in result.err.splitlines() if "0.0.1" in line]
    assert all(text in notice for text in ("r: ", library, str(library_version(library))))
    assert "0.0.1" not in (here / "r" / "identity.json").read_text()
    assert "0.0.1" not in run("train", *arguments).err  # finished: not trained again


def test_an_estimator_without_checkpoints_counts_its_last_session_only(run, table, here, monkeypatch):
    arguments = [*table_overrides(table), "model=logreg", "run_dir=r"]
    with monkeypatch.context() as patch:
        patch.setattr("musicreclass.tasks.train.score", lambda plan: 1 / 0)
        assert run("train", *arguments).code == 1
    assert not (here / "r" / "cost.json").exists()
    assert run("train", *arguments).code == 0


@pytest.mark.parametrize("content", ["", "[]", '{"seconds": {"fit": "long"}}'])
def test_a_damaged_record_of_the_cost_does_not_prevent_resuming(content, tmp_path):
    (tmp_path / "cost.json").write_text(content)
    assert Run(tmp_path).cost == {}
