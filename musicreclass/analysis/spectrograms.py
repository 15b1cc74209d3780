"""Mean log-mel spectrograms of each genre, and an example recording of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from librosa import mel_frequencies

from musicreclass.data.recordings import AudioData
from musicreclass.data.targets import has_label
from musicreclass.models.frontend import LogMel, int16_to_float

MELS = 64
FRAME_SECONDS = 0.09
MAX_CLASSES = 16  # with a spectrogram and an example: the largest ones


@dataclass(frozen=True)
class Example:
    """A recording that is typical of its genre: of those read, the one with the spectrum nearest to the genre's mean.

    Attributes:
        target: the genre.
        track_id: of the track.
        samples: int16 (n,), from the middle of the recording.
        decibels: log-mel spectrogram of the samples, (mels, frames).
    """

    target: str
    track_id: str
    samples: np.ndarray
    decibels: np.ndarray


@dataclass(frozen=True)
class Spectra:
    """Spectrograms of training and validation tracks.

    Attributes:
        means: the mean spectrogram of each class in dB, (mels, frames).
        tracks: the number of tracks in each mean.
        examples: one for each class.
        frequencies: centres of the mel bands, Hz.
        frame_seconds: between frames.
        sample_rate: of the samples, Hz.
    """

    means: dict[str, np.ndarray]
    tracks: dict[str, int]
    examples: list[Example]
    frequencies: np.ndarray
    frame_seconds: float
    sample_rate: int


def compute_spectra(
    data: AudioData, classes: Sequence[str], per_class: int, seconds: float, seed: int
) -> Spectra | None:
    """Spectrograms of the largest classes.

    Args:
        data: the recordings, opened.
        classes: the largest first.
        per_class: tracks of a class that are read, at most.
        seconds: read from the middle of each track, at most.
        seed: draws the tracks.

    Returns:
        None if no recording of train or valid can be read.
    """
    rate = data.sample_rate
    n_fft = 2 ** max(5, round(np.log2(FRAME_SECONDS * rate)))
    log_mel = LogMel(rate, n_fft, n_fft // 4, MELS)
    rng = np.random.default_rng(seed)
    means: dict[str, np.ndarray] = {}
    counts: dict[str, int] = {}
    examples = []
    for name in classes[:MAX_CLASSES]:
        rows = np.flatnonzero((has_label(data.tracks.target, name) & (data.tracks.split != "test")).to_numpy())
        clips = {int(row): _middle(data, int(row), seconds) for row in rng.permutation(rows)[:per_class]}
        spectrograms = {row: _decibels(log_mel, clip) for row, clip in clips.items() if len(clip) >= n_fft}
        if not spectrograms:
            continue
        means[name], counts[name] = _mean(list(spectrograms.values())), len(spectrograms)
        spectrum = means[name].mean(1)
        typical = min(spectrograms, key=lambda row: float(np.abs(spectrograms[row].mean(1) - spectrum).mean()))
        track_id = str(data.tracks.track_id.iloc[typical])
        examples.append(Example(name, track_id, clips[typical], spectrograms[typical]))
    if not examples:
        return None
    frequencies = mel_frequencies(n_mels=MELS + 2, fmin=0.0, fmax=rate / 2)[1:-1]
    return Spectra(means, counts, examples, frequencies, n_fft // 4 / rate, rate)


def _middle(data: AudioData, row: int, seconds: float) -> np.ndarray:
    """The samples in the middle of a track, int16."""
    i = int(data.recording[row])
    length = int(data.waveforms.lengths[i])
    n = min(length, int(seconds * data.sample_rate))
    return data.waveforms.crop(i, (length - n) // 2, n)


def _decibels(log_mel: LogMel, samples: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return log_mel.decibels(int16_to_float(torch.from_numpy(samples.astype(np.int16)))[None])[0].numpy()


def _mean(spectrograms: list[np.ndarray]) -> np.ndarray:
    """The mean of spectrograms of various lengths, up to the last frame that half of them have."""
    frames = max(part.shape[1] for part in spectrograms)
    total, count = np.zeros((len(spectrograms[0]), frames)), np.zeros(frames)
    for part in spectrograms:
        total[:, : part.shape[1]] += part
        count[: part.shape[1]] += 1
    enough = 2 * count >= len(spectrograms)
    return total[:, enough] / count[enough]


def class_spectra(spectra: Spectra) -> pd.DataFrame:
    """The mean over time of each class, one row per class and a column per band, in dB."""
    return pd.DataFrame({name: mean.mean(1) for name, mean in spectra.means.items()}).T
