"""Decoding: any crop equals the slice of the whole recording, and lengths are as stated."""

from __future__ import annotations

import os
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from musicreclass.data.audio import mp3
from musicreclass.data.audio.decoding import decode, examine, probe
from musicreclass.data.recording_lengths import examine_all
from musicreclass.storage.versions import files_digest
from tests.sounds import FORMATS, LOSSY, music, write


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000, 11127])
@pytest.mark.parametrize("ending", FORMATS)
def test_pitch_level_and_length_are_preserved(tmp_path, ending, rate):
    if (ending in ("mp3", "vbr.mp3") and rate == 11127) or (ending == "opus" and rate not in (8000, 16000, 48000)):
        pytest.skip("the format does not support this rate")
    seconds, hz, target = 2.5, 440.0, 22050
    tone = 0.25 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)
    for channels in (1, 2) if ending in LOSSY else (1, 2, 3):
        path = write(tmp_path / f"x{channels}.{ending}", np.stack([tone] * channels, 1), rate, **FORMATS[ending])
        assert probe(path, target) == examine(path, target) == pytest.approx(seconds * target, abs=2)
        samples = decode(path, target)
        assert samples.dtype == np.int16
        assert len(samples) == probe(path, target)
        middle = samples[target // 2 : target // 2 + target] / 32768
        spectrum = np.abs(np.fft.rfft(middle * np.hanning(target)))
        assert spectrum.argmax() == hz
        assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.25 / np.sqrt(2), rel=0.05 if ending in LOSSY else 0.001)


def test_channels_are_averaged_and_clipped(tmp_path):
    left, right, third = (np.full(1000, v) for v in (0.5, -0.25, 0.125))
    for channels, mean in (((left,), 0.5), ((left, right), 0.125), ((left, right, third), 0.125)):
        path = write(tmp_path / "x.wav", np.stack(channels, 1), 16000)
        os.utime(path, ns=(len(channels), len(channels)))  # as it may be written within one tick of the clock
        assert (decode(path, 16000) == round(mean * 32768)).all()
    loud = write(tmp_path / "loud.wav", np.array([1.5, -1.5, 1.0, -1.0] * 1000), 16000, subtype="FLOAT")
    assert decode(loud, 16000)[:4].tolist() == [32767, -32768, 32767, -32768]
    exact = np.arange(-32768, 32768).astype(np.int16)
    assert (decode(write(tmp_path / "exact.wav", exact, 16000), 16000) == exact).all()


@pytest.mark.parametrize("target", [8000, 16000, 22050, 44100, 48000, 11127])
@pytest.mark.parametrize("rate", [8000, 22050, 44100])
def test_blocks_equal_the_whole_signal_resampled(tmp_path, rate, target):
    """Blocks differ from a single resampling only by rounding to 16 bits, at their seams too.

    Between rates without a common divisor the phase of soxr drifts by about as much over a long signal.
    """
    samples = music(25.3, rate).astype(np.float32)
    path = write(tmp_path / "x.wav", samples, rate, subtype="FLOAT")
    expected = soxr.resample(samples, rate, target, quality="HQ") if rate != target else samples
    blocks = decode(path, target)
    n = min(len(expected), len(blocks))
    assert abs(len(expected) - len(blocks)) <= 1
    assert (
        np.abs(blocks[:n] / 32768 - np.clip(expected[:n], -1, 32767 / 32768)).max()
        < (1.5 if target == 11127 else 0.65) / 32768
    )


@settings(max_examples=25)
@given(data=st.data())
def test_a_crop_equals_the_slice_of_the_whole(recordings, data):
    path = data.draw(st.sampled_from(recordings))
    target = data.draw(st.sampled_from([8000, 16000, 22050, 44100]))
    n = probe(path, target)
    start = data.draw(
        st.integers(0, n) | st.sampled_from([10 * target - 1, 10 * target, 30 * target - 1, 30 * target, n])
    )
    stop = data.draw(st.integers(start, n) | st.integers(start, min(n, start + 6 * target)))
    assert np.array_equal(decode(path, target, start, stop), decode_cached(path, target)[start:stop])


@cache
def decode_cached(path: Path, target: int) -> np.ndarray:
    return decode(path, target)


@pytest.mark.parametrize("seconds", [0.3, 9.99, 10.0, 10.003, 11.0, 11.001, 30.003, 41.0])
def test_lengths_around_the_ends_of_blocks_and_stretches(tmp_path, seconds):
    path = write(tmp_path / "x.mp3", music(seconds, 16000), 16000)
    for target in (8000, 16000):
        samples = decode(path, target)
        n = len(samples)
        assert n == probe(path, target) == examine(path, target) == round(seconds * target)
        for start in (0, n // 3, max(0, n - 3 * target), n - 1, n):
            for stop in (n, start, min(n, start + target)):
                assert np.array_equal(decode(path, target, start, stop), samples[start:stop])


def test_a_part_out_of_range_is_rejected(recordings):
    n = probe(recordings[0], 16000)
    for start, stop in ((-1, 5), (5, 4), (0, n + 1)):
        with pytest.raises(ValueError, match=str(n)):
            decode(recordings[0], 16000, start, stop)


def test_seeking_at_a_low_bit_rate_equals_sequential_decoding(recordings, capfd):
    """If frames borrow bits from earlier ones, libmpg123 mutes the first frames after a seek and warns on stderr."""
    path = next(p for p in recordings if p.name.endswith("vbr.mp3"))
    sequential, rate = soundfile.read(path, dtype="float32", always_2d=True)
    capfd.readouterr()
    blocks = decode(path, rate) / 32768
    assert np.abs(blocks - np.clip(sequential.mean(axis=1), -1, 32767 / 32768)).max() < 1 / 32768
    assert capfd.readouterr().err == ""


def test_an_mp3_without_a_length_frame_has_its_true_length(tmp_path):
    """With libmpg123's estimate, a stream that begins loud would lose most of its length, and one after a cover picture would
    appear truncated."""
    for name, options in (("constant", {"bitrate_mode": "CONSTANT"}), ("variable", {"bitrate_mode": "VARIABLE"})):
        samples = music(20, 44100, 2) * np.linspace(1, 0.0, 20 * 44100)[:, None] ** 4
        path = write(tmp_path / f"{name}.mp3", samples, 44100, **options)
        data = path.read_bytes()
        first = mp3.find_first_frame(path)
        assert first is not None
        assert first.states_length
        assert mp3.scan_frames(path, first).contiguous
        size = mp3.frame_size(first.header[1], first.header[2])[0]
        bare = tmp_path / f"{name}-bare.mp3"
        picture = 200_000
        tag = b"ID3\x04\0\0" + bytes([0, picture >> 14, picture >> 7 & 127, picture & 127]) + bytes(picture)
        bare.write_bytes(tag + data[first.at + size :] + b"TAG" + bytes(125))
        assert examine(bare, 44100) == pytest.approx(20 * 44100, abs=3000)
        assert bare.stat().st_size > path.stat().st_size
        a, b = decode(path, 44100).astype(float), decode(bare, 44100).astype(float)
        shift = np.argmax(np.correlate(b[40_000:60_000], a[42_000:58_000])) - 2000
        assert 0 < shift < 3000  # the removed frame states the encoder's padding
        assert np.corrcoef(a[:-9000], b[shift : shift + len(a) - 9000])[0, 1] > 0.9999
        assert np.array_equal(decode(bare, 16000, 165_000, 170_000), decode(bare, 16000)[165_000:170_000])


def test_file_names_need_not_be_ascii(tmp_path):
    samples = music(3, 22050)
    for name in ("Žižek ☃ пісня 歌.mp3", "a b'c\"$.wav"):
        assert examine(write(tmp_path / name, samples, 22050), 22050) == 3 * 22050
    raw = os.fsencode(tmp_path) + b"/latin-\xe9.wav"
    shutil.copy(tmp_path / "a b'c\"$.wav", raw)
    assert len(decode(Path(os.fsdecode(raw)), 22050)) == 3 * 22050
    assert len(files_digest([Path(os.fsdecode(raw))])) == 64


def test_real_mp3s_decode_completely_and_in_parts(real_data):
    paths = sorted((real_data / "FMA" / "Data" / "fma_medium").rglob("*.mp3"))
    rng = np.random.default_rng(0)
    for path in paths[:5]:
        samples = decode(path, 22050)
        assert len(samples) == probe(path, 22050) == pytest.approx(30 * 22050, rel=0.01)
        sequential, rate = soundfile.read(path, dtype="float32", always_2d=True)
        expected = soxr.resample(sequential.mean(axis=1), rate, 22050, quality="HQ")
        assert np.abs(samples / 32768 - np.clip(expected, -1, 32767 / 32768))[: len(expected)].max() < 0.65 / 32768
        for start in rng.integers(0, len(samples) - 5 * 22050, 5).tolist():
            assert np.array_equal(decode(path, 22050, start, start + 5 * 22050), samples[start : start + 5 * 22050])
    assert examine_all(paths, 16000)[1] == {}
