"""The series that derive from the short-time spectrum, and the rate of zero crossings, of a signal that arrives in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

import librosa
import numpy as np
import scipy.fft

from musicreclass.features.fma518 import kernels
from musicreclass.features.fma518.columns import FMA_RATE, HOP, WINDOW
from musicreclass.features.fma518.frames import Framer

BINS = WINDOW // 2 + 1
FRAMES_AT_ONCE = 128  # their spectra fit in a CPU's cache
KEPT_FRAMES = 16_384  # power spectra up to this number are kept for the second pass, 64 MiB
PITCH_RANGE = (150.0, 4000.0)  # Hz, and the two below: defaults of librosa.piptrack, power_to_db and spectral_contrast
PITCH_THRESHOLD = 0.1
FLOOR, DYNAMIC_RANGE = 1e-10, 80.0  # dB
CONTRAST_BANDS, CONTRAST_LOWEST, CONTRAST_QUANTILE = 6, 200.0, 0.02
ROLLOFF = 0.85
SILENT = 1e-10  # samples up to this have no sign


def spectra_of(frames: np.ndarray) -> Iterator[np.ndarray]:
    """Spectra of frames, complex64 (n, BINS), some frames at a time."""
    window = hann()
    for start in range(0, len(frames), FRAMES_AT_ONCE):
        yield scipy.fft.rfft(frames[start : start + FRAMES_AT_ONCE] * window, axis=1, overwrite_x=True)


def power_of(spectra: np.ndarray) -> np.ndarray:
    """Power spectra, float32 (n, BINS)."""
    power = np.empty(spectra.shape, np.float32)
    kernels.power_of(spectra, power)
    return power


class Tuning:
    """Estimates the tuning of a signal from the peaks of its spectra, as `librosa.estimate_tuning`.

    Args:
        rate: that the bins are assumed to have, samples per second.
    """

    def __init__(self, rate: int) -> None:
        low, high = PITCH_RANGE
        frequencies = np.arange(BINS) * rate / WINDOW
        inside = np.flatnonzero((frequencies >= low) & (frequencies < min(high, rate / 2)))
        self.first, self.last, self.step = int(inside[0]), int(inside[-1]) + 1, rate / WINDOW
        self.pitches: list[np.ndarray] = []
        self.heights: list[np.ndarray] = []

    def add(self, spectrum: np.ndarray) -> None:
        """Find the peaks of magnitude or power spectra, float32 (frames, BINS)."""
        room = len(spectrum) * ((self.last - self.first) // 2 + 1)
        pitch, height = np.empty(room, np.float32), np.empty(room, np.float32)
        n = kernels.pitches_of(spectrum, self.first, self.last, PITCH_THRESHOLD, self.step, pitch, height)
        self.pitches.append(pitch[:n].copy())
        self.heights.append(height[:n].copy())

    def estimate(self) -> float:
        """The deviation from 440 Hz as a fraction of a semitone; 0 without a peak. Forgets the peaks."""
        pitch, height = np.concatenate(self.pitches), np.concatenate(self.heights)
        self.pitches, self.heights = [], []
        if not len(pitch):
            return 0.0
        return float(librosa.pitch_tuning(pitch[height >= np.median(height)]))


class Crossings:
    """Counts changes of sign, as `librosa.feature.zero_crossing_rate` does."""

    def __init__(self) -> None:
        self.negative: bool | None = None  # of the last sample
        self.rest = np.empty(0, bool)
        self.counts: list[np.ndarray] = []  # by hop
        self.at_start: list[np.ndarray] = []  # whether the first sample of each hop differs from the one before
        self.samples = 0

    def push(self, block: np.ndarray) -> None:
        """Count in a block of samples."""
        if not len(block):
            return
        negative = block < -SILENT
        crossed = np.empty(len(block), bool)
        crossed[0] = self.negative is not None and negative[0] != self.negative
        np.not_equal(negative[1:], negative[:-1], out=crossed[1:])
        self.negative, self.samples = bool(negative[-1]), self.samples + len(block)
        crossed = np.concatenate([self.rest, crossed]) if len(self.rest) else crossed
        complete = len(crossed) // HOP * HOP
        self._add(crossed[:complete])
        self.rest = crossed[complete:]

    def _add(self, crossed: np.ndarray) -> None:
        hops = crossed.reshape(-1, HOP)
        self.counts.append(np.count_nonzero(hops, axis=1))
        self.at_start.append(hops[:, 0])

    def rates(self) -> np.ndarray:
        """Crossings per sample of each frame, float64 (frames,)."""
        frames, pad = 1 + self.samples // HOP, WINDOW // 2 // HOP
        self._add(np.pad(self.rest, (0, -len(self.rest) % HOP)))
        before = np.concatenate([[0], np.cumsum(np.concatenate(self.counts))])  # the start of each hop
        first = np.arange(frames) - pad
        total = before[np.minimum(first + 2 * pad, len(before) - 1)] - before[np.maximum(first, 0)]
        at_start = np.concatenate(self.at_start)
        return (total - np.where(first >= 0, at_start[np.maximum(first, 0)], 0)) / WINDOW


class Spectrum:
    """First pass over a signal: every series of the spectrum except chroma, and the tunings that chroma needs.

    Args:
        rate: samples per second.
        sets: the feature sets to compute.
    """

    def __init__(self, rate: int, sets: set[str]) -> None:
        self.rate, self.sets = rate, sets
        self.framer = Framer(WINDOW, HOP)
        self.crossings = Crossings()
        self.cqt_tuning = Tuning(rate) if sets & {"chroma_cens", "chroma_cqt", "tonnetz"} else None
        self.stft_tuning = Tuning(FMA_RATE) if "chroma_stft" in sets else None  # (c)
        self.parts: dict[str, list[np.ndarray]] = {}
        self.power: list[np.ndarray] | None = []  # kept for the second pass, if there are not too many

    def push(self, block: np.ndarray, last: bool = False) -> None:
        """Describe the frames that are complete after this block of mono samples, float32."""
        if "zcr" in self.sets:
            self.crossings.push(block)
        self._describe(self.framer.push(block), cut_end=False)
        if last:
            self._describe(self.framer.finish(), cut_end=True)

    def series(self) -> dict[str, np.ndarray]:
        """The series of the whole signal by feature set, each (size, frames), after the last block; what they need is freed."""
        mel = self.parts.pop("mel", None)
        series = {"mfcc": mel_cepstrum(mel)} if mel else {}
        del mel
        series |= {name: np.concatenate(self.parts.pop(name)).T for name in list(self.parts)}
        if "peaks" in series:
            series["spectral_contrast"] = decibels(series.pop("peaks")) - decibels(series.pop("valleys"))
        if "shape" in series:
            names = ("spectral_centroid", "spectral_bandwidth", "spectral_rolloff")
            series |= dict(zip(names, series.pop("shape")[:, None].astype(np.float32), strict=True))
        if "zcr" in self.sets:
            series["zcr"] = self.crossings.rates()[None]
        return series

    def _describe(self, frames: np.ndarray, cut_end: bool) -> None:
        number = self.framer.frames - len(frames)
        if self.cqt_tuning is not None:
            self._add_edges(frames, number, cut_end)
        for spectra in spectra_of(frames):
            power = power_of(spectra)
            self._describe_power(power)
            magnitude = np.sqrt(power)
            self._describe_magnitude(magnitude)
            if self.cqt_tuning is not None:
                edge = max(0, min(len(power), WINDOW // 2 // HOP - number)) if not cut_end else len(power)
                self.cqt_tuning.add(magnitude[edge:])
            number += len(power)

    def _add_edges(self, frames: np.ndarray, number: int, cut_end: bool) -> None:
        """Find the peaks of the frames that extend beyond an end of the signal; the tuning is estimated with zeros there."""
        assert self.cqt_tuning is not None
        edges = []
        for t, frame in enumerate(frames[: len(frames) if cut_end else max(0, WINDOW // 2 // HOP - number)], number):
            start = t * HOP - WINDOW // 2  # of the frame in the signal
            edge = frame.copy()
            edge[: max(0, -start)] = 0
            edge[max(0, self.framer.samples - start) :] = 0
            edges.append(edge)
        if edges:
            for spectra in spectra_of(np.stack(edges)):
                self.cqt_tuning.add(np.sqrt(power_of(spectra)))

    def _describe_power(self, power: np.ndarray) -> None:
        if "rmse" in self.sets:
            self._add("rmse", np.sqrt(power.mean(axis=1, keepdims=True)))  # (a)
        if "mfcc" in self.sets:
            self._add("mel", power @ mel_filters(self.rate))
        if self.stft_tuning is not None:
            self.stft_tuning.add(power)
            if self.power is not None:
                self.power.append(power)
                if self.framer.frames > KEPT_FRAMES:
                    self.power = None

    def _describe_magnitude(self, magnitude: np.ndarray) -> None:
        if self.sets & {"spectral_centroid", "spectral_bandwidth", "spectral_rolloff"}:
            shape = np.empty((len(magnitude), 3))
            kernels.shape_of(magnitude, FMA_RATE / WINDOW, ROLLOFF, shape)  # (c)
            self._add("shape", shape)
        if "spectral_contrast" in self.sets:
            bands = contrast_bands()
            peaks, valleys = (np.empty((len(magnitude), len(bands))) for _ in range(2))
            kernels.extremes_of(magnitude, bands, peaks, valleys)
            self._add("peaks", peaks)
            self._add("valleys", valleys)

    def _add(self, name: str, values: np.ndarray) -> None:
        self.parts.setdefault(name, []).append(values)


def chroma_of(power: np.ndarray, tuning: float) -> np.ndarray:
    """Chroma of power spectra (frames, BINS), not normalised, float32 (frames, 12)."""
    return power @ chroma_filters(tuning)


def decibels(power: np.ndarray, loudest: np.ndarray | None = None) -> np.ndarray:
    """As `librosa.power_to_db`; `loudest` is the maximum of the whole signal if this is a part of it."""
    levels = 10 * np.log10(np.maximum(power, FLOOR))
    top = levels.max() if loudest is None else 10 * np.log10(np.maximum(loudest, FLOOR))
    return np.maximum(levels, top - DYNAMIC_RANGE)


def mel_cepstrum(mel: list[np.ndarray]) -> np.ndarray:
    """20 MFCCs, (20, frames), of a mel power spectrogram in parts (n, 128)."""
    loudest = max(part.max() for part in mel)
    return np.concatenate([scipy.fft.dct(decibels(part, loudest).T, axis=0, norm="ortho")[:20] for part in mel], axis=1)


@lru_cache(maxsize=1)
def hann() -> np.ndarray:
    """The window of a frame, float32 (WINDOW,)."""
    return librosa.filters.get_window("hann", WINDOW, fftbins=True).astype(np.float32)


@lru_cache(maxsize=16)
def mel_filters(rate: int) -> np.ndarray:
    """128 mel filters, float32 (BINS, 128)."""
    return np.ascontiguousarray(librosa.filters.mel(sr=rate, n_fft=WINDOW).T)


@lru_cache(maxsize=256)
def chroma_filters(tuning: float) -> np.ndarray:
    """12 chroma filters, float32 (BINS, 12)."""
    return np.ascontiguousarray(librosa.filters.chroma(sr=FMA_RATE, n_fft=WINDOW, tuning=tuning).T)


@lru_cache(maxsize=1)
def contrast_bands() -> np.ndarray:
    """First bin, bin after the last, and number of extreme bins of each octave, int64 (7, 3), as librosa chooses them."""
    frequencies = np.arange(BINS) * FMA_RATE / WINDOW
    limits = [0.0, *(CONTRAST_LOWEST * 2.0 ** np.arange(CONTRAST_BANDS + 1))]
    bands = []
    for number, (low, high) in enumerate(pairwise(limits)):
        inside = np.flatnonzero((frequencies >= low) & (frequencies <= high))
        start, stop = int(inside[0]) - (number > 0), int(inside[-1]) + 1
        if number == CONTRAST_BANDS:
            stop = BINS
        count = max(1, int(np.rint(CONTRAST_QUANTILE * (stop - start))))
        bands.append((start, stop - (number < CONTRAST_BANDS), count))
    return np.array(bands)
