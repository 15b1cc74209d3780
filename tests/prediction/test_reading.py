"""Recordings that crash or hang the process that reads them, and extractors that fail, are errors of one recording."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from musicreclass.features.extractors import Extractor
from musicreclass.prediction.readers import FeatureReader
from musicreclass.prediction.reading import Reading, read_all
from musicreclass.storage.store import Store
from tests.conftest import wait_until
from tests.sounds import music, write

RATE = 8000


class Failing(Extractor):
    """Fails as the name of the recording says."""

    def __init__(self) -> None:
        self.columns, self.settings = ["a", "b"], {"version": 1}

    def extract(self, path: Path) -> np.ndarray:
        match path.stem.partition(" ")[0]:
            case "crash":
                ctypes.string_at(0)
            case "abort":
                os.abort()
            case "leave":
                os._exit(11)
            case "killed":
                time.sleep(0.2)
                os.kill(os.getpid(), 9)
            case "killed-once":
                marker = path.with_suffix(".killed")
                if not marker.exists():
                    marker.touch()
                    os.kill(os.getpid(), 9)
            case "hang":
                ctypes.PyDLL(None).sleep(600)  # holds the GIL
            case "slow":
                time.sleep(600)
            case "raise":
                raise RuntimeError("two\nlines")
            case "exit":
                raise SystemExit(3)
            case "nan":
                return np.array([np.nan, 1.0])
            case "short":
                return np.zeros(1)
            case "text":
                return np.array(["a", "b"])
        return np.ones(2)


FAULTS = ("crash", "abort", "leave", "killed", "hang", "slow", "raise", "exit", "nan", "short", "text")


@pytest.fixture
def songs(tmp_path: Path) -> list[Path]:
    """Recordings with one of each fault among them, and two that crash one after the other."""
    names = [f"good {i}" for i in range(8)]
    for position, fault in enumerate(FAULTS):
        names.insert(2 * position, fault)
    names += ["killed-once", "crash 2", "crash 3"]
    for i, name in enumerate(names):
        write(tmp_path / f"{name}.wav", music(1.2, RATE, seed=i), RATE)
    return [tmp_path / f"{name}.wav" for name in names]


def readers(tmp_path: Path) -> list[FeatureReader]:
    return [FeatureReader("failing", Failing(), Store(tmp_path / "store"))]


def read(paths: list[Path], tmp_path: Path, workers: int) -> dict[str, Reading]:
    readings = list(read_all(readers(tmp_path), paths, workers, time_limit=1.0))  # type: ignore[arg-type]
    assert len(readings) == len(paths)
    return {reading.path.stem: reading for reading in readings}


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_fault_is_the_error_of_one_recording(tmp_path, songs, workers, capfd):
    before = children()
    readings = read(songs, tmp_path, workers)
    assert set(readings) == {path.stem for path in songs}
    for name, reading in readings.items():
        assert bool(reading.error) == (not name.startswith(("good", "killed-once"))), (name, reading.error)
        assert bool(reading.error) != bool(reading.values)
        assert not reading.error or f"{name}.wav" in reading.error
        assert len(reading.error.splitlines()) <= 1
    assert "SIGSEGV" in readings["crash"].error
    assert "--time-limit" in readings["hang"].error
    assert capfd.readouterr().err == ""
    assert children() <= before  # all processes have been reaped


def test_one_recording_that_crashes(tmp_path, songs):
    (path,) = (path for path in songs if path.stem == "crash")
    assert "SIGSEGV" in read([path], tmp_path, 2)["crash"].error


def test_the_limit_grows_with_the_duration(tmp_path, monkeypatch):
    write(tmp_path / "long.wav", music(4, RATE), RATE)
    monkeypatch.setattr(Failing, "extract", lambda self, path: np.full(2, time.sleep(1.0) or 1.0))
    (reading,) = read_all(readers(tmp_path), [tmp_path / "long.wav"], 1, time_limit=0.5)  # type: ignore[arg-type]
    assert not reading.error


def test_processes_end_with_the_loop_and_with_the_parent(tmp_path, songs):
    good = [path for path in songs if path.stem.startswith("good")]
    hanging = [path for path in songs if path.stem in ("hang", "slow")]
    started, before = time.monotonic(), children()
    with closing(read_all(readers(tmp_path), [*good[:1], *hanging, *good[1:]], 2)) as readings:  # type: ignore[arg-type]
        next(readings)
    assert time.monotonic() - started < 30
    assert children() <= before

    pids = tmp_path / "pids"
    parent = os.fork()
    if not parent:
        os.setpgid(0, 0)
        readings = read_all(readers(tmp_path), good, 2)  # type: ignore[arg-type]
        next(readings)
        pids.write_text(os.popen(f"ps -o pid= --ppid {os.getpid()}").read())
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(parent, 0)
    numbers = [int(text) for text in pids.read_text().split()]
    assert len(numbers) >= 2  # and ps
    wait_until(lambda: not any(is_running(number) for number in numbers), 30)


def children() -> set[int]:
    """The processes that this one has started, zombies included; earlier tests may have left workers."""
    stats = [stat_of(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdecimal()]
    return {pid for pid, parent, _ in stats if parent == os.getpid()}


def stat_of(pid: int) -> tuple[int, int, str]:
    """Number, parent and state of a process."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[:2]
    except OSError:
        return pid, 0, "Z"  # it has ended
    return pid, int(parent), state


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    return stat_of(pid)[2] != "Z"
