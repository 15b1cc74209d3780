"""Recordings that crash the process that reads them, and extractors that fail, are errors of one recording."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from musicreclass.features.extractors import Extractor
from musicreclass.prediction.readers import FeatureReader
from musicreclass.prediction.reading import FEW, Reading, read_all
from musicreclass.storage.store import Store
from tests.sounds import music, write

RATE = 8000


class Failing(Extractor):
    """Fails as the name of the recording says."""

    def __init__(self) -> None:
        self.columns, self.settings = ["a", "b"], {"version": 1}

    def extract(self, path: Path) -> np.ndarray:
        match path.stem.partition(" ")[0]:
            case "crash":
                os._exit(11)
            case "killed":
                time.sleep(0.2)
                os.kill(os.getpid(), 9)
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


@pytest.fixture
def songs(tmp_path: Path) -> list[Path]:
    """More files than are read by threads, with one of each fault among them."""
    names = [f"good {i}" for i in range(FEW)]
    for position, fault in enumerate(("crash", "killed", "raise", "exit", "nan", "short", "text")):
        names.insert(3 * position, fault)
    names.append("crash 2")
    for i, name in enumerate(names):
        write(tmp_path / f"{name}.wav", music(1.2, RATE, seed=i), RATE)
    return [tmp_path / f"{name}.wav" for name in names]


def read(paths: list[Path], tmp_path: Path, workers: int) -> dict[str, Reading]:
    readers = [FeatureReader("failing", Failing(), Store(tmp_path / "store"))]
    readings = list(read_all(readers, paths, workers))  # type: ignore[arg-type]
    assert len(readings) == len(paths)
    return {reading.path.stem: reading for reading in readings}


@pytest.mark.slow
def test_a_crash_is_the_error_of_one_recording(tmp_path, songs):
    readings = read(songs, tmp_path, workers=2)
    assert set(readings) == {path.stem for path in songs}
    for name, reading in readings.items():
        assert bool(reading.error) == (not name.startswith("good")), (name, reading.error)
        assert not reading.error or f"{name}.wav" in reading.error
        assert len(reading.error.splitlines()) <= 1
    assert not [path for path in songs if readings[path.stem].values and readings[path.stem].error]


def test_threads_report_a_failing_extractor_too(tmp_path, songs):
    paths = [path for path in songs if path.stem.partition(" ")[0] not in ("crash", "killed", "good")]
    readings = read(paths, tmp_path, workers=2)
    assert all(reading.error and name in reading.error for name, reading in readings.items())
