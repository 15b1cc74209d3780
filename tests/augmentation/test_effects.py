"""Time stretch and pitch shift agree with librosa."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from musicreclass.augmentation.augmentation import value_grid
from musicreclass.augmentation.effects import frequency_ratio, stretch_and_shift
from musicreclass.augmentation.transforms import phase_vocoder
from tests.tensors import FEW_EXAMPLES, KEYS, SAMPLE_RATE, crops, make_augmentation, tone


def pitch_of(y: np.ndarray) -> float:
    """The strongest frequency, Hz."""
    spectrum = np.abs(np.fft.rfft(y * np.hanning(len(y)), 8 * len(y)))
    return float(np.fft.rfftfreq(8 * len(y), 1 / SAMPLE_RATE)[spectrum.argmax()])


def tremolo_rate(y: np.ndarray) -> float:
    """The strongest frequency of the loudness curve, Hz."""
    loudness = librosa.feature.rms(y=y, frame_length=1024, hop_length=64)[0]
    loudness = (loudness - loudness.mean()) * np.hanning(len(loudness))
    spectrum = np.abs(np.fft.rfft(loudness, 16 * len(loudness)))
    return float(np.fft.rfftfreq(16 * len(loudness), 64 / SAMPLE_RATE)[spectrum.argmax()])


@pytest.mark.parametrize("rate", [0.9, 1.1, 1.3])
def test_stretch_agrees_with_librosa(rate):
    x = tone(3)
    n = int(len(x) / rate)
    y = stretch_and_shift(torch.from_numpy(x)[None], rate, 0.0, n)[0].numpy()
    expected = librosa.effects.time_stretch(x, rate=rate)
    assert abs(len(expected) - n) <= 1
    assert np.abs(y[: n - 2048] - expected[: n - 2048]).max() < 0.02  # the ends are padded differently
    assert pitch_of(y) == pytest.approx(440, rel=0.002)
    assert tremolo_rate(y) == pytest.approx(4 * rate, rel=0.03)


@pytest.mark.parametrize("steps", [-2.0, -0.5, 1.0, 2.0])
def test_shift_agrees_with_librosa(steps):
    x = tone(2)
    y = stretch_and_shift(torch.from_numpy(x)[None], 1.0, steps, len(x))[0].numpy()
    expected = librosa.effects.pitch_shift(x, sr=SAMPLE_RATE, n_steps=steps)
    assert len(y) == len(expected)
    assert pitch_of(y) == pytest.approx(440 * 2 ** (steps / 12), rel=0.002)
    assert tremolo_rate(y) == pytest.approx(4, rel=0.03)
    centroid, expected_centroid = (librosa.feature.spectral_centroid(y=s, sr=SAMPLE_RATE).mean() for s in (y, expected))
    assert centroid == pytest.approx(expected_centroid, rel=0.01)
    assert y.std() == pytest.approx(expected.std(), rel=0.02)


def test_stretch_and_shift_together():
    y = stretch_and_shift(torch.from_numpy(tone(3))[None], 1.2, 3.0, 50000)[0].numpy()
    assert pitch_of(y) == pytest.approx(440 * 2**0.25, rel=0.002)
    assert tremolo_rate(y) == pytest.approx(4.8, rel=0.03)


def test_long_clips_keep_high_frequencies():
    """The vocoder accumulates phases over all frames in float32; the result is compared with float64."""
    samples = torch.sin(2 * torch.pi * 9000 / SAMPLE_RATE * torch.arange(33 * SAMPLE_RATE, dtype=torch.float64))
    window, advance = torch.hann_window(2048).double(), torch.arange(1025).double()[:, None] * (torch.pi / 2)
    frames = torch.stft(samples, 2048, 512, window=window, pad_mode="constant", return_complex=True)
    exact = torch.istft(phase_vocoder(frames, 1.1, advance), 2048, 512, window=window, length=30 * SAMPLE_RATE)
    y = stretch_and_shift(samples[None].float(), 1.1, 0.0, 30 * SAMPLE_RATE)[0]
    assert (y - exact)[:-2048].abs().max() < 0.002


@FEW_EXAMPLES
@given(
    n=st.integers(1, 9000),
    low=st.sampled_from([0.5, 0.8, 0.95]),
    high=st.sampled_from([1.0, 1.05, 1.3, 2.0]),
    steps=st.sampled_from([0, 1.5, 7]),
)
def test_crops_of_the_required_length_fill_the_clip(n, low, high, steps):
    """For any clip length, the last samples are not silent."""
    augmentation = make_augmentation(stretch_rate=[low, high], stretch_p=1, pitch_semitones=[-steps, steps], pitch_p=1)
    x = crops(4, int(n * augmentation.crop_factor))
    y = augmentation.waveform(x, KEYS[:4], n)
    assert y.shape == (4, n)
    assert torch.isfinite(y).all()
    assert n < 4000 or (y[:, -200:].std(1) > 0.02).all()


def test_frequency_ratios_are_within_two_cents():
    for semitones in np.arange(-24, 24.5, 0.5):
        assert 1200 * abs(np.log2(float(frequency_ratio(float(semitones)))) - semitones / 12) < 2
    assert frequency_ratio(12.0) == 2


def test_value_grid():
    assert value_grid([0.9, 1.1], 0.1, 1.0) == [0.9, 1.1]
    assert value_grid([0.93, 1.05], 0.05, 1.0) == [0.93, 0.98, 1.03]
    assert value_grid([1, 1], 0.1, 1.0) == []
    assert value_grid(None, 0.1, 1.0) == []
