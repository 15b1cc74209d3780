"""Training and prediction on a CUDA GPU: run with `-m gpu` on a machine that has one. Each command is a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from musicreclass.runs.folder import Run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]
AUDIO = ["train", "data=demo_audio", "model=cnn_small", "trainer.max_epochs=3", "logger=none"]
LARGE = ["train", "data=demo_audio", "model=cnn", "data.clip_seconds=10", "trainer.batch_size=128", "trainer.max_epochs=1", "logger=none"]  # fmt: skip


def start(*arguments: object, gpu: bool = True) -> subprocess.Popen[str]:
    environment = {**os.environ, **({} if gpu else {"CUDA_VISIBLE_DEVICES": ""})}
    command = [sys.executable, "-m", "musicreclass", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output
    return output


def fraction_of(gib: float) -> float:
    """The fraction of the GPU's memory that holds this many GiB."""
    return gib * 2**30 / torch.cuda.get_device_properties(0).total_memory


def test_a_run_is_usable_on_a_machine_without_a_gpu(here):
    finish(start(*AUDIO, "run_dir=r"))
    assert Run(Path("r")).provenance["profile"]["accelerator"] == "cuda"
    weights = torch.load("r/model/weights.pt", weights_only=True)
    assert {value.device.type for value in weights.values()} == {"cpu"}
    clips = sorted(Path(os.environ["MUSICRECLASS_CACHE"], "demo").rglob("*.wav"))[:12]
    tables = []
    for gpu in (True, False):
        finish(start("predict", "r", "--input", *clips, "--output", f"{gpu}.parquet", gpu=gpu))
        table = pd.read_parquet(f"{gpu}.parquet")
        tables.append(table[[name for name in table if name.startswith("p/")]].to_numpy())
    assert tables[0].shape == (len(clips), 6)
    assert np.abs(tables[0] - tables[1]).max() < 1e-3
    finish(start("evaluate", "r", "--split", "test", gpu=False))


@pytest.mark.parametrize(
    "override", ["hardware=rtx", "hardware=jetson", "hardware=datacenter", "trainer.precision=16-mixed"]
)
def test_half_precision(here, override):
    finish(start(*AUDIO, override, "augmentation=full", "run_dir=r"))
    run = Run(Path("r"))
    assert run.provenance["profile"]["precision"] in ("bf16-mixed", "16-mixed")
    assert np.isfinite(run.metrics["valid"]["log_loss"])


def test_a_resumed_run_equals_an_uninterrupted_one(here):
    longer = [*AUDIO, "trainer.max_epochs=30", "early_stopping=none"]
    finish(start(*longer, "run_dir=uninterrupted"))
    process = start(*longer, "run_dir=resumed")
    while process.poll() is None and not Path("resumed/checkpoints/last.ckpt").is_file():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert "resumes from the last checkpoint" in finish(process, code=130)
    finish(start(*longer, "run_dir=resumed"))
    uninterrupted, resumed = (
        Run(Path(name)).predictions("valid").probabilities() for name in ("uninterrupted", "resumed")
    )
    assert np.array_equal(uninterrupted, resumed)


def test_a_real_out_of_memory_error_halves_the_micro_batch(here):
    fraction = fraction_of(1.5)
    finish(start(*LARGE, f"hardware.gpu_share={fraction}", "hardware.micro_batch=128", "run_dir=halved"))
    halved = Run(Path("halved"))
    assert halved.state == "done"
    assert halved.identity.micro_batch in (8, 16, 32, 64)
    assert "out of memory with 128 at once" in (halved.folder / "run.log").read_text()
    finish(start(*LARGE, f"hardware.gpu_share={fraction}", "run_dir=measured"))
    measured = Run(Path("measured"))
    # A measured size leaves a margin, and splits the batch evenly.
    assert halved.identity.micro_batch / 2 < measured.identity.micro_batch < 2 * halved.identity.micro_batch
    assert "out of memory" not in (measured.folder / "run.log").read_text()


def test_a_batch_that_does_not_fit_is_one_line(here):
    process = start(*LARGE, f"hardware.gpu_share={fraction_of(0.1)}", "run_dir=r")
    output, _ = process.communicate(timeout=300)
    assert process.returncode in (1, 2)  # in the transfer of the batch, or in the measurement
    (line,) = (line for line in output.splitlines() if line.startswith("musicreclass: "))
    assert "trainer.batch_size=128" in line
