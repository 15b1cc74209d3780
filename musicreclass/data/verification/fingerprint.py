"""An acoustic fingerprint: 32 bits for every 23 ms of a recording, by which copies in other encodings are recognised.

Bit m of a frame tells whether the energy difference between the bands m and m + 1 has risen since the frame before (Haitsma and Kalker,
"A highly robust audio fingerprinting system", ISMIR 2002). Signs of differences do not depend on the gain, and hardly on
lossy coding. Frames are 0.37 s long, so that copies that are shifted by a part of a step still agree.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
from scipy.fft import rfft

VERSION = 1  # of the fingerprints; part of the key of everything stored from them
RATE = 5500  # samples per second of the analysed signal
FRAME, STEP = 2048, 128  # samples
FRAMES_PER_SECOND = RATE / STEP
BITS = 32
LOWEST, HIGHEST = 300.0, 2000.0  # Hz; of the 33 bands, which are equally wide in semitones
SILENCE = 1e-4  # RMS of a frame's bands below which it is silent; full scale is 1
BLOCK = 256  # frames analysed at a time
SILENT = np.uint32(0)  # the value of silent frames, which are not compared


def fingerprint(samples: np.ndarray) -> np.ndarray:
    """The fingerprint of a signal.

    Args:
        samples: int16 (n,) at `RATE`.

    Returns:
        uint32 (frames,); `SILENT` where the signal is silent. Empty for less than 0.4 s.
    """
    count = (len(samples) - FRAME) // STEP + 1
    if count < 2:
        return np.empty(0, np.uint32)
    windows = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::STEP]
    values = np.empty(count - 1, np.uint32)
    last = None
    for start in range(0, count, BLOCK):
        energies = _band_energies(windows[start : start + BLOCK])
        block = energies if last is None else np.concatenate([last, energies])
        differences = np.diff(block, axis=1)
        bits = differences[1:] < differences[:-1]
        packed = np.packbits(bits, axis=1, bitorder="little").view("<u4")[:, 0]
        packed[block[1:].sum(axis=1) < SILENCE**2] = SILENT
        at = max(0, start - 1)
        values[at : at + len(packed)] = packed
        last = block[-1:]
    return values


def _band_energies(windows: np.ndarray) -> np.ndarray:
    """The mean power in each band, float32 (n, 33).

    Args:
        windows: int16 (n, FRAME).
    """
    window, edges = _analysis()
    spectrum = rfft(windows * window, axis=1)[:, edges[0] : edges[-1]]
    power = spectrum.real**2 + spectrum.imag**2
    return np.add.reduceat(power, edges[:-1] - edges[0], axis=1)


@lru_cache(maxsize=1)
def _analysis() -> tuple[np.ndarray, np.ndarray]:
    """The window, scaled so that band energies are mean squares of samples in [-1, 1], and the first bins of the bands."""
    window = np.hanning(FRAME + 1)[:-1]
    window = (window * np.sqrt(2 / (FRAME * (window**2).sum())) / 32768).astype(np.float32)
    edges = np.geomspace(LOWEST, HIGHEST, BITS + 2) * FRAME / RATE
    return window, np.round(edges).astype(int)


def digest(values: np.ndarray) -> str:
    """A short hash of a fingerprint; empty for an empty one."""
    return hashlib.sha256(values.astype("<u4").tobytes()).hexdigest()[:16] if len(values) else ""
