"""Novelty: what is unlike the training tracks is detected, with every kind of classifier, before and after it was saved."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.signal import lfilter

from musicreclass.classifiers.factory import load
from musicreclass.classifiers.novelty import FALSE_ALARMS, FILE, Novelty, is_silent
from musicreclass.data.audio.decoding import decode
from musicreclass.errors import RunError
from musicreclass.models.frontend import ClipDescription
from musicreclass.runs.folder import Run
from tests.conftest import MODELS, sum_again
from tests.library import RATE

rows = arrays(np.float32, st.tuples(st.integers(1, 30), st.integers(1, 12)), elements=st.floats(-(2.0**99), 2.0**99, width=32) | st.sampled_from([0.0, np.nan, np.inf]))  # fmt: skip


@given(rows, st.data())
def test_any_table_has_a_novelty(train, data):
    valid = data.draw(arrays(np.float32, (5, train.shape[1]), elements=st.floats(-(2.0**20), 2.0**20, width=32)))
    novelty = Novelty.fit(train, valid)
    distance = novelty.distance(valid)
    assert np.isfinite(distance).all()
    assert len(novelty.reasons(train)) == len(train)
    assert all(np.isfinite(value).all() for value in novelty.__dict__.values())


@pytest.mark.parametrize(("n", "width"), [(2000, 6), (60, 300), (1500, 1200)])
def test_false_alarms_are_as_many_as_intended_and_other_rows_are_found(n, width):
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(8, width))
    train, valid, new = (rng.normal(size=(m, 8)) @ mix + 0.1 * rng.normal(size=(m, width)) for m in (n, 1000, 2000))
    novelty = Novelty.fit(train, valid)
    assert (novelty.distance(new) > novelty.threshold).mean() == pytest.approx(FALSE_ALARMS, abs=0.02)
    assert novelty.rejected == pytest.approx(FALSE_ALARMS, abs=0.002)
    other = rng.normal(size=(200, width)) * train.std(0)  # the same ranges, without the correlations
    if width > 8:
        assert (novelty.distance(other) > novelty.threshold).mean() > 0.95
    assert (novelty.distance(new + 20 * train.std(0)) > novelty.threshold).all()


def test_missing_and_infinite_values():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 10)).astype(np.float32)
    x[rng.random(x.shape) < 0.05] = np.nan
    novelty = Novelty.fit(x[:400], x[400:])
    empty, infinite, one_missing = np.full((1, 10), np.nan), np.zeros((1, 10)), np.zeros((1, 10))
    infinite[0, 0], one_missing[0, 0] = np.inf, np.nan
    assert [reason is None for reason in novelty.reasons(np.concatenate([empty, infinite, one_missing]))] == [
        False,
        False,
        True,
    ]
    assert "10 of 10" in str(novelty.reasons(empty)[0])


@pytest.mark.parametrize("model", MODELS)
def test_every_model_over_a_table_saves_it(finished_run, model):
    opened = finished_run(model)
    classifier = opened.classifier()
    assert classifier.novelty is not None
    assert opened.provenance["novelty"]["validation"] == opened.metrics["valid"]["n"]
    x = np.zeros((2, 6), np.float32)
    x[1] = 100
    reasons = classifier.unlike(x)
    assert reasons[0] is None
    assert reasons[1] is not None


def test_a_network_over_clips(clip_run):
    classifier = Run.open(clip_run).classifier()
    time = np.arange(round(0.75 * RATE)) / RATE
    rng = np.random.default_rng(0)
    like = 0.3 * np.sin(2 * np.pi * 910 * time) + 0.05 * rng.normal(size=len(time))
    clips = np.stack([like, np.zeros_like(like), 1e-5 * like, 0.5 * rng.normal(size=len(time))]).astype(np.float32)
    reasons = classifier.unlike(clips)
    assert [reason is None for reason in reasons] == [True, False, False, False]
    assert "silent" in str(reasons[1])
    as_crops = (clips * 32767).clip(-32768, 32767).astype(np.int16)[:, None]
    assert [reason is None for reason in classifier.unlike(as_crops)] == [True, False, False, False]


def test_silence():
    x = np.zeros((3, 2, 4), np.int16)
    x[1, 0, 0], x[2, 1, 1] = 3, -4
    assert is_silent(x).tolist() == [True, True, False]
    assert is_silent(np.array([[0, -0.5], [0, 9e-5]])).tolist() == [False, True]


def test_a_run_of_an_older_version_has_none(finished_run):
    model = finished_run("logreg").folder / "model"
    (model / FILE).unlink()
    sum_again(model)
    classifier = load(model)
    assert classifier.novelty is None
    assert classifier.unlike(np.full((2, 6), 1e6, np.float32)) == [None, None]


def damaged(novelty: Novelty) -> dict[str, object]:
    return {
        "width": replace(novelty, mean=novelty.mean[1:], scale=novelty.scale[1:], offset=novelty.offset[1:], components=novelty.components[:, 1:]),
        "size": replace(novelty, weight=novelty.weight[1:]),
        "shape": replace(novelty, mean=novelty.mean[None]),
        "scale": replace(novelty, scale=0 * novelty.scale),
        "nan": replace(novelty, threshold=np.nan),
        "infinite": replace(novelty, rest=np.inf),
    }  # fmt: skip


@pytest.mark.parametrize(
    "how", ["width", "size", "shape", "scale", "nan", "infinite", "cut", "pickle", "compressed", "more"]
)
def test_a_damaged_file_is_reported_in_one_line(finished_run, how):
    model = finished_run("logreg").folder / "model"
    path, novelty = model / FILE, Novelty.load(model)
    assert novelty is not None
    if how == "cut":
        path.write_bytes(path.read_bytes()[:100])
    elif how == "pickle":
        np.savez(path, mean=np.array([{}]))
    elif how == "compressed":
        np.savez_compressed(path, **{name: np.float32(value) for name, value in novelty.__dict__.items()})
    elif how == "more":
        np.savez(path, another=np.zeros(3), **{name: np.float32(value) for name, value in novelty.__dict__.items()})
    else:
        damaged(novelty)[how].save(model)
    for several in (False, True):
        if several:
            sum_again(model)
        with pytest.raises(RunError) as caught:
            load(model)
        assert (caught.value.kind, caught.value.problems[0].key) == ("damaged_model", str(path))
        assert "\n" not in str(caught.value)


def test_saving_changes_nothing(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 20)).astype(np.float32)
    novelty = Novelty.fit(x[:200], x[200:])
    novelty.save(tmp_path)
    again = Novelty.load(tmp_path)
    assert again is not None
    assert np.allclose(again.distance(x), novelty.distance(x), rtol=1e-6)
    assert again.threshold == pytest.approx(novelty.threshold)
    assert json.dumps(again.as_dict())


@pytest.mark.parametrize("count", [1, 2, 6, 20])
def test_the_validation_row_that_sets_the_threshold_is_like_the_training_rows(tmp_path, count):
    """Also after saving in single precision, and if it is computed alone."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(60 + count, 200)).astype(np.float32)
        Novelty.fit(x[:60], x[60:]).save(tmp_path)
        novelty = Novelty.load(tmp_path)
        assert novelty is not None
        assert [novelty.reasons(row[None]) for row in x[60:]] == [[None]] * count


def speech(rng: np.random.Generator, seconds: float, rate: int) -> np.ndarray:
    """Syllables of vowels (pulses through three formants) and noise, with pauses."""
    parts: list[np.ndarray] = []
    while sum(map(len, parts)) < seconds * rate:
        n, kind = int(rate * rng.uniform(0.08, 0.25)), rng.random()
        samples = (
            rng.normal(size=n) * 0.1
            if kind < 0.3
            else np.diff(np.floor(np.cumsum(np.full(n, rng.uniform(85, 220) / rate))), prepend=0)
        )
        for formant in (rng.uniform(300, 750), rng.uniform(900, 2200), 2500) if kind >= 0.3 else ():
            samples = lfilter([0.1], [1, -2 * 0.97 * np.cos(2 * np.pi * formant / rate), 0.97**2], samples)
        parts.append(np.zeros(n) if kind < 0.15 else np.hanning(n) * samples / (np.abs(samples).max() + 1e-9))
    return 0.5 * np.concatenate(parts)[: int(seconds * rate)]  # fmt: skip


def test_speech_noise_tones_and_silence_are_unlike_real_music(real_data):
    rate, seconds = 22050, 2.0
    files = sorted((real_data / "GTZAN_excerpts/Data/genres_original").glob("*/*.wav"))
    clips = np.stack([np.resize(decode(path, rate), int(rate * seconds)) for path in files])
    rng = np.random.default_rng(0)
    time = np.arange(clips.shape[1]) / rate
    sounds = {
        "speech": [speech(rng, seconds, rate) for _ in range(20)],
        "noise": [rng.uniform(0.05, 0.3) * rng.normal(size=len(time)) for _ in range(20)],
        "tone": [0.5 * np.sin(2 * np.pi * rng.uniform(100, 3000) * time) for _ in range(20)],
    }
    describe = ClipDescription(rate)
    music = describe(torch.from_numpy(clips)).numpy()
    order = np.random.default_rng(0).permutation(len(music))
    train, valid, new = (music[rows] for rows in np.split(order, [len(order) * 3 // 5, len(order) * 4 // 5]))
    novelty = Novelty.fit(train, valid)
    assert (novelty.distance(new) > novelty.threshold).mean() < 0.15
    for name, waveforms in sounds.items():
        x = describe(torch.from_numpy(np.stack(waveforms).clip(-1, 1).astype(np.float32))).numpy()
        if name != "noise":  # stationary noise is only as far away as the most unusual tenth of the music
            assert (novelty.distance(x) > novelty.threshold).mean() > 0.9, name
        assert (novelty.distance(x)[:, None] > novelty.distance(new)).mean() > 0.85, name
