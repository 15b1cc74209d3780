"""Sweeps with parallel jobs: their share of the machine, their failures, and how these are reported."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from musicreclass.config import plugins
from musicreclass.config.check import Check
from musicreclass.config.settings.machine import HardwareSettings
from musicreclass.config.tree import Tree
from musicreclass.hardware.machine import Gpu, Machine
from musicreclass.hardware.resolution import resolve_profile
from musicreclass.runs.find import find_runs
from musicreclass.runs.folder import Run
from musicreclass.sweep import launchers
from musicreclass.sweep.record import JobRecord
from musicreclass.sweep.sweep import Sweep
from tests.conftest import settings_for, table_overrides
from tests.run_factory import make_run

LAPTOP = Machine(cores=8, cores_why="8 of 8", memory=2**33)
SECOND_FAILS = ["optimizer.lr=0.001,1000,0.002", "model=mlp", "logger=none"]


def jobs_of(folder: Path) -> pd.DataFrame:
    (table,) = (folder / "outputs" / "sweeps").glob("*/runs.csv")
    return pd.read_csv(table)


def sweep(*overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "musicreclass", "train", "-m", *overrides]
    return subprocess.run(command, capture_output=True, text=True)


def check_one_failed_of_three(result: subprocess.CompletedProcess[str], folder: Path) -> None:
    assert result.returncode == 1, result.stderr
    jobs = jobs_of(folder)
    assert jobs.state.tolist() == ["done", "failed", "done"]
    assert "FloatingPointError" in jobs.error[1]
    summary = result.stdout[result.stdout.index("runs.csv") :]  # Ray may still print its workers' output behind it
    assert "\njob 1 failed: FloatingPointError" in summary
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("musicreclass: ")]
    assert line.startswith("musicreclass: job 1 failed: FloatingPointError: ")
    (sweep_folder,) = (folder / "outputs" / "sweeps").iterdir()
    assert Run.open(sweep_folder / jobs.run[0]).provenance["hardware"]["threads"] == 1


def launcher_case(name: str, module: str, reason: str, *overrides: str) -> Any:
    """A launcher with its overrides, skipped unless its plugin is installed."""
    missing = pytest.mark.skipif(not plugins.is_installed(f"hydra_plugins.{module}"), reason=reason)
    return pytest.param([f"hydra/launcher={name}", *overrides], id=name, marks=missing)


@pytest.mark.skipif(not plugins.is_installed("hydra_plugins.hydra_joblib_launcher"), reason="in the dev extra")
def test_two_jobs_in_parallel(table, here):
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    result = sweep(*table_overrides(table), "model=logreg", "seed=1,2", "logger=none", *launcher)
    assert result.returncode == 0, result.stderr
    assert jobs_of(here).state.tolist() == ["done"] * 2


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [
    launcher_case("joblib", "hydra_joblib_launcher", "in the dev extra", "hydra.launcher.n_jobs=2"),
    launcher_case("submitit_local", "hydra_submitit_launcher", "not in the dev extra: pip install musicreclass[slurm]", "hydra.launcher.cpus_per_task=1"),
    launcher_case("ray", "hydra_ray_launcher", "not in the dev extra: see docs/sweeps.md"),
])  # fmt: skip
def test_one_job_of_three_fails(launcher, table, here):
    check_one_failed_of_three(sweep(*table_overrides(table), *SECOND_FAILS, *launcher), here)


@pytest.mark.slow
def test_four_parallel_jobs_share_an_empty_store(table, here):
    data = ["data=demo", "data.clips_per_artist=1", f"paths.cache={here}/cache"]
    result = sweep(*data, "model=logreg", "seed=range(0,4)", "hydra/launcher=joblib", "hydra.launcher.n_jobs=4")
    assert result.returncode == 0, result.stderr
    assert jobs_of(here).state.tolist() == ["done"] * 4
    assert not list((here / "cache").rglob("*.part"))


@pytest.mark.slow
def test_a_worker_that_is_killed_is_reported(table, here):
    (here / "user_conf" / "model").mkdir(parents=True)
    (here / "user_conf" / "model" / "deadly.yaml").write_text("_target_: deadly.Deadly\ninput: table\nscale: true\n")
    (here / "deadly.py").write_text(
        "import os, signal\nimport torch\n\n\nclass Deadly(torch.nn.Module):\n"
        "    def __init__(self, in_features: int, num_classes: int) -> None:\n        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    models = ["--config-dir", "user_conf", *table_overrides(table), "model=deadly,logreg"]
    result = sweep(*models, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert result.returncode == 1
    assert jobs_of(here).state[0] == "lost"
    assert "\njob 0 lost: " in result.stdout


@pytest.mark.slow
def test_a_parallel_search_prunes_the_same_trials_again(table, here):
    """Jobs in other processes read what they are compared with from the sweep's folder."""
    search = ["hydra/sweeper=tpe", "hydra.sweeper.pruner={n_startup_trials: 2, n_warmup_steps: 1}", "seed=1"]
    space = ["optimizer.lr=choice(0.01,1e-9)", "model.dropout=interval(0.0,0.5)", "hydra.sweeper.n_trials=8"]
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "model=mlp", "logger=none"]
    states = []
    for outputs in ("first", "second"):
        result = sweep(*table_overrides(table), *search, *space, *launcher, f"paths.outputs={outputs}")
        assert result.returncode == 0, result.stderr
        (trials,) = (here / outputs / "sweeps").glob("*/search.csv")
        states.append(pd.read_csv(trials).drop(columns="run"))
    pd.testing.assert_frame_equal(*states, check_exact=True)
    assert set(states[0].state) == {"done", "pruned"}


@pytest.mark.parametrize(("launcher", "threads", "gpu"), [
    ({}, None, None), ({"n_jobs": 2}, 4, 0.5), ({"n_jobs": 16}, 1, 1 / 16), ({"n_jobs": -1}, 1, 1 / 8), ({"cpus_per_task": 3}, 3, None),
    ({"cpus_per_task": None}, None, None), ({"ray": {"remote": {}}}, 1, None), ({"ray": {"remote": {"num_cpus": 2, "num_gpus": 0.25}}}, 2, 0.25),
    ({"ray": {"remote": {"num_gpus": 1}}}, 1, None),
])  # fmt: skip
def test_share_of_a_job(monkeypatch, launcher, threads, gpu):
    monkeypatch.setattr(launchers, "cores", lambda: (8, "8 of 8"))
    automatic = HardwareSettings(threads="auto", workers="auto", gpu_share=None)
    shared = launchers.with_share(automatic, OmegaConf.create(launcher)).as_dict()
    assert shared == {"threads": threads or "auto", "workers": threads or "auto", "gpu_share": gpu}
    configured = HardwareSettings(threads=7, workers=6, gpu_share=0.9)
    assert launchers.with_share(configured, OmegaConf.create(launcher)) == configured


def test_torch_may_allocate_a_share_of_a_gpu(monkeypatch):
    fractions: list[float] = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", fractions.append)
    card = replace(LAPTOP, gpus=(Gpu("NVIDIA GeForce RTX 3090", (8, 6), 24 * 2**30),), triton=True)
    hardware = settings_for("hardware.gpu_share=0.5", "hardware.threads=1").hardware
    resolve_profile(hardware, machine=LAPTOP).apply()
    assert fractions == []
    resolve_profile(hardware, machine=card).apply()
    assert fractions == [0.5]


@pytest.mark.parametrize(("override", "key", "packages"), [
    ("hydra/launcher=ray", "hydra/launcher", ["ray", "hydra-ray-launcher"]),
    ("hydra/launcher=submitit_slurm", "hydra/launcher", ["[slurm]", "hydra-submitit-launcher"]),
    ("search=mlp", "search", ["[sweep]", "optuna"]),
    ("hydra/sweeper=tpe", "hydra/sweeper", ["[sweep]", "optuna"]),
])  # fmt: skip
def test_a_missing_plugin(override, key, packages, monkeypatch):
    Plugins.instance()  # adds the options of installed plugins to Hydra's groups
    monkeypatch.setattr(plugins, "is_installed", lambda module: False)
    problems = Check(Tree(), "train", [override], multirun=True).problems()
    if override.partition("=")[2] in Tree().loader.get_group_options("hydra/launcher"):
        assert problems == []
        return
    (problem,) = problems
    assert (problem.kind, problem.key) == ("missing_plugin", key)
    assert all(package in problem.suggestion for package in packages)


def test_the_list_of_runs_is_read_from_any_folder(run, here, tmp_path_factory, monkeypatch):
    """Also through a link, after the outputs were moved, and without a run that was deleted."""
    sweep = Sweep.new(Path("outputs"), jobs=4)
    runs = [make_run(Path("outputs"), name, seed=seed) for seed, name in enumerate(("a", "b", "c"))]
    elsewhere = make_run(tmp_path_factory.mktemp("elsewhere"), "d", seed=3)
    for number, folder in enumerate([*runs, elsewhere]):
        sweep._write(JobRecord(number, "done", (), run=str(folder)))
    sweep.finish()
    assert sorted(path.name for path in sweep.folder.iterdir()) == ["jobs", "runs.csv", "sweep.json"]
    names = lambda folder: [r.folder.name for r in find_runs(folder) if r.state == "done"]  # noqa: E731
    assert names(sweep.folder) == ["a", "b", "c", "d"]
    folder = sweep.folder.absolute()
    monkeypatch.chdir(tmp_path_factory.mktemp("working"))
    assert names(folder) == ["a", "b", "c", "d"]
    Path("link").symlink_to(folder)
    assert names(Path("link")) == ["a", "b", "c", "d"]
    (here / "outputs").rename(here / "moved")
    folder = here / "moved" / "sweeps" / folder.name
    assert names(folder) == ["a", "b", "c", "d"]
    shutil.rmtree(here / "moved" / "b")
    assert names(folder) == ["a", "c", "d"]
    result = run("compare", folder)
    assert result.code == 0
    assert [line for line in result.out.splitlines() if line.startswith("skipped: ")] == [
        f"skipped: {here / 'moved' / 'b'} (absent)"
    ]


def test_the_list_of_runs_is_written_completely_or_not_at_all(tmp_path, monkeypatch):
    sweep = Sweep.new(tmp_path, jobs=1)
    sweep.finish()
    before = (sweep.folder / "runs.csv").read_bytes()
    monkeypatch.setattr("csv.DictWriter.writerows", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OSError, match="No space"):
        sweep.finish()
    assert (sweep.folder / "runs.csv").read_bytes() == before


def test_jobs_without_an_outcome(tmp_path):
    unfinished = Sweep.new(tmp_path, jobs=3)
    begun = JobRecord(0, "running", ("seed=1",), pid=1, host="elsewhere")
    unfinished._write(begun)
    unfinished._write(replace(begun, job=1, state="done", run="r", macro_f1=0.5, scores={0: 0.25, 1: 0.5}))
    ended = []
    with unfinished.watched(ended.append):
        pass
    assert [record.job for record in ended] == [1]  # in another process
    records = unfinished.finish()
    assert records[1].scores == {0: 0.25, 1: 0.5}
    assert [record.state for record in records] == ["lost", "done", "not begun"]
    assert pd.read_csv(unfinished.folder / "runs.csv").state.tolist() == ["lost", "done", "not begun"]
