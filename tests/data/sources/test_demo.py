"""The synthetic demo data: deterministic clips in GTZAN's layout, and their feature table."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from musicreclass.data.sources.demo import demo_clips
from musicreclass.data.sources.demo_synthesis import ARTISTS, RATE, SECONDS, synthesise_clip
from musicreclass.features.demo import Demo
from musicreclass.features.fma518 import extraction
from musicreclass.features.fma518.columns import COLUMNS


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Demo:
    """One clip per artist."""
    data = Demo(str(tmp_path_factory.mktemp("demo")), {"protocol": "auto"}, clips_per_artist=1)
    data.prepare_data()
    data.setup()
    return data


def test_layout_and_table(small):
    clips = sorted((demo_clips(small.root, 1) / "Data" / "genres_original").glob("*/*.wav"))
    assert len(clips) == 6 * ARTISTS
    assert clips[0].name == "ambient.00000.wav"
    assert small.classes == ["ambient", "chiptune", "drums", "metal", "techno", "waltz"]
    assert small.columns == list(COLUMNS)
    assert small.protocol.split == "grouped"
    assert small.protocol.leaky == "no"
    table = pd.read_csv(small.files()[0])
    audio, rate = soundfile.read(clips[7])
    row = table[table.track_id == clips[7].name].iloc[0]
    assert (row.genre, rate, audio.ndim, len(audio)) == ("ambient", RATE, 1, SECONDS * RATE)
    assert row[list(COLUMNS)].to_numpy(np.float32) == pytest.approx(extraction.extract(audio, rate), rel=1e-4, abs=1e-5)


def test_clips_are_deterministic():
    assert np.array_equal(synthesise_clip("techno", 3, 1), synthesise_clip("techno", 3, 1))
    assert not np.array_equal(synthesise_clip("techno", 3, 1), synthesise_clip("techno", 3, 2))
    assert np.abs(synthesise_clip("metal", 0, 0)).max() <= 1


def test_an_interrupted_build_is_resumed(small, tmp_path, monkeypatch):
    computed = []

    def cheap(audio, rate):
        return np.resize(audio[::1000], len(COLUMNS))

    def stop_later(audio, rate):
        computed.append(len(audio))
        if len(computed) == 5:
            raise RuntimeError("power cut")
        return cheap(audio, rate)

    uninterrupted, resumed = (
        Demo(str(tmp_path / name), {"protocol": "auto"}, clips_per_artist=1) for name in ("uninterrupted", "resumed")
    )
    for data in (uninterrupted, resumed):
        shutil.copytree(Path(small.root) / "clips", tmp_path / data.root / "clips")
    monkeypatch.setattr(extraction, "extract", cheap)
    uninterrupted.prepare_data()
    monkeypatch.setattr(extraction, "extract", stop_later)
    with pytest.raises(RuntimeError):
        resumed.prepare_data()
    resumed.prepare_data()
    assert len(computed) == 96 + 1  # only the one that failed is computed again
    assert resumed.files()[0].read_bytes() == uninterrupted.files()[0].read_bytes()
    assert not list((tmp_path / "resumed").rglob("*.npy"))
