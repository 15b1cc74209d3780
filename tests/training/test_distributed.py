"""Two processes that train one network: launched as Lightning launches them, or by torchrun as if they were two machines."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from musicreclass.runs.folder import Run
from tests.conftest import table_overrides
from tests.library import SMALL

TABLE = ("model.dropout=0", "class_weight=balanced", "hardware=cpu", "logger=none", "evaluate=[valid,test]")
TWO = "hardware.devices=2"
CLEAN = {k: v for k, v in os.environ.items() if k not in ("LOCAL_RANK", "RANK", "WORLD_SIZE", "NODE_RANK", "MUSICRECLASS_LAUNCH")}  # fmt: skip

FLAT = """
import torch
from torch import nn

class Flat(nn.Sequential):  # without batch statistics, which shares would change
    def __init__(self, num_classes):
        super().__init__(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1), nn.AdaptiveAvgPool2d((24, 1)), nn.Flatten(), nn.Linear(144, 16), nn.ReLU(), nn.Linear(16, num_classes))
        self.unused = nn.Parameter(torch.ones(3))
"""


def start(words: list[str], *launcher: str) -> subprocess.Popen[str]:
    command = [sys.executable, *launcher, "-m", "musicreclass", "train", *words]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=CLEAN)


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out, err


def assert_alike(one: Path, two: Path) -> None:
    """The same tracks, each once, with the same probabilities, and the same curves."""
    for split in ("valid", "test"):
        a, b = (Run.open(folder).predictions(split) for folder in (one, two))
        assert a.table.track_id.tolist() == b.table.track_id.tolist()
        assert a.table.track_id.is_unique
        assert np.abs(a.probabilities() - b.probabilities()).max() < 1e-5
        assert a.probabilities().std() > 0.01
    curves = [pd.read_csv(folder / "history.csv") for folder in (one, two)]
    pd.testing.assert_frame_equal(*curves, rtol=1e-5, atol=1e-6)


def test_two_processes_are_one(run, table, here):
    rows = sum(",train" in line for line in table.read_text().splitlines())
    batch = rows - 1  # the last batch is of one track: a share is empty
    words = [*table_overrides(table), *TABLE, f"trainer.batch_size={batch}"]
    ended(start([*words, "run_dir=one"]))
    out, err = ended(start([*words, "run_dir=two", TWO]))
    assert out.count("mlp on table features.csv:") == 1
    assert err.count("examining") <= 1
    assert_alike(here / "one", here / "two")
    one, two = Run.open(here / "one"), Run.open(here / "two")
    assert two.state == "done"
    assert one.identity["signature"] == two.identity["signature"]
    assert two.identity["micro_batch"] == -(-batch // 2)
    assert two.provenance["profile"]["devices"] == 2
    made = (here / "two" / "metrics.json").stat().st_mtime_ns
    assert run("train", *words, "run_dir=two", TWO).code == 0  # found finished: nothing is launched
    assert (here / "two" / "metrics.json").stat().st_mtime_ns == made


@pytest.mark.slow
def test_recordings_are_shared_out_too(library, here):
    (here / "flat.py").write_text(FLAT)
    small = [word for word in SMALL if not word.startswith("model")]
    words = ["--config-dir", "mine", "data=folder", f"data.root={library}", "model=flat", *small, "trainer.batch_size=5", "hardware.channels_last=true",
             "augmentation=full", "evaluate=[valid,test]"]  # fmt: skip
    (here / "mine" / "model").mkdir(parents=True)
    (here / "mine" / "model" / "flat.yaml").write_text(
        "_target_: flat.Flat\ninput: waveform\nsample_rate: 8000\nfrontend:\n  n_mels: 24\n  n_fft: 256\n  hop_length: 128\n"
    )
    ended(start([*words, "run_dir=one"]))
    ended(start([*words, "run_dir=two", TWO]))
    assert_alike(here / "one", here / "two")
    assert torch.equal(
        torch.load(here / "two/model/weights.pt")["1.unused"], torch.ones(3)
    )  # without a gradient, no decay


def until_begun(folder: Path) -> None:
    """Wait for a few epochs."""
    history, until = folder / "history.csv", time.monotonic() + 60
    while not (history.is_file() and history.read_text().count("\n") > 3):
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "state"), [(signal.SIGKILL, "running"), (signal.SIGTERM, "interrupted")])
def test_the_end_of_the_first_ends_all_and_the_same_command_goes_on(table, here, number, state):
    words = [*table_overrides(table), *TABLE, "trainer.max_epochs=40", TWO]
    ended(start([*words, "run_dir=whole"]))
    process = start([*words, "run_dir=killed"])
    until_begun(here / "killed")
    process.send_signal(number)
    _, err = process.communicate(timeout=60)  # the other holds these pipes: it has ended, too
    assert Run.open(here / "killed").state == state, err
    ended(start([*words, "run_dir=killed"]))
    assert_alike(here / "whole", here / "killed")
    assert Run.open(here / "killed").identity["launch"]["resume"]


@pytest.mark.slow
def test_two_machines_by_torchrun(table, here):
    words = [*table_overrides(table), *TABLE, "trainer.max_epochs=30", "evaluate=[valid]"]
    ended(start([*words, "run_dir=one", "evaluate=[valid,test]"]))
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

    def launch(*more: str) -> list[subprocess.Popen[str]]:
        """Both machines; every launch has the same address, and so the same id."""
        return [start([*words, "run_dir=two", "hardware.nodes=2", *more], *nodes, f"--node-rank={n}") for n in (1, 0)]

    begun = launch()
    until_begun(here / "two")
    for process in begun:
        process.kill()
    os.kill(Run.open(here / "two").status["pid"], signal.SIGKILL)  # the agent's child; its peer loses it, and ends
    for process in begun:
        process.communicate(timeout=60)
    assert Run.open(here / "two").state == "running"
    other, first = (ended(process)[0] for process in launch())
    assert "accuracy" in first
    assert other == ""
    assert Run.open(here / "two").identity["launch"]["resume"]
    for process in launch("evaluate=[valid,test]"):  # only scored
        ended(process)
    assert_alike(here / "one", here / "two")


@pytest.mark.parametrize(("words", "told"), [
    (["-m", "seed=1,2", TWO], "say musicreclass train ... once for each job, without -m"),
    (["-m", "seed=1,2", "hardware.nodes=2"], "without -m"),
    (["-m", "hardware.devices=1,2"], "without -m"),
    (["hardware.nodes=2", "hardware=cpu"], "start them with srun or torchrun"),
    (["model=logreg", TWO], "model=logreg trains in one process"),
    (["hardware.strategy=ddp"], "for several processes: hardware.devices=2"),
    (["hardware.devices=0"], "must be a whole number, at least 1"),
    (["hardware.strategy=fsdp"], "hardware.strategy=fsdp: "),
])  # fmt: skip
def test_what_cannot_be_is_one_line(run, here, words, told):
    result = run("train", *words)
    assert result.code == 2
    assert len(result.lines) == 1
    assert told in result.lines[0]
    assert not (here / "outputs").exists()
