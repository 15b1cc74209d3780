"""The 518 features of the FMA dataset (Defferrard et al., ISMIR 2017), computed like the published table.

74 time series per track (chroma, tonnetz, MFCC, spectral shape, energy, zero crossings), each summarised by seven statistics.
Current librosa reproduces the published values only with five corrections, marked (a) to (e) below.
"""

from __future__ import annotations

import warnings
from itertools import product

import librosa
import numpy as np
from scipy import stats

from musicreclass.data.sources.fma_columns import SERIES

WINDOW = 2048
HOP = 512
FMA_RATE = 22050  # (c) the published table assumes this rate for some features, regardless of the file's rate

STATISTICS = ("kurtosis", "max", "mean", "median", "min", "skew", "std")
COLUMNS = tuple(
    f"{series}_{statistic}_{number:02d}"
    for series, size in SERIES.items()
    for statistic, number in product(STATISTICS, range(1, size + 1))
)
MIN_SECONDS = 2.0  # below this, the lowest constant-Q filters cover most of the clip


def compute(audio: np.ndarray, rate: int) -> np.ndarray:
    """The 518 features of one recording, in the order of `COLUMNS`.

    Args:
        audio: mono samples at the file's rate, float (n,) in [-1, 1].
        rate: samples per second.

    Returns:
        float32 (518,), finite if the audio is.

    Raises:
        ValueError: if the audio is shorter than `MIN_SECONDS` or not mono.
    """
    if audio.ndim != 1:
        raise ValueError(f"audio must be mono, shape (n,), but has shape {audio.shape}")
    if len(audio) < MIN_SECONDS * rate:
        raise ValueError(f"audio must last at least {MIN_SECONDS} s, but lasts {len(audio) / rate:.1f} s")
    series = compute_series(audio, rate)
    return np.concatenate([summarise(series[name]).ravel() for name in SERIES]).astype(np.float32)


def compute_series(audio: np.ndarray, rate: int) -> dict[str, np.ndarray]:
    """The 74 time series of a recording, by feature set, each (size, frames)."""
    # (b) bins_per_octave must be given: by default librosa folds the 84 chroma bins as if there were 36 per octave
    # (d) both transforms pad by reflection, librosa's default in 2017
    cqt = np.abs(
        librosa.cqt(audio, sr=rate, hop_length=HOP, n_bins=84, bins_per_octave=12, tuning=None, pad_mode="reflect")
    )
    chroma = {"C": cqt, "n_chroma": 12, "n_octaves": 7, "bins_per_octave": 12}
    cens = librosa.feature.chroma_cens(**chroma)
    magnitude = np.abs(librosa.stft(audio, n_fft=WINDOW, hop_length=HOP, pad_mode="reflect"))
    power = magnitude**2
    mel = librosa.feature.melspectrogram(S=power, sr=rate)
    return {
        "chroma_cens": cens,
        "chroma_cqt": librosa.feature.chroma_cqt(**chroma),
        "chroma_stft": librosa.feature.chroma_stft(S=power, sr=FMA_RATE, n_chroma=12),  # (c)
        "mfcc": librosa.feature.mfcc(S=librosa.power_to_db(mel), n_mfcc=20),
        "rmse": np.sqrt(power.mean(axis=0, keepdims=True)),  # (a) mean over the bins instead of the window's samples
        "spectral_bandwidth": librosa.feature.spectral_bandwidth(S=magnitude, sr=FMA_RATE),
        "spectral_centroid": librosa.feature.spectral_centroid(S=magnitude, sr=FMA_RATE),
        "spectral_contrast": librosa.feature.spectral_contrast(S=magnitude, sr=FMA_RATE, n_bands=6),
        "spectral_rolloff": librosa.feature.spectral_rolloff(S=magnitude, sr=FMA_RATE),
        "tonnetz": librosa.feature.tonnetz(chroma=cens),
        "zcr": librosa.feature.zero_crossing_rate(audio, frame_length=WINDOW, hop_length=HOP),
    }


def summarise(values: np.ndarray) -> np.ndarray:
    """The seven statistics of each row, shape (7, rows), in the order of `STATISTICS`.

    Skew is biased, kurtosis is Fisher's. (e) A constant row has skew 0 and kurtosis -3, as with scipy in 2017; current scipy
    returns NaN.
    """
    with warnings.catch_warnings():  # scipy warns about (nearly) constant rows, which silence produces
        warnings.simplefilter("ignore", RuntimeWarning)
        skew, kurtosis = stats.skew(values, axis=1), stats.kurtosis(values, axis=1)
    by_name = {
        "kurtosis": np.where(np.isnan(kurtosis), -3.0, kurtosis),
        "max": values.max(axis=1),
        "mean": values.mean(axis=1),
        "median": np.median(values, axis=1),
        "min": values.min(axis=1),
        "skew": np.where(np.isnan(skew), 0.0, skew),
        "std": values.std(axis=1),
    }
    return np.stack([by_name[name] for name in STATISTICS])
