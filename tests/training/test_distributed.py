"""Two processes that train one network, launched by Lightning, or by torchrun as if on two machines."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from musicreclass.runs.folder import Run
from tests.conftest import table_overrides, wait_until, write_gtzan_segments
from tests.library import SMALL

TABLE = ("model.dropout=0", "class_weight=balanced", "hardware=cpu", "logger=none", "evaluate=[valid,test]")
TWO = "hardware.devices=2"
CLEAN = {k: v for k, v in os.environ.items() if k not in ("LOCAL_RANK", "RANK", "WORLD_SIZE", "NODE_RANK", "MUSICRECLASS_LAUNCH")}  # fmt: skip

FLAT = """
import torch
from torch import nn

class Flat(nn.Sequential):  # without batch statistics, which would differ between shards
    def __init__(self, num_classes):
        super().__init__(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1), nn.AdaptiveAvgPool2d((24, 1)), nn.Flatten(), nn.Linear(144, 16), nn.ReLU(), nn.Linear(16, num_classes))
        self.unused = nn.Parameter(torch.ones(3))
"""


def start(overrides: list[str], *launcher: str) -> subprocess.Popen[str]:
    command = [sys.executable, *launcher, "-m", "musicreclass", "train", *overrides]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=CLEAN)


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return out, err


def assert_equal_runs(one: Path, two: Path) -> None:
    """The same tracks, each once, with the same probabilities and curves."""
    for split in ("valid", "test"):
        a, b = (Run.open(folder).predictions(split) for folder in (one, two))
        assert a.table.track_id.tolist() == b.table.track_id.tolist()
        assert a.table.track_id.is_unique
        assert np.abs(a.probabilities() - b.probabilities()).max() < 1e-5
        assert a.probabilities().std() > 0.01
    curves = [pd.read_csv(folder / "history.csv") for folder in (one, two)]
    pd.testing.assert_frame_equal(*curves, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_two_processes_equal_one(run, table, here):
    rows = sum(",train" in line for line in table.read_text().splitlines())
    batch = rows - 1  # the last batch has one track, so one shard is empty
    overrides = [*table_overrides(table), *TABLE, f"trainer.batch_size={batch}"]
    assert run("train", *overrides, "run_dir=one").code == 0
    out, err = finish(start([*overrides, "run_dir=two", TWO]))
    assert out.count("mlp on table features.csv:") == 1
    assert err.count("examining") <= 1
    assert_equal_runs(here / "one", here / "two")
    one, two = Run.open(here / "one"), Run.open(here / "two")
    assert two.state == "done"
    assert one.identity.signature == two.identity.signature
    assert two.identity.micro_batch == -(-batch // 2)
    assert two.provenance["profile"]["devices"] == 2
    written = (here / "two" / "metrics.json").stat().st_mtime_ns
    assert run("train", *overrides, "run_dir=two", TWO).code == 0  # already finished: no process is launched
    assert (here / "two" / "metrics.json").stat().st_mtime_ns == written


@pytest.mark.slow
def test_segments_of_a_track_are_joined_across_processes(run, here):
    write_gtzan_segments(here)
    overrides = ["data=gtzan_features", "data.root=.", "data.seconds=3", "model=mlp", "trainer.max_epochs=3", *TABLE]
    assert run("train", *overrides, "run_dir=one").code == 0
    finish(start([*overrides, "run_dir=two", TWO]))
    assert_equal_runs(here / "one", here / "two")
    best = pd.read_csv(here / "two" / "history.csv").iloc[Run.open(here / "two").provenance["model"]["best_epoch"]]
    assert best["valid/accuracy"] == pytest.approx(Run.open(here / "two").metrics["valid"]["accuracy"])


@pytest.mark.slow
def test_recordings_are_sharded(library, here):
    (here / "flat.py").write_text(FLAT)
    small = [override for override in SMALL if not override.startswith("model")]
    overrides = ["--config-dir", "user_conf", "data=folder", f"data.root={library}", "model=flat", *small, "trainer.batch_size=5", "hardware.channels_last=true",
             "augmentation=full", "evaluate=[valid,test]"]  # fmt: skip
    (here / "user_conf" / "model").mkdir(parents=True)
    (here / "user_conf" / "model" / "flat.yaml").write_text(
        "_target_: flat.Flat\ninput: waveform\nsample_rate: 8000\nfrontend:\n  n_mels: 24\n  n_fft: 256\n  hop_length: 128\n"
    )
    finish(start([*overrides, "run_dir=one"]))
    finish(start([*overrides, "run_dir=two", TWO]))
    assert_equal_runs(here / "one", here / "two")
    assert torch.equal(
        torch.load(here / "two/model/weights.pt")["1.unused"], torch.ones(3)
    )  # no gradient, so no weight decay


def wait_for_epochs(folder: Path) -> None:
    """Wait for a few epochs."""
    history = folder / "history.csv"
    wait_until(lambda: history.is_file() and history.read_text().count("\n") > 3)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "state"), [(signal.SIGKILL, "running"), (signal.SIGTERM, "interrupted")])
def test_all_processes_end_with_the_first_and_the_same_command_resumes(table, here, number, state):
    overrides = [*table_overrides(table), *TABLE, "trainer.max_epochs=40", TWO]
    finish(start([*overrides, "run_dir=uninterrupted"]))
    process = start([*overrides, "run_dir=killed"])
    wait_for_epochs(here / "killed")
    process.send_signal(number)
    _, err = process.communicate(
        timeout=300
    )  # returns only after the other process, which holds these pipes, has ended
    assert Run.open(here / "killed").state == state, err
    finish(start([*overrides, "run_dir=killed"]))
    assert_equal_runs(here / "uninterrupted", here / "killed")
    assert Run.open(here / "killed").identity.launch.resume


@pytest.mark.slow
def test_two_machines_by_torchrun(table, here):
    overrides = [*table_overrides(table), *TABLE, "trainer.max_epochs=30", "evaluate=[valid]"]
    finish(start([*overrides, "run_dir=one", "evaluate=[valid,test]"]))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nodes = [
        "-m",
        "torch.distributed.run",
        "--nnodes=2",
        "--nproc-per-node=1",
        "--master-addr=127.0.0.1",
        f"--master-port={port}",
    ]

    def launch(*extra: str) -> list[subprocess.Popen[str]]:
        """Both machines; all launches share an address, and so an id."""
        return [
            start([*overrides, "run_dir=two", "hardware.nodes=2", *extra], *nodes, f"--node-rank={n}") for n in (1, 0)
        ]

    first_launch = launch()
    wait_for_epochs(here / "two")
    for process in first_launch:
        process.kill()
    os.kill(
        Run.open(here / "two").status["pid"], signal.SIGKILL
    )  # the agent's child; the other process loses its connection and ends
    for process in first_launch:
        process.communicate(timeout=300)
    assert Run.open(here / "two").state == "running"
    out_other, out_first = (finish(process)[0] for process in launch())
    assert "accuracy" in out_first
    assert out_other == ""
    assert Run.open(here / "two").identity.launch.resume
    for process in launch("evaluate=[valid,test]"):  # scores only
        finish(process)
    assert_equal_runs(here / "one", here / "two")


@pytest.mark.parametrize(("overrides", "key"), [
    (["-m", "seed=1,2", TWO], "hardware.devices"),
    (["-m", "seed=1,2", "hardware.nodes=2"], "hardware.nodes"),
    (["-m", "hardware.devices=1,2"], "hardware.devices"),
    (["hardware.nodes=2", "hardware=cpu"], "hardware.nodes=2"),
    (["model=logreg", TWO], "hardware.devices"),
    (["hardware.strategy=ddp"], "hardware.strategy=ddp"),
    (["hardware.devices=0"], "hardware.devices=0"),
    (["hardware.strategy=fsdp"], "hardware.strategy=fsdp"),
])  # fmt: skip
def test_invalid_combinations_are_rejected_in_one_line(run, here, overrides, key):
    result = run("train", *overrides)
    assert result.code == 2
    assert len(result.lines) == 1
    assert key in result.lines[0]
    assert not (here / "outputs").exists()
