"""|CQT| of 84 bins: an octave at a time, each at half the sample rate of the one above it.

Equals `librosa.cqt` with 12 bins per octave: the same sparse filters, applied to frames of samples instead of their spectra,
since a product with 256 samples costs less than their FFT and the product with its bins. See Schörkhuber and Klapuri:
Constant-Q transform toolbox for music processing, SMC 2010.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import librosa
import numpy as np
import soxr

from musicreclass.features.fma518.columns import HOP
from musicreclass.features.fma518.frames import Framer

OCTAVES = 7
PER_OCTAVE = 12
LOWEST = 32.70319566257483  # Hz, C1
RELATIVE_BANDWIDTH = (2 ** (2 / PER_OCTAVE) - 1) / (2 ** (2 / PER_OCTAVE) + 1)
CUTOFF = (
    1 + 0.5 * librosa.filters.window_bandwidth("hann") * RELATIVE_BANDWIDTH
)  # of a filter, relative to its frequency
MAX_TUNING = 0.5  # of a bin
MIN_RATE = math.ceil(2 * CUTOFF * LOWEST * 2 ** ((OCTAVES * PER_OCTAVE - 1 + MAX_TUNING) / PER_OCTAVE))  # Hz


class Halver:
    """Halves the rate of a signal that arrives in blocks, as `librosa.resample(scale=True)` does.

    Args:
        factor: 2, or another power of 2.
    """

    def __init__(self, factor: int = 2) -> None:
        self.factor, self.scale = factor, np.float32(math.sqrt(factor))
        self.stream = soxr.ResampleStream(factor, 1, 1, dtype="float32", quality="soxr_hq")
        self.received = self.returned = 0

    def push(self, block: np.ndarray, last: bool = False) -> np.ndarray:
        """The samples that follow from this block, float32."""
        self.received += len(block)
        samples = self.stream.resample_chunk(block, last) * self.scale
        if last:
            missing = -(-self.received // self.factor) - self.returned - len(samples)
            samples = np.pad(samples, (0, missing)) if missing > 0 else samples[: len(samples) + missing]
        self.returned += len(samples)
        return samples


class ConstantQ:
    """|CQT| of a signal that arrives in blocks.

    Args:
        rate: samples per second.
        tuning: deviation from 440 Hz, as a fraction of a semitone.
    """

    def __init__(self, rate: int, tuning: float) -> None:
        early, filters = plan(rate, tuning)
        self.filters = filters
        self.early = Halver(2**early) if early else None
        size = filters.shape[0]
        self.framers = [Framer(size, HOP >> (early + octave)) for octave in range(OCTAVES)]
        self.halvers = [Halver() for _ in range(OCTAVES - 1)]
        self.parts: list[list[np.ndarray]] = [[] for _ in range(OCTAVES)]

    def push(self, block: np.ndarray, last: bool = False) -> None:
        """Transform what is complete after this block of mono samples, float32."""
        if self.early is not None:
            block = self.early.push(block, last)
        for octave, framer in enumerate(self.framers):
            self._transform(octave, framer.push(block))
            if last:
                self._transform(octave, framer.finish())
            if octave < len(self.halvers):
                block = self.halvers[octave].push(block, last)

    def _transform(self, octave: int, frames: np.ndarray) -> None:
        if len(frames):
            products = np.ascontiguousarray(frames) @ self.filters  # overlapping rows would not reach BLAS
            self.parts[octave].append(np.hypot(products[:, :PER_OCTAVE], products[:, PER_OCTAVE:]))

    def result(self) -> np.ndarray:
        """|CQT| of the whole signal, float32 (84, frames), after the last block."""
        octaves = [np.concatenate(self.parts.pop(0)) for _ in range(OCTAVES)]  # frees the parts
        frames = min(map(len, octaves))
        return np.concatenate([octave[:frames] for octave in reversed(octaves)], axis=1).T


def constant_q(blocks: Iterable[np.ndarray], rate: int, tuning: float) -> np.ndarray:
    """|CQT| of a signal, float32 (84, frames).

    Args:
        blocks: the signal, mono float32, in any number of pieces.
        rate: samples per second; at least `MIN_RATE`.
        tuning: deviation from 440 Hz, as a fraction of a semitone.
    """
    transform = ConstantQ(rate, tuning)
    for block in blocks:
        transform.push(block)
    transform.push(np.empty(0, np.float32), last=True)
    return transform.result()


@lru_cache(maxsize=256)
def plan(rate: int, tuning: float) -> tuple[int, np.ndarray]:
    """How often the rate is halved in advance, and the filters of the highest octave, scaled.

    An octave lower, at half the rate, the filters are the same.

    Returns:
        the number, and float32 (samples per frame, 24): the real parts of 12 filters, then the imaginary parts.
    """
    frequencies = LOWEST * 2 ** ((tuning + np.arange(OCTAVES * PER_OCTAVE)) / PER_OCTAVE)
    early = min(
        max(0, math.ceil(math.log2(rate / 2 / (CUTOFF * frequencies[-1]))) - 2),
        (HOP & -HOP).bit_length() - OCTAVES,
    )
    reduced = rate / 2**early
    top = frequencies[-PER_OCTAVE:]
    alpha: Any = np.full(PER_OCTAVE, RELATIVE_BANDWIDTH)
    wavelets, lengths = librosa.filters.wavelet(freqs=top, sr=reduced, alpha=alpha)
    size = wavelets.shape[1]
    spectra = np.fft.fft(wavelets * (lengths[:, None] / size))[:, : size // 2 + 1]
    spectra = (
        librosa.util.sparsify_rows(spectra, quantile=0.01, dtype=np.complex64).toarray() / np.sqrt(lengths)[:, None]
    )
    responses = np.fft.fft(spectra, n=size)  # of a product with the frame's spectrum, as a product with its samples
    return early, np.concatenate([responses.real, responses.imag]).T.astype(np.float32)
