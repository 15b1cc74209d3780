"""The 518 features: their names and order, and the five corrections to librosa."""

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
def series(audio) -> dict[str, np.ndarray]:
    return fma518.compute_series(audio, RATE)


def test_columns_are_as_published():
    assert len(fma518.COLUMNS) == len(set(fma518.COLUMNS)) == 518
    assert sum(fma518.SERIES.values()) == 74
    assert list(fma518.SERIES) == sorted(fma518.SERIES)
    assert list(fma518.STATISTICS) == sorted(fma518.STATISTICS)
    assert fma518.COLUMNS[0] == "chroma_cens_kurtosis_01"
    assert fma518.COLUMNS[-1] == "zcr_std_01"
    assert fma518.COLUMNS.index("mfcc_mean_01") == 3 * 84 + 2 * 20


def test_a_row_contains_the_statistics_of_the_series(audio, series):
    row = dict(zip(fma518.COLUMNS, fma518.compute(audio, RATE), strict=True))
    assert all(values.shape[0] == fma518.SERIES[name] for name, values in series.items())
    assert row["mfcc_mean_02"] == pytest.approx(series["mfcc"][1].mean(), rel=1e-5)
    assert row["zcr_max_01"] == pytest.approx(series["zcr"].max(), rel=1e-5)
    assert row["tonnetz_std_06"] == pytest.approx(series["tonnetz"][5].std(), rel=1e-4)


def test_a_rmse_is_over_bins(audio, series):
    spectrum = np.abs(librosa.stft(audio, n_fft=2048, hop_length=512, pad_mode="reflect"))
    assert series["rmse"][0] == pytest.approx(np.sqrt((spectrum**2).mean(0)), rel=1e-4)
    assert not np.allclose(series["rmse"], librosa.feature.rms(S=spectrum), rtol=0.1)


def test_b_chroma_folds_twelve_bins_per_octave(audio, series):
    """A pure A has pitch class 9 with 12 bins per octave, but not with librosa's default of 36."""
    t = np.arange(3 * RATE) / RATE
    pure = np.sin(2 * np.pi * 440 * t)
    folded = fma518.compute_series(pure, RATE)
    assert (folded["chroma_cqt"].mean(1).argmax(), folded["chroma_cens"].mean(1).argmax()) == (9, 9)
    cqt = np.abs(librosa.cqt(pure, sr=RATE, hop_length=512, n_bins=84, tuning=None))
    assert librosa.feature.chroma_cqt(C=cqt, n_chroma=12, n_octaves=7).mean(1).argmax() != 9


def test_c_some_features_assume_22050_hertz(series):
    t = np.arange(3 * RATE) / RATE
    tone = fma518.compute_series(np.sin(2 * np.pi * 1000 * t), RATE)
    middle = tone["spectral_centroid"][0, 20:-20].mean()
    assert middle == pytest.approx(500, rel=0.02)  # 1000 Hz at the true rate
    assert tone["chroma_cqt"].mean(1).argmax() == 11  # the constant-Q features use the true rate: 1000 Hz is a B
    assert tone["mfcc"].shape == series["mfcc"].shape


def test_d_transforms_pad_by_reflection():
    """With reflection a constant signal stays constant to its ends; with zero padding it would fade out."""
    constant = fma518.compute_series(np.ones(3 * RATE) * 0.5, RATE)
    assert constant["rmse"][0, 0] == pytest.approx(constant["rmse"][0, 100], rel=1e-6)
    zeros = np.abs(librosa.stft(np.ones(3 * RATE) * 0.5, n_fft=2048, hop_length=512))
    assert np.sqrt((zeros**2).mean(0))[0] < 0.8 * constant["rmse"][0, 0]


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


def test_short_or_stereo_audio_is_rejected():
    with pytest.raises(ValueError, match=r"\b2\.0 s"):
        fma518.compute(np.zeros(RATE), RATE)
    with pytest.raises(ValueError, match="mono"):
        fma518.compute(np.zeros((2, 3 * RATE)), RATE)


def test_real_music_gives_finite_values(real_data):
    import soundfile

    audio, rate = soundfile.read(next((real_data / "GTZAN_excerpts/Data/genres_original/jazz").glob("*.wav")))
    assert np.isfinite(fma518.compute(audio if len(audio) >= 2 * rate else np.tile(audio, 2), rate)).all()
