"""The 518 features by librosa, computed like the published table.

Current librosa reproduces the published values only with five corrections, marked (a) to (e) here and in `statistics`.
"""

from __future__ import annotations

from collections.abc import Iterable

import librosa
import numpy as np

from musicreclass.data.sources.fma_columns import SERIES
from musicreclass.features.fma518.columns import FMA_RATE, HOP, WINDOW

CONSTANT_Q = ("chroma_cens", "chroma_cqt", "tonnetz")


def compute_series(audio: np.ndarray, rate: int, sets: Iterable[str] = tuple(SERIES)) -> dict[str, np.ndarray]:
    """The time series of a recording, by feature set, each (size, frames); 74 series in all.

    Args:
        audio: mono samples, float (n,) in [-1, 1].
        rate: samples per second.
        sets: the feature sets to compute.
    """
    sets = set(sets)
    series = constant_q_series(audio, rate) if sets & set(CONSTANT_Q) else {}
    magnitude = np.abs(librosa.stft(audio, n_fft=WINDOW, hop_length=HOP, pad_mode="reflect"))
    power = magnitude**2
    compute = {
        "chroma_stft": lambda: librosa.feature.chroma_stft(S=power, sr=FMA_RATE, n_chroma=12),  # (c)
        "mfcc": lambda: librosa.feature.mfcc(
            S=librosa.power_to_db(librosa.feature.melspectrogram(S=power, sr=rate)), n_mfcc=20
        ),
        # (a) mean over the bins instead of the window's samples
        "rmse": lambda: np.sqrt(power.mean(axis=0, keepdims=True)),
        "spectral_bandwidth": lambda: librosa.feature.spectral_bandwidth(S=magnitude, sr=FMA_RATE),
        "spectral_centroid": lambda: librosa.feature.spectral_centroid(S=magnitude, sr=FMA_RATE),
        "spectral_contrast": lambda: librosa.feature.spectral_contrast(S=magnitude, sr=FMA_RATE, n_bands=6),
        "spectral_rolloff": lambda: librosa.feature.spectral_rolloff(S=magnitude, sr=FMA_RATE),
        "zcr": lambda: librosa.feature.zero_crossing_rate(audio, frame_length=WINDOW, hop_length=HOP),
    }
    series |= {name: function() for name, function in compute.items() if name in sets}
    return {name: series[name] for name in SERIES if name in sets}


def constant_q_series(audio: np.ndarray, rate: int) -> dict[str, np.ndarray]:
    """The series that derive from the constant-Q transform."""
    # (b) bins_per_octave must be given: by default librosa folds the 84 chroma bins as if there were 36 per octave
    # (d) both transforms pad by reflection, librosa's default in 2017
    cqt = np.abs(
        librosa.cqt(audio, sr=rate, hop_length=HOP, n_bins=84, bins_per_octave=12, tuning=None, pad_mode="reflect")
    )
    chroma = {"C": cqt, "n_chroma": 12, "n_octaves": 7, "bins_per_octave": 12}
    cens = librosa.feature.chroma_cens(**chroma)
    return {
        "chroma_cens": cens,
        "chroma_cqt": librosa.feature.chroma_cqt(**chroma),
        "tonnetz": librosa.feature.tonnetz(chroma=cens),
    }
