"""The format of recordings, where it tells the genre."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from musicreclass.data.format_check import MARK
from tests.library import RATE, opened

GENRES = ("blues", "jazz", "rock")


def write(path: Path, seed: int, number: int, plant: str) -> None:
    """Noise with a property of the format that depends on a number; low notes and quiet starts are in all."""
    rate = (8000, 11025, 16000)[number] if plant == "rate" else RATE
    random = np.random.default_rng(seed)
    time = np.arange(int(1.5 * rate)) / rate
    samples = 0.1 * random.standard_normal(len(time)) + 0.2 * np.sin(2 * np.pi * random.uniform(20, 60) * time)
    samples *= np.minimum(1, time / random.uniform(0.01, 0.3))
    if plant == "silence":
        samples[: int((0.05 + 0.2 * number) * rate)] = 0
    if plant == "offset":
        samples += 0.01 * number
    if plant == "length":
        samples = samples[: len(samples) * (7 + number) // 20]
    channels = 1 + (number > 0) if plant == "channels" else 1
    path.parent.mkdir(parents=True, exist_ok=True)
    subtype = ("PCM_16", "PCM_24", "FLOAT")[number] if plant == "depth" else "PCM_16"
    soundfile.write(path, np.column_stack([samples] * channels), rate, subtype)


@pytest.mark.parametrize("plant", ["rate", "channels", "depth", "silence", "offset", "length"])
def test_a_property_of_the_format_that_tells_the_genre_is_a_caution(here, plant):
    for g, genre in enumerate(GENRES):
        for i in range(14):
            write(here / "lib" / genre / f"a{i % 7}" / f"{i}.wav", 100 * g + i, g, plant)
    cautions = opened(here / "lib").protocol.cautions
    assert list(cautions) == [MARK]
    if plant not in ("silence", "offset"):
        assert MARK in opened(here / "lib", "data.cache=none").protocol.cautions


@pytest.mark.parametrize("plant", ["rate", "channels", "depth", "silence", "offset", "length"])
def test_a_property_of_the_format_that_does_not_is_none(here, plant):
    """It differs between artists, but not between genres."""
    random = np.random.default_rng(0)
    for g, genre in enumerate(GENRES):
        for artist in range(7):
            number = int(random.integers(3))
            for i in range(2):
                write(here / "lib" / genre / f"a{artist}" / f"{i}.wav", 100 * g + 10 * artist + i, number, plant)
    assert opened(here / "lib").protocol.cautions == {}
