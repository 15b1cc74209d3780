"""The 518 features several times faster than by librosa, without the samples of long recordings in memory.

Equal to `reference` up to float32 rounding: the same steps, with one spectrogram for all features, compiled loops, and a
cheaper product for the constant-Q transform. The recording is read twice, since both chroma transforms depend on tunings that are
estimated from all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import librosa
import numpy as np
import scipy.ndimage

from musicreclass.data.sources.fma_columns import SERIES
from musicreclass.features.fma518.columns import HOP, WINDOW
from musicreclass.features.fma518.constant_q import constant_q
from musicreclass.features.fma518.frames import Framer
from musicreclass.features.fma518.spectrum import Spectrum, chroma_of, power_of, spectra_of

BLOCK = 1 << 17  # samples that are processed at once
CENS_STEPS = (0.05, 0.1, 0.2, 0.4)
CENS_SMOOTHING = 41  # frames


def blocks_of(audio: np.ndarray) -> Iterator[np.ndarray]:
    """A recording in memory as blocks, float32."""
    for start in range(0, len(audio), BLOCK):
        yield np.ascontiguousarray(audio[start : start + BLOCK], np.float32)


def compute_series(
    read: Callable[[], Iterable[np.ndarray]], rate: int, sets: Iterable[str] = tuple(SERIES)
) -> dict[str, np.ndarray]:
    """The time series of a recording, by feature set, each (size, frames).

    Args:
        read: returns the mono samples as blocks, float32 in [-1, 1]; called up to twice.
        rate: samples per second; at least `constant_q.MIN_RATE` if a feature set needs the constant-Q transform.
        sets: the feature sets to compute.
    """
    sets = set(sets)
    first = Spectrum(rate, sets)
    for block in read():
        first.push(block)
    first.push(np.empty(0, np.float32), last=True)
    cqt_tuning = None if first.cqt_tuning is None else first.cqt_tuning.estimate()
    stft_tuning = None if first.stft_tuning is None else first.stft_tuning.estimate()
    series = first.series()
    if stft_tuning is not None:
        power = first.power if first.power is not None else read_power(read())
        chroma = np.concatenate([chroma_of(part, stft_tuning) for part in power]).T
        series["chroma_stft"] = librosa.util.normalize(chroma, norm=np.inf, axis=0)
    if cqt_tuning is not None:
        first.power = None
        series |= constant_q_series(constant_q(read(), rate, cqt_tuning))
    return {name: series[name] for name in SERIES if name in sets}


def read_power(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The power spectra of a recording, float32 (n, bins), some frames at a time."""
    framer = Framer(WINDOW, HOP)
    for block in blocks:
        yield from map(power_of, spectra_of(framer.push(block)))
    yield from map(power_of, spectra_of(framer.finish()))


def constant_q_series(cqt: np.ndarray) -> dict[str, np.ndarray]:
    """The series that derive from |CQT|, float32 (84, frames)."""
    chroma = cqt.reshape(-1, 12, cqt.shape[1]).sum(0)
    quantised = np.zeros_like(chroma)
    shares = librosa.util.normalize(chroma, norm=1, axis=0)
    for step in CENS_STEPS:
        quantised += np.float32(1 / len(CENS_STEPS)) * (shares > step)
    window = librosa.filters.get_window("hann", CENS_SMOOTHING + 2, fftbins=False)
    smooth = scipy.ndimage.convolve1d(quantised, window / window.sum(), axis=1, mode="constant")
    cens = librosa.util.normalize(smooth, norm=2, axis=0)
    return {
        "chroma_cens": cens,
        "chroma_cqt": librosa.util.normalize(chroma, norm=np.inf, axis=0),
        "tonnetz": librosa.feature.tonnetz(chroma=cens),
    }
