"""Sweeps whose jobs run side by side: their share of the machine, their failures, what is told of them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from musicreclass.config import plugins
from musicreclass.config.check import Check, compose
from musicreclass.config.tree import Tree
from musicreclass.hardware.machine import Gpu, Machine
from musicreclass.hardware.profile import Profile
from musicreclass.runs.folder import Run
from musicreclass.sweep import launchers
from musicreclass.sweep.sweep import Sweep
from tests.conftest import table_overrides

LAPTOP = Machine(cores=8, cores_why="8 of 8", memory=2**33)
ONE_OF_THREE = ["optimizer.lr=0.001,1e30,0.002", "model=mlp", "logger=none"]  # the second cannot be trained


def jobs_of(folder: Path) -> pd.DataFrame:
    (listed,) = (folder / "outputs" / "sweeps").glob("*/runs.csv")
    return pd.read_csv(listed)


def check_one_failed_of_three(result: subprocess.CompletedProcess[str], folder: Path) -> None:
    assert result.returncode == 1, result.stderr
    jobs = jobs_of(folder)
    assert jobs.state.tolist() == ["done", "failed", "done"]
    assert "FloatingPointError" in jobs.error[1]
    _, summary = result.stdout.split("2 of 3 jobs done")
    assert "\njob 1 failed: FloatingPointError" in summary  # behind it Ray may still pass on what its workers printed
    (told,) = [line for line in result.stderr.splitlines() if line.startswith("musicreclass: ")]
    assert told.startswith("musicreclass: job 1 failed: FloatingPointError: the training loss is")
    assert Run.open(folder / jobs.run[0]).provenance["hardware"]["threads"] == 1


def sweep(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "musicreclass", "train", "-m", *words], capture_output=True, text=True)


@pytest.mark.slow
def test_joblib_one_job_of_three_fails(table, here):
    words = [*table_overrides(table), *ONE_OF_THREE, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    check_one_failed_of_three(sweep(*words), here)


@pytest.mark.slow
@pytest.mark.skipif(
    not plugins.is_installed("hydra_submitit_launcher"),
    reason="not in the dev extra: pip install musicreclass[slurm]",
)
def test_submitit_on_this_machine_one_job_of_three_fails(table, here):
    words = [*table_overrides(table), *ONE_OF_THREE, "hydra/launcher=submitit_local", "hydra.launcher.cpus_per_task=1"]
    check_one_failed_of_three(sweep(*words), here)


@pytest.mark.slow
@pytest.mark.skipif(
    not plugins.is_installed("hydra_ray_launcher"),
    reason="not in the dev extra: docs/sweeps.md says how it is installed",
)
def test_ray_on_this_machine_one_job_of_three_fails(table, here):
    check_one_failed_of_three(sweep(*table_overrides(table), *ONE_OF_THREE, "hydra/launcher=ray"), here)


@pytest.mark.slow
def test_one_command_in_four_processes_side_by_side_reads_and_decodes_once(table, here):
    """Jobs that begin together meet in an empty store."""
    words = ["data=demo", "data.clips_per_artist=1", f"paths.cache={here}/cache", "model=logreg", "seed=range(0,4)",
             "hydra/launcher=joblib", "hydra.launcher.n_jobs=4"]  # fmt: skip
    result = sweep(*words)
    assert result.returncode == 0, result.stderr
    assert jobs_of(here).state.tolist() == ["done"] * 4
    assert not list((here / "cache").rglob("*.part"))


@pytest.mark.slow
def test_a_worker_that_is_killed_is_told_of(table, here):
    (here / "mine" / "model").mkdir(parents=True)
    (here / "mine" / "model" / "deadly.yaml").write_text("_target_: deadly.Deadly\ninput: table\nscale: true\n")
    (here / "deadly.py").write_text(
        "import os, signal\nimport torch\n\n\nclass Deadly(torch.nn.Module):\n"
        "    def __init__(self, in_features: int, num_classes: int) -> None:\n        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    words = ["--config-dir", "mine", *table_overrides(table), "model=deadly,logreg", "hydra/launcher=joblib"]
    result = sweep(*words, "hydra.launcher.n_jobs=2")
    assert result.returncode == 1
    assert jobs_of(here).state[0] == "lost"
    assert "job 0 lost: its process ended without a word" in result.stdout


@pytest.mark.parametrize(("launcher", "threads", "gpu"), [
    ({}, None, None), ({"n_jobs": 2}, 4, 0.5), ({"n_jobs": 16}, 1, 1 / 16), ({"n_jobs": -1}, 1, 1 / 8), ({"cpus_per_task": 3}, 3, None),
    ({"cpus_per_task": None}, None, None), ({"ray": {"remote": {}}}, 1, None), ({"ray": {"remote": {"num_cpus": 2, "num_gpus": 0.25}}}, 2, 0.25),
    ({"ray": {"remote": {"num_gpus": 1}}}, 1, None),
])  # fmt: skip
def test_a_jobs_share(monkeypatch, launcher, threads, gpu):
    monkeypatch.setattr(launchers, "cores", lambda: (8, "8 of 8"))
    cfg = OmegaConf.create({"hardware": {"threads": "auto", "workers": "auto", "gpu_share": None}})
    launchers.take_share(cfg, OmegaConf.create(launcher))
    assert cfg.hardware == {"threads": threads or "auto", "workers": threads or "auto", "gpu_share": gpu}
    said = OmegaConf.create({"hardware": {"threads": 7, "workers": 6, "gpu_share": 0.9}})
    launchers.take_share(said, OmegaConf.create(launcher))
    assert said.hardware == {"threads": 7, "workers": 6, "gpu_share": 0.9}


def test_a_share_of_a_gpu_is_all_that_torch_may_allocate(monkeypatch):
    asked: list[float] = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", asked.append)
    card = replace(LAPTOP, gpus=(Gpu("NVIDIA GeForce RTX 3090", (8, 6), 24 * 2**30),), triton=True)
    node = OmegaConf.to_container(compose("train", ["hardware.gpu_share=0.5", "hardware.threads=1"]), resolve=True)[
        "hardware"
    ]  # type: ignore[call-overload, index]
    Profile.of(node, machine=LAPTOP).apply()
    assert asked == []
    Profile.of(node, machine=card).apply()
    assert asked == [0.5]


@pytest.mark.parametrize(("words", "line"), [
    (["hydra/launcher=ray"], "hydra/launcher=ray: its plugin is not installed: pip install ray && pip install --no-deps hydra-ray-launcher"),
    (["hydra/launcher=submitit_slurm"], "hydra/launcher=submitit_slurm: its plugin is not installed: pip install -c constraints.txt -e '.[slurm]' in the project's folder or pip install hydra-submitit-launcher"),
    (["search=mlp"], "search=mlp: its plugin is not installed: pip install -c constraints.txt -e '.[sweep]' in the project's folder or pip install hydra-optuna-sweeper 'sqlalchemy<2'"),
])  # fmt: skip
def test_a_plugin_that_is_missing(words, line, monkeypatch):
    Plugins.instance()  # those that are installed have their say in Hydra's own list of options
    monkeypatch.setattr(plugins, "is_installed", lambda module: False)
    known = Tree().loader.get_group_options("hydra/launcher")
    found = Check(Tree(), "train", words, multirun=True).problems()
    assert found == ([] if words[0].partition("=")[2] in known else [line])


def test_jobs_without_a_word(tmp_path, capsys):
    begun = Sweep.new(tmp_path, jobs=3)
    base = {"overrides": "seed=1", "words": ["seed=1"], "pid": 1, "host": "elsewhere", "error": ""}
    begun._record({"job": 0, "state": "running", **base})
    begun._record({"job": 1, "state": "done", "run": "r", "macro_f1": 0.5, **base})
    with begun.watched():
        pass
    assert begun.finish() == 1
    told = capsys.readouterr().out
    assert "job 1: done" in told  # in another process
    assert "job 0 lost: its process ended without a word" in told
    assert "job 2 not begun: the sweep ended before it" in told
    assert "1 of 3 jobs done" in told
