"""Workers that die: their recordings are extracted by others, or the run ends with one error."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from musicreclass.errors import DataError
from musicreclass.features import extractors
from musicreclass.features.extractors import ExtractorPart
from musicreclass.features.feature_data import FeatureData
from tests.conftest import written_at
from tests.features.test_feature_data import source_of, write_music

pytestmark = pytest.mark.slow  # processes take 8 s to start

DEADLY = """
import os
import signal
from pathlib import Path

import numpy as np
from musicreclass.features.extractors import Extractor


class Deadly(Extractor):
    columns, settings = ["a"], {"version": 1}

    def __init__(self, deaths, folder):
        self.deaths, self.folder = deaths, folder

    def extract(self, path):
        if path.parts[-2:] == ("jazz", "5.wav"):  # one file, so that two processes never count one death
            deaths = len(list(Path(self.folder).glob("died-*")))
            if deaths < self.deaths:
                Path(self.folder, f"died-{deaths}").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return np.array([path.stat().st_size])
"""


@pytest.fixture
def extract(here: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    """A table of recordings of which one kills its process, as often as is requested."""
    monkeypatch.setattr(extractors, "ALONE_SECONDS", 0.0)
    monkeypatch.syspath_prepend(str(here))
    module = f"deadly_{abs(hash(request.node.name))}"
    (here / f"{module}.py").write_text(DEADLY)
    music = write_music(here / "music", 6)

    def compute(deaths: int) -> np.ndarray:
        extractor = __import__(module).Deadly(deaths, str(here))
        data = FeatureData(source_of(music, here, workers=2), {"x": ExtractorPart(extractor)})
        data.setup()
        return data.x

    return compute


def test_the_recordings_of_a_process_that_died_are_extracted_by_others(here, extract):
    assert extract(1).shape == (18, 1)
    assert len(list(here.glob("died-*"))) == 1


def test_a_recording_that_always_kills_its_process_is_one_error(here, extract):
    with pytest.raises(DataError) as caught:
        extract(100)
    assert caught.value.kind == "worker_died"
    assert len(list(here.glob("died-*"))) == 4
    stored = {Path(name).stem for name in written_at(here / "cache/vectors", "*.npy")}
    assert stored  # what was finished
    assert sha256(Path(caught.value.key).read_bytes()).hexdigest() not in stored
    assert sha256((here / "music/jazz/5.wav").read_bytes()).hexdigest() not in stored
