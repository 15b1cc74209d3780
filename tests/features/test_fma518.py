"""The 518 features: their names and order, and the five corrections without which librosa gives other values."""

from __future__ import annotations

import librosa
import numpy as np
import pytest

from musicreclass.features import fma518

RATE = 44100


@pytest.fixture(scope="module")
def audio() -> np.ndarray:
    """Three seconds with pitch, noise and a beat."""
    t = np.arange(3 * RATE) / RATE
    rng = np.random.default_rng(0)
    tune = np.sin(2 * np.pi * 220 * t) + 0.5 * np.sin(2 * np.pi * 329.6 * t) * (t > 1)
    return 0.3 * (tune + 0.2 * rng.standard_normal(len(t)) * (np.sin(2 * np.pi * 2 * t) > 0))


@pytest.fixture(scope="module")
def found(audio) -> dict[str, np.ndarray]:
    return fma518.series(audio, RATE)


def test_columns_are_the_published_ones_in_the_published_order():
    assert len(fma518.COLUMNS) == len(set(fma518.COLUMNS)) == 518
    assert sum(fma518.SERIES.values()) == 74
    assert list(fma518.SERIES) == sorted(fma518.SERIES)
    assert list(fma518.STATISTICS) == sorted(fma518.STATISTICS)
    assert fma518.COLUMNS[0] == "chroma_cens_kurtosis_01"
    assert fma518.COLUMNS[-1] == "zcr_std_01"
    assert fma518.COLUMNS.index("mfcc_mean_01") == 3 * 84 + 2 * 20


def test_a_row_is_the_statistics_of_the_series(audio, found):
    row = dict(zip(fma518.COLUMNS, fma518.compute(audio, RATE), strict=True))
    assert all(values.shape[0] == fma518.SERIES[name] for name, values in found.items())
    assert row["mfcc_mean_02"] == pytest.approx(found["mfcc"][1].mean(), rel=1e-5)
    assert row["zcr_max_01"] == pytest.approx(found["zcr"].max(), rel=1e-5)
    assert row["tonnetz_std_06"] == pytest.approx(found["tonnetz"][5].std(), rel=1e-4)


def test_a_rmse_is_over_bins(audio, found):
    spectrum = np.abs(librosa.stft(audio, n_fft=2048, hop_length=512, pad_mode="reflect"))
    assert found["rmse"][0] == pytest.approx(np.sqrt((spectrum**2).mean(0)), rel=1e-4)
    assert not np.allclose(found["rmse"], librosa.feature.rms(S=spectrum), rtol=0.1)


def test_b_chroma_folds_twelve_bins_an_octave(audio, found):
    """A pure A is pitch class A (9) under the right folding, and is not under librosa's default of 36 bins an octave."""
    t = np.arange(3 * RATE) / RATE
    pure = np.sin(2 * np.pi * 440 * t)
    right = fma518.series(pure, RATE)
    assert (right["chroma_cqt"].mean(1).argmax(), right["chroma_cens"].mean(1).argmax()) == (9, 9)
    cqt = np.abs(librosa.cqt(pure, sr=RATE, hop_length=512, n_bins=84, tuning=None))
    assert librosa.feature.chroma_cqt(C=cqt, n_chroma=12, n_octaves=7).mean(1).argmax() != 9


def test_c_some_features_take_every_file_for_22050_hertz(found):
    t = np.arange(3 * RATE) / RATE
    at = fma518.series(np.sin(2 * np.pi * 1000 * t), RATE)
    middle = at["spectral_centroid"][0, 20:-20].mean()
    assert middle == pytest.approx(500, rel=0.02)  # 1000 Hz, had the rate been taken as it is
    assert at["chroma_cqt"].mean(1).argmax() == 11  # the constant-Q features take it as it is: 1000 Hz is a B
    assert at["mfcc"].shape == found["mfcc"].shape


def test_d_transforms_pad_by_reflection():
    """A constant signal, reflected, stays constant to its ends; padded with zeros it would fade out there."""
    found = fma518.series(np.ones(3 * RATE) * 0.5, RATE)
    assert found["rmse"][0, 0] == pytest.approx(found["rmse"][0, 100], rel=1e-6)
    zeros = np.abs(librosa.stft(np.ones(3 * RATE) * 0.5, n_fft=2048, hop_length=512))
    assert np.sqrt((zeros**2).mean(0))[0] < 0.8 * found["rmse"][0, 0]


def test_e_constant_series_have_skew_0_and_kurtosis_minus_3():
    summary = dict(zip(fma518.STATISTICS, fma518.summarise(np.full((1, 50), 0.25))[:, 0], strict=True))
    assert (summary["skew"], summary["kurtosis"], summary["std"]) == (0, -3, 0)
    assert np.isfinite(fma518.compute(np.zeros(3 * RATE), RATE)).all()


def test_statistics_are_biased_skew_and_fisher_kurtosis():
    values = np.array([[0.0, 0.0, 0.0, 4.0]])
    summary = dict(zip(fma518.STATISTICS, fma518.summarise(values)[:, 0], strict=True))
    assert summary["skew"] == pytest.approx(1.1547005)
    assert summary["kurtosis"] == pytest.approx(-2 / 3)
    assert (summary["median"], summary["mean"], summary["min"], summary["max"]) == (0, 1, 0, 4)


def test_short_or_stereo_audio_is_refused():
    with pytest.raises(ValueError, match=r"1\.0 s of audio is too short: the features need 2\.0 s"):
        fma518.compute(np.zeros(RATE), RATE)
    with pytest.raises(ValueError, match="mono audio is needed"):
        fma518.compute(np.zeros((2, 3 * RATE)), RATE)


def test_real_music_gives_finite_values(real_data):
    import soundfile

    audio, rate = soundfile.read(next((real_data / "GTZAN_excerpts/Data/genres_original/jazz").glob("*.wav")))
    assert np.isfinite(fma518.compute(audio if len(audio) >= 2 * rate else np.tile(audio, 2), rate)).all()
