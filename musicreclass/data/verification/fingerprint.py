"""An acoustic fingerprint: 32 bits for every 23 ms of a recording, by which copies in other encodings are recognised.

Bit m of a frame tells whether the energy difference between the bands m and m + 1 has risen since the frame before (Haitsma and Kalker,
"A highly robust audio fingerprinting system", ISMIR 2002). Signs of differences do not depend on the gain, and hardly on
lossy coding. Energies are smoothed over 0.4 s, so that copies that are shifted by a part of a step still agree. Smoothing the energies
of short, sparse transforms takes a quarter of the time of long, dense ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
import soxr
from scipy.fft import rfft

VERSION = 4  # of the fingerprints; part of the key of everything stored from them
RATE = 5512.5  # samples per second of the analysed signal: a quarter of 22,050, which is cheap to resample to
FRAME, HOP = 1024, 256  # samples of a transform, and between two
STEP = HOP // 2  # samples between two values
WEIGHTS = np.hanning(11)[1:-1].astype(np.float32) / np.float32(
    2.5
)  # of energies half a hop apart; every other one sums to 1
CONTEXT = len(WEIGHTS) // 2  # earlier energies that the next smoothed one needs
FRAMES_PER_SECOND = RATE / STEP
BITS = 32
LOWEST, HIGHEST = 300.0, 2000.0  # Hz; of the 33 bands, which are equally wide in semitones
SILENCE = 1e-4  # RMS of the bands below which a value is silent; full scale is 1
BLOCK = 64  # transforms at a time, which fit a processor's cache
SILENT = np.uint32(0)  # the value of silent frames, which are not compared


def fingerprint(pieces: Iterable[np.ndarray], rate: float = RATE) -> np.ndarray:
    """The fingerprint of a signal.

    Args:
        pieces: the signal in consecutive pieces of any length, float32 in [-1, 1].
        rate: samples per second.

    Returns:
        uint32 (frames,); `SILENT` where the signal is silent. Empty for less than 0.38 s.
    """
    values: list[np.ndarray] = [np.empty(0, np.uint32)]
    rest, context, last = np.empty(0, np.float32), *np.empty((2, 0, BITS + 1), np.float32)
    for piece in _resampled(pieces, rate):
        signal = np.concatenate([rest, piece])
        count = max(0, (len(signal) - FRAME) // HOP + 1)
        rest = signal[count * HOP :]
        if count:
            windows = np.lib.stride_tricks.sliding_window_view(signal, FRAME)[::HOP]
            energies = np.concatenate([context, _band_energies(windows)])
            context = energies[max(0, len(energies) - CONTEXT) :]
            smoothed = np.concatenate([last, _smoothed(energies)])
            values.append(_bits(smoothed))
            last = smoothed[-1:]
    return np.concatenate(values)


def _resampled(pieces: Iterable[np.ndarray], rate: float) -> Iterator[np.ndarray]:
    """The signal at `RATE`, in pieces."""
    if rate == RATE:
        yield from pieces
        return
    stream = soxr.ResampleStream(rate, RATE, 1, dtype="float32")
    for piece in pieces:
        yield stream.resample_chunk(piece)
    yield stream.resample_chunk(np.empty(0, np.float32), last=True)


def _smoothed(energies: np.ndarray) -> np.ndarray:
    """Energies at twice the rate, each a weighted mean of those around it, float32 (2 * (n - 4), 33).

    Args:
        energies: float32 (n, 33).
    """
    count = max(0, len(energies) - CONTEXT)
    smoothed = np.zeros((2 * count, BITS + 1), np.float32)
    for row in (0, 1):  # at a transform, and between two
        for k, weight in enumerate(WEIGHTS[1 - row :: 2]):
            smoothed[row::2] += weight * energies[k : k + count]
    return smoothed


def _bits(energies: np.ndarray) -> np.ndarray:
    """The values of all steps but the first, uint32 (max(0, n - 1),).

    Args:
        energies: of consecutive steps, float32 (n, 33).
    """
    differences = np.diff(energies, axis=1)
    bits = differences[1:] < differences[:-1]
    values = np.packbits(bits, axis=1, bitorder="little").view("<u4")[:, 0].astype(np.uint32)
    values[energies[1:].sum(axis=1) < SILENCE**2] = SILENT
    return values


def _band_energies(windows: np.ndarray) -> np.ndarray:
    """The mean power in each band, float32 (n, 33).

    Args:
        windows: float32 (n, FRAME).
    """
    window, edges = _analysis()
    energies = np.empty((len(windows), BITS + 1), np.float32)
    for start in range(0, len(windows), BLOCK):
        spectrum = rfft(windows[start : start + BLOCK] * window, axis=1, overwrite_x=True)[:, edges[0] : edges[-1]]
        power = spectrum.real**2
        power += spectrum.imag**2
        np.add.reduceat(power, edges[:-1] - edges[0], axis=1, out=energies[start : start + BLOCK])
    return energies


@lru_cache(maxsize=1)
def _analysis() -> tuple[np.ndarray, np.ndarray]:
    """The window, scaled so that band energies are mean squares of samples in [-1, 1], and the first bins of the bands."""
    window = np.hanning(FRAME + 1)[:-1]
    window = (window * np.sqrt(2 / (FRAME * (window**2).sum()))).astype(np.float32)
    edges = np.geomspace(LOWEST, HIGHEST, BITS + 2) * FRAME / RATE
    return window, np.round(edges).astype(int)


def digest(values: np.ndarray) -> str:
    """A short hash of a fingerprint; empty for an empty one."""
    return hashlib.sha256(values.astype("<u4").tobytes()).hexdigest()[:16] if len(values) else ""
