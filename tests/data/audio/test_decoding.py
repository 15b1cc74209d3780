"""Decoding: any crop is the slice of the whole, and what is read is what was promised."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musicreclass.data.audio import mp3
from musicreclass.data.audio.decoding import examine, probe, read
from musicreclass.data.waveform_store import examine_all, stamps
from tests.sounds import FORMATS, LOSSY, music, write


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000, 11127])
@pytest.mark.parametrize("ending", FORMATS)
def test_a_tone_keeps_pitch_level_and_length(tmp_path, ending, rate):
    if (ending in ("mp3", "vbr.mp3") and rate == 11127) or (ending == "opus" and rate not in (8000, 16000, 48000)):
        pytest.skip("the format has no such rate")
    seconds, hz, target = 2.5, 440.0, 22050
    tone = 0.25 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)
    for channels in (1, 2) if ending in LOSSY else (1, 2, 3):
        path = write(tmp_path / f"x{channels}.{ending}", np.stack([tone] * channels, 1), rate, **FORMATS[ending])
        assert probe(path, target) == examine(path, target) == pytest.approx(seconds * target, abs=2)
        sound = read(path, target)
        assert sound.dtype == np.int16
        assert len(sound) == probe(path, target)
        middle = sound[target // 2 : target // 2 + target] / 32768
        spectrum = np.abs(np.fft.rfft(middle * np.hanning(target)))
        assert spectrum.argmax() == hz
        assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.25 / np.sqrt(2), rel=0.05 if ending in LOSSY else 0.001)


def test_channels_are_averaged_and_loud_ones_clipped(tmp_path):
    left, right, third = (np.full(1000, v) for v in (0.5, -0.25, 0.125))
    for channels, mean in (((left,), 0.5), ((left, right), 0.125), ((left, right, third), 0.125)):
        path = write(tmp_path / "x.wav", np.stack(channels, 1), 16000)
        os.utime(path, ns=(len(channels), len(channels)))  # written within one tick of the clock
        assert (read(path, 16000) == round(mean * 32768)).all()
    loud = write(tmp_path / "loud.wav", np.array([1.5, -1.5, 1.0, -1.0] * 1000), 16000, subtype="FLOAT")
    assert read(loud, 16000)[:4].tolist() == [32767, -32768, 32767, -32768]
    exact = np.arange(-32768, 32768).astype(np.int16)
    assert (read(write(tmp_path / "exact.wav", exact, 16000), 16000) == exact).all()


@pytest.mark.parametrize("target", [8000, 16000, 22050, 44100, 48000, 11127])
@pytest.mark.parametrize("rate", [8000, 22050, 44100])
def test_blocks_are_the_whole_signal_resampled(tmp_path, rate, target):
    """At seams as elsewhere, what differs from one resampling of everything is the rounding to 16 bits.

    Between rates without a common divisor soxr's own phase drifts by about as much over a long signal.
    """
    sound = music(25.3, rate).astype(np.float32)
    path = write(tmp_path / "x.wav", sound, rate, subtype="FLOAT")
    whole = soxr.resample(sound, rate, target, quality="HQ") if rate != target else sound
    blocks = read(path, target)
    n = min(len(whole), len(blocks))
    assert abs(len(whole) - len(blocks)) <= 1
    assert (
        np.abs(blocks[:n] / 32768 - np.clip(whole[:n], -1, 32767 / 32768)).max()
        < (1.5 if target == 11127 else 0.65) / 32768
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_crop_is_the_slice_of_the_whole(recordings, data):
    path = data.draw(st.sampled_from(recordings))
    target = data.draw(st.sampled_from([8000, 16000, 22050, 44100]))
    n = probe(path, target)
    start = data.draw(
        st.integers(0, n) | st.sampled_from([10 * target - 1, 10 * target, 30 * target - 1, 30 * target, n])
    )
    stop = data.draw(st.integers(start, n) | st.integers(start, min(n, start + 6 * target)))
    assert np.array_equal(read(path, target, start, stop), whole(path, target)[start:stop])


WHOLE: dict[tuple[Path, int], np.ndarray] = {}


def whole(path: Path, target: int) -> np.ndarray:
    if (path, target) not in WHOLE:
        WHOLE[path, target] = read(path, target)
    return WHOLE[path, target]


@pytest.mark.parametrize("seconds", [0.3, 9.99, 10.0, 10.003, 11.0, 11.001, 30.003, 41.0])
def test_where_blocks_and_stretches_end(tmp_path, seconds):
    path = write(tmp_path / "x.mp3", music(seconds, 16000), 16000)
    for target in (8000, 16000):
        sound = read(path, target)
        n = len(sound)
        assert n == probe(path, target) == examine(path, target) == round(seconds * target)
        for start in (0, n // 3, max(0, n - 3 * target), n - 1, n):
            for stop in (n, start, min(n, start + target)):
                assert np.array_equal(read(path, target, start, stop), sound[start:stop])


def test_a_part_that_is_not_there_is_refused(recordings):
    n = probe(recordings[0], 16000)
    for start, stop in ((-1, 5), (5, 4), (0, n + 1)):
        with pytest.raises(ValueError, match=f"it has {n}"):
            read(recordings[0], 16000, start, stop)


def test_a_seek_into_a_low_bit_rate_is_as_good_as_reading_on(recordings, capfd):
    """Where frames lend each other bits, libmpg123 mutes the first ones after a seek and says so on stderr."""
    path = next(p for p in recordings if p.name.endswith("vbr.mp3"))
    straight, rate = soundfile.read(path, dtype="float32", always_2d=True)
    capfd.readouterr()
    blocks = read(path, rate) / 32768
    assert np.abs(blocks - np.clip(straight.mean(axis=1), -1, 32767 / 32768)).max() < 1 / 32768
    assert capfd.readouterr().err == ""


def test_an_mp3_without_a_header_frame_has_its_true_length(tmp_path):
    """libmpg123's guess would lose most of a stream that begins loud, or find one with a cover picture cut short."""
    for name, words in (("constant", {"bitrate_mode": "CONSTANT"}), ("variable", {"bitrate_mode": "VARIABLE"})):
        sound = music(20, 44100, 2) * np.linspace(1, 0.0, 20 * 44100)[:, None] ** 4
        path = write(tmp_path / f"{name}.mp3", sound, 44100, **words)
        data = path.read_bytes()
        begin = mp3.start(path)
        assert begin is not None
        assert begin.told
        assert mp3.walk(path, begin).whole
        first = mp3.frame(begin.head[1], begin.head[2])[0]
        bare = tmp_path / f"{name}-bare.mp3"
        picture = 200_000
        tag = b"ID3\x04\0\0" + bytes([0, picture >> 14, picture >> 7 & 127, picture & 127]) + bytes(picture)
        bare.write_bytes(tag + data[begin.at + first :] + b"TAG" + bytes(125))
        assert examine(bare, 44100) == pytest.approx(20 * 44100, abs=3000)
        assert bare.stat().st_size > path.stat().st_size
        a, b = read(path, 44100).astype(float), read(bare, 44100).astype(float)
        shift = np.argmax(np.correlate(b[40_000:60_000], a[42_000:58_000])) - 2000
        assert 0 < shift < 3000  # what an encoder adds ahead is told by the frame that is gone
        assert np.corrcoef(a[:-9000], b[shift : shift + len(a) - 9000])[0, 1] > 0.9999
        assert np.array_equal(read(bare, 16000, 165_000, 170_000), read(bare, 16000)[165_000:170_000])


def test_names_need_not_be_ascii(tmp_path):
    sound = music(3, 22050)
    for name in ("Žižek ☃ пісня 歌.mp3", "a b'c\"$.wav"):
        assert examine(write(tmp_path / name, sound, 22050), 22050) == 3 * 22050
    raw = os.fsencode(tmp_path) + b"/latin-\xe9.wav"
    shutil.copy(tmp_path / "a b'c\"$.wav", raw)
    assert len(read(Path(os.fsdecode(raw)), 22050)) == 3 * 22050
    assert len(stamps([Path(os.fsdecode(raw))])) == 64


def test_real_mp3s_are_read_whole_and_in_parts(real_data):
    paths = sorted((real_data / "FMA" / "Data" / "fma_medium").rglob("*.mp3"))
    rng = np.random.default_rng(0)
    for path in paths[:5]:
        sound = read(path, 22050)
        assert len(sound) == probe(path, 22050) == pytest.approx(30 * 22050, rel=0.01)
        straight, rate = soundfile.read(path, dtype="float32", always_2d=True)
        other = soxr.resample(straight.mean(axis=1), rate, 22050, quality="HQ")
        assert np.abs(sound / 32768 - np.clip(other, -1, 32767 / 32768))[: len(other)].max() < 0.65 / 32768
        for start in rng.integers(0, len(sound) - 5 * 22050, 5).tolist():
            assert np.array_equal(read(path, 22050, start, start + 5 * 22050), sound[start : start + 5 * 22050])
    assert examine_all(paths, 16000)[1] == {}
