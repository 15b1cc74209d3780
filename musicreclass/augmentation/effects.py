"""Deterministic effects, whose random values are drawn by the caller: tempo and pitch, white noise, masks."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache

import numpy as np
import torch

from musicreclass.augmentation.transforms import Resample, phase_vocoder

N_FFT, HOP = 2048, 512  # of the phase vocoder; the defaults of librosa.effects


def stretch_and_shift(x: torch.Tensor, rate: float, semitones: float, n: int) -> torch.Tensor:
    """Change tempo and pitch in one pass: a phase vocoder, then a resampler. Combines librosa's time_stretch and pitch_shift.

    The frequency ratio is a fraction of small integers within 2 cents of equal temperament, which makes resampling cheap.

    Args:
        x: (B, m) float32, m about `n * rate` or more.
        rate: tempo; 2 is twice as fast.
        semitones: pitch shift; positive is up.
        n: number of output samples.

    Returns:
        (B, n) float32.
    """
    ratio = frequency_ratio(semitones)
    vocoder_rate = rate / float(ratio)  # resampling then multiplies tempo and pitch by the ratio
    vocoder_length = math.ceil(n * ratio)
    x = x[:, : math.ceil(vocoder_length * vocoder_rate) + N_FFT]
    window = torch.hann_window(N_FFT, device=x.device)
    frames = torch.stft(x, N_FFT, HOP, window=window, pad_mode="constant", return_complex=True)
    # The phase advance per hop, 2 pi k HOP / N_FFT, without whole turns: the vocoder accumulates phases over all frames in
    # float32, where large values would lose precision.
    turns = torch.arange(N_FFT // 2 + 1, device=x.device) * HOP % N_FFT
    frames = phase_vocoder(frames, vocoder_rate, (turns * (2 * math.pi / N_FFT))[:, None])
    y = torch.istft(frames, N_FFT, HOP, window=window, length=vocoder_length)
    return make_resampler(ratio, x.device)(y)[:, :n] if ratio != 1 else y


@lru_cache
def frequency_ratio(semitones: float) -> Fraction:
    """The frequency ratio of an interval as a fraction with a denominator of at most 100."""
    return Fraction(2 ** (semitones / 12)).limit_denominator(100)


@lru_cache
def make_resampler(ratio: Fraction, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    """A resampler of waveforms (B, m) to (B, about m / ratio)."""
    return Resample(ratio.numerator, ratio.denominator).to(device)


def add_masks(masked: np.ndarray, random_values: np.ndarray, max_width: int) -> None:
    """Set the entries covered by random masks to True, in place. No mask is wider than half the axis.

    Args:
        masked: (n,) bool, one entry per frame or band.
        random_values: (masks, 2) in [0, 1), which determine the width and position of each mask.
        max_width: maximum width of a mask.
    """
    size = len(masked)
    for width_value, position_value in random_values:
        width = int(width_value * (min(max_width, size // 2) + 1))
        start = int(position_value * (size - width + 1))
        masked[start : start + width] = True


def white_noise(like: torch.Tensor, seed: int) -> torch.Tensor:
    """White noise of variance 1, (n,), with the length and device of the samples of `like` (B, n)."""
    generator = torch.Generator(like.device).manual_seed(seed)
    return torch.randn(like.shape[1], generator=generator, device=like.device)
