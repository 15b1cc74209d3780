"""Effects on batches, with given values: tempo and pitch, white noise, masks."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache

import numpy as np
import torch

from musicreclass.augmentation.transforms import Resample, phase_vocoder

N_FFT, HOP = 2048, 512  # of the phase vocoder, as librosa's effects have them


def stretch_and_shift(x: torch.Tensor, rate: float, steps: float, n: int) -> torch.Tensor:
    """Change tempo and pitch with a phase vocoder, then a resampler; librosa's time_stretch and pitch_shift in one.

    The ratio of frequencies is a fraction of small numbers within 2 cents of the tempered one, which makes resampling cheap.

    Args:
        x: (B, m) float32, m about `n * rate` or more.
        rate: tempo; 2 is twice as fast.
        steps: semitones up.
        n: samples to return.

    Returns:
        (B, n) float32.
    """
    ratio = semitones(steps)
    tempo = rate / float(ratio)  # the vocoder's: resampling then changes pitch and tempo by the ratio
    longer = math.ceil(n * ratio)
    x = x[:, : math.ceil(longer * tempo) + N_FFT]
    window = torch.hann_window(N_FFT, device=x.device)
    frames = torch.stft(x, N_FFT, HOP, window=window, pad_mode="constant", return_complex=True)
    # What a bin's phase advances by in a hop, 2 pi k HOP / N_FFT. Whole turns are left out: the vocoder adds up the phases of
    # all frames in float32, where they would cost digits.
    turns = torch.arange(N_FFT // 2 + 1, device=x.device) * HOP % N_FFT
    frames = phase_vocoder(frames, tempo, (turns * (2 * math.pi / N_FFT))[:, None])
    y = torch.istft(frames, N_FFT, HOP, window=window, length=longer)
    return resampler(ratio, x.device)(y)[:, :n] if ratio != 1 else y


@lru_cache
def semitones(steps: float) -> Fraction:
    """The ratio of frequencies that lie so many semitones apart, in small numbers."""
    return Fraction(2 ** (steps / 12)).limit_denominator(100)


@lru_cache
def resampler(ratio: Fraction, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    """A resampler of waveforms (B, m) to (B, about m / ratio)."""
    return Resample(ratio.numerator, ratio.denominator).to(device)


def mask(masked: np.ndarray, drawn: np.ndarray, widest: int) -> None:
    """Set what masks cover in a row of booleans, given for each two numbers in [0, 1): width and place."""
    size = len(masked)
    for width_at, place_at in drawn:
        width = int(width_at * (min(widest, size // 2) + 1))
        start = int(place_at * (size - width + 1))
        masked[start : start + width] = True


def white(like: torch.Tensor, seed: int) -> torch.Tensor:
    """White noise of variance 1, (n,), on the device and as long as the samples of `like`."""
    generator = torch.Generator(like.device).manual_seed(seed)
    return torch.randn(like.shape[1], generator=generator, device=like.device)
