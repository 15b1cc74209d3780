"""Loops over the bins of a spectrum, compiled by numba.

Frames are rows here, (frames, bins), so that a frame is contiguous in memory.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

FAST = {"reassoc", "contract", "nsz"}  # sums may be reordered; NaN and infinity keep their meaning


@njit(cache=True, fastmath=FAST, nogil=True)
def power_of(spectra: np.ndarray, power: np.ndarray) -> None:
    """Write |x|^2 of complex (frames, bins) to float32 (frames, bins)."""
    for t in range(spectra.shape[0]):
        for i in range(spectra.shape[1]):
            value = spectra[t, i]
            power[t, i] = value.real * value.real + value.imag * value.imag


@njit(cache=True, fastmath=FAST, nogil=True)
def shape_of(magnitude: np.ndarray, step: float, fraction: float, out: np.ndarray) -> None:
    """Write centroid, bandwidth and roll-off in Hz to float64 (frames, 3).

    Args:
        magnitude: (frames, bins).
        step: Hz between bins.
        fraction: of the magnitude below the roll-off.
        out: the result.
    """
    for t in range(magnitude.shape[0]):
        row = magnitude[t]
        total, first = 0.0, 0.0
        for i in range(len(row)):
            total += row[i]
            first += row[i] * i
        norm = total if total >= 1.1754943508222875e-38 else 1.0  # as librosa.util.normalize
        centroid = first / norm
        spread = 0.0
        for i in range(len(row)):
            spread += row[i] * (i - centroid) ** 2
        target, reached, below = np.float32(fraction) * np.float32(total), np.float32(0), 0
        for i in range(len(row)):
            reached += row[i]
            if reached >= target:
                below = i
                break
        out[t, 0] = centroid * step
        out[t, 1] = math.sqrt(spread / norm) * step
        out[t, 2] = below * step


@njit(cache=True, nogil=True)
def extremes_of(magnitude: np.ndarray, bands: np.ndarray, peaks: np.ndarray, valleys: np.ndarray) -> None:
    """Write the mean of the largest and of the smallest bins of each band to float64 (frames, bands).

    Args:
        magnitude: (frames, bins).
        bands: first bin, bin after the last, and number of extreme bins, (bands, 3).
        peaks, valleys: the results.
    """
    high, low = np.empty(64, np.float32), np.empty(64, np.float32)
    for t in range(magnitude.shape[0]):
        row = magnitude[t]
        for b in range(len(bands)):
            start, stop, count = bands[b]
            high[:count], low[:count] = -1, np.inf
            for i in range(start, stop):
                value = row[i]
                if value > high[0]:  # ascending: the smallest of the largest comes first
                    j = 0
                    while j + 1 < count and high[j + 1] < value:
                        high[j] = high[j + 1]
                        j += 1
                    high[j] = value
                if value < low[0]:  # descending
                    j = 0
                    while j + 1 < count and low[j + 1] > value:
                        low[j] = low[j + 1]
                        j += 1
                    low[j] = value
            peak, valley = 0.0, 0.0
            for j in range(count):
                peak += high[j]
                valley += low[j]
            peaks[t, b], valleys[t, b] = peak / count, valley / count


@njit(cache=True, nogil=True)
def pitches_of(
    spectrum: np.ndarray, first: int, last: int, threshold: float, step: float, pitch: np.ndarray, height: np.ndarray
) -> int:
    """Write frequency in Hz and height of the peaks of each frame, found by parabolic interpolation; returns their number.

    As `librosa.piptrack`.

    Args:
        spectrum: magnitude or power, float32 (frames, bins).
        first: first bin that may hold a peak.
        last: the bin after the last one.
        threshold: minimum height of a peak, relative to the largest bin of the frame.
        step: Hz between bins.
        pitch, height: the results, float32, with room for (last - first + 1) / 2 peaks a frame.
    """
    count = 0
    for t in range(spectrum.shape[0]):
        row = spectrum[t]
        largest = np.float32(0)
        for i in range(len(row)):
            largest = max(largest, row[i])
        floor = np.float32(threshold) * largest
        for i in range(first, last):
            middle = row[i]
            if middle > floor and middle > row[i - 1] and middle >= row[i + 1]:
                curve = row[i + 1] + row[i - 1] - np.float32(2) * middle
                slope = (row[i + 1] - row[i - 1]) / np.float32(2)
                shift = np.float32(0) if abs(slope) >= abs(curve) else -slope / curve
                pitch[count] = (i + np.float64(shift)) * step
                height[count] = middle + np.float32(0.5) * slope * shift
                count += 1
    return count
