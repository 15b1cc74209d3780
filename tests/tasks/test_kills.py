"""Processes killed at any time: the same command then gives the result of an uninterrupted one, and leaves no temporary files."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import table_overrides
from tests.data.audio.test_bad_files import FFMPEG
from tests.library import RATE
from tests.sounds import music, write

KILLS = 12  # of each of the six tasks


def musicreclass(arguments: list[str], folder: Path, kill_after: float | None = None) -> float:
    """Run a command in a folder with its own cache and temporary folder; returns the seconds.

    Args:
        arguments: of the command.
        folder: the working directory.
        kill_after: seconds until the process and its children are killed.
    """
    for name in ("cache", "temporary"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "MUSICRECLASS_CACHE": str(folder / "cache"), "TMPDIR": str(folder / "temporary")}
    environment["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor")  # which torch creates when it is imported
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "musicreclass", *arguments],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    else:
        assert process.returncode == 0, output.decode()
    return time.monotonic() - start


def results(folder: Path) -> dict[str, str]:
    """A hash of each table of predictions, decoded file and feature table, by path."""
    hashes = {}
    for path in sorted(folder.rglob("*.parquet")):
        table = pd.read_parquet(path)
        content = table.to_csv().encode() + table.select_dtypes("number").to_numpy(np.float64).tobytes()
        hashes[path.relative_to(folder).as_posix()] = hashlib.sha256(content).hexdigest()
    for path in [*folder.rglob("samples.i16"), *folder.rglob("*.npy")]:
        hashes[path.relative_to(folder).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return hashes


def check_kills(arguments: list[str], here: Path, prepare: Callable[[Path], None] = lambda folder: None) -> None:
    """Kill a command at evenly spaced times, repeat it, and compare with an uninterrupted one.

    Args:
        arguments: of the command.
        here: contains the folder of each attempt.
        prepare: fills such a folder.
    """
    prepare(here / "whole")
    seconds = musicreclass(arguments, here / "whole")
    expected = results(here / "whole")
    assert expected
    killed = 0
    for attempt in range(KILLS):
        folder = here / str(attempt)
        prepare(folder)
        limit = seconds * (0.25 + 0.75 * attempt / KILLS)  # before that, libraries are imported
        killed += musicreclass(arguments, folder, limit) >= limit
        musicreclass(arguments, folder)
        assert results(folder) == expected
        assert list((folder / "temporary").iterdir()) == []
        assert not [*folder.rglob(".*.part"), *folder.rglob(".*.old")]
    assert killed >= KILLS // 4  # the others were faster than the first on a busy machine, and ended before


@pytest.fixture
def songs(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of recordings, m4a among them, and a stand-in for ffmpeg that converts these slowly."""
    command = here / "bin" / "ffmpeg"
    command.parent.mkdir()
    command.write_text(FFMPEG.format(python=sys.executable) + "sys.stdout.flush()\nimport time\ntime.sleep(0.2)\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    for i in range(24):
        folder = here / "songs" / ("jazz", "rock")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        path = write(folder / f"{i}.wav", music(8 + i % 3, RATE, seed=i), RATE)
        if i % 3 == 0:
            path.rename(path.with_suffix(".m4a"))
            path.with_suffix(".m4a.duration").write_text(str(8 + i % 3))
    return here / "songs"


@pytest.mark.slow
def test_training_is_killed(table, here):
    check_kills(
        ["train", *table_overrides(table), "model=mlp", "trainer.max_epochs=30", "run_dir=r", "logger=none"], here
    )


@pytest.mark.slow
def test_decoding_is_killed(songs, here):
    check_kills(["prepare", "data=folder", f"data.root={songs}"], here)


@pytest.mark.slow
def test_the_demo_is_killed(here):
    check_kills(["prepare", "data=demo_audio"], here)


@pytest.mark.slow
def test_a_sweep_is_killed(table, here):
    check_kills(
        ["train", "-m", *table_overrides(table), "model=logreg,random_forest,xgboost", "seed=1,2", "logger=none"], here
    )


@pytest.mark.slow
def test_scoring_is_killed(table, here):
    def train(folder: Path) -> None:
        musicreclass(["train", *table_overrides(table), "model=random_forest", "run_dir=r", "logger=none"], folder)

    check_kills(["evaluate", "r"], here, train)


@pytest.mark.slow
def test_combining_is_killed(table, here):
    def train(folder: Path) -> None:
        for name in ("random_forest", "logreg"):
            musicreclass(["train", *table_overrides(table), f"model={name}", f"run_dir={name}", "logger=none"], folder)

    check_kills(["ensemble", "random_forest", "logreg", "--method", "stacking", "--output", "r"], here, train)
