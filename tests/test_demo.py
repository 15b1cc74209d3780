"""The project's own data: the same clips everywhere, in GTZAN's layout, hard enough to be worth classifying."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import soundfile

from musicreclass.data import demo
from musicreclass.features import fma518


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> demo.Demo:
    """One clip per artist."""
    data = demo.Demo(str(tmp_path_factory.mktemp("demo")), {"protocol": "auto"}, clips_per_artist=1)
    data.prepare_data()
    data.setup()
    return data


def test_layout_and_table(small):
    clips = sorted((small.folder / "Data" / "genres_original").glob("*/*.wav"))
    assert len(clips) == 6 * demo.ARTISTS
    assert clips[0].name == "ambient.00000.wav"
    assert small.classes == ["ambient", "chiptune", "drums", "metal", "techno", "waltz"]
    assert small.columns == list(fma518.COLUMNS)
    assert small.protocol.split == "grouped"
    assert small.protocol.leaky == "no"
    table = pd.read_csv(small.folder / "Data" / "features.csv")
    audio, rate = soundfile.read(clips[7])
    row = table[table.track_id == clips[7].name].iloc[0]
    assert (row.genre, rate, audio.ndim, len(audio)) == ("ambient", demo.RATE, 1, demo.SECONDS * demo.RATE)
    assert row[list(fma518.COLUMNS)].to_numpy(np.float32) == pytest.approx(
        fma518.compute(audio, rate), rel=1e-4, abs=1e-5
    )


def test_clips_are_always_the_same():
    assert np.array_equal(demo.clip("techno", 3, 1), demo.clip("techno", 3, 1))
    assert not np.array_equal(demo.clip("techno", 3, 1), demo.clip("techno", 3, 2))
    assert np.abs(demo.clip("metal", 0, 0)).max() <= 1


def test_a_build_that_breaks_leaves_nothing(tmp_path, monkeypatch):
    def broken(audio, rate):
        raise RuntimeError("power cut")

    monkeypatch.setattr(fma518, "compute", broken)
    with pytest.raises(RuntimeError):
        demo.build(tmp_path / "v", 1)
    assert list(tmp_path.iterdir()) == []
