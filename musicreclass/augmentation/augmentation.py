"""Augmentation of training batches on the device: drawn per sample, from a key that the caller makes of (seed, epoch, track)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from musicreclass.augmentation.effects import mask, stretch_and_shift, white
from musicreclass.augmentation.rules import RULES, shown
from musicreclass.augmentation.transforms import add_noise
from musicreclass.data.sampling import derive_seed
from musicreclass.errors import ConfigError

WAVEFORM, NOISE, SPECTROGRAM, MIXUP = range(4)  # the streams drawn from a sample's key
CPU_PART = 8  # samples in one call there: with many more, most of the time goes into getting memory
Keys = Sequence[int] | torch.Tensor
Range = Sequence[float] | None


class Augmentation(nn.Module):
    """What is done to a training batch: waveform effects, SpecAugment masks, mixup. It has no parameters and no state.

    Each of a batch's samples has a key, an integer that decides everything drawn for it: not its place in the batch, not what
    else is in the batch (but for mixup's partner), nor how the batch is cut into parts. Whether and how one effect is
    applied does not depend on the settings of another. Between devices results agree but for the noise, which each kind
    draws in its own way (and for the resampler's TF32 convolution on CUDA, where torch allows that).

    Time stretch and pitch shift are a phase vocoder and a resampler, in one pass for both. Their values come from a grid,
    from the lowest in steps up to the highest, without the one that changes nothing; samples that share values are
    computed in one call.

    Args:
        gain_db: [lowest, highest] gain in dB, or None for off.
        gain_p: probability that a sample is amplified.
        polarity_p: probability that a sample is turned upside down.
        stretch_rate: [slowest, fastest] tempo, 1.1 being 10 % faster, or None for off.
        stretch_step: of the grid.
        stretch_p: probability that a sample is stretched.
        pitch_semitones: [lowest, highest] shift, or None for off.
        pitch_step: of the grid, semitones.
        pitch_p: probability that a sample is shifted.
        noise_snr: [lowest, highest] ratio of signal to white noise in dB, or None for off.
        noise_snr_p: probability that a sample gets noise at such a ratio.
        noise_amplitude: standard deviation of further white noise, full scale being 1; 0 for off.
        noise_amplitude_p: probability that a sample gets that noise.
        time_masks: masks over time in each sample.
        time_mask_frames: the widest such mask, frames.
        freq_masks: masks over frequency in each sample.
        freq_mask_bands: the widest such mask, mel bands.
        mixup_alpha: of the Beta distribution that the share of a sample is drawn from; 0 for off.

    Raises:
        ConfigError: a setting is unknown or cannot be.
    """

    def __init__(
        self,
        *,
        gain_db: Range = None,
        gain_p: float = 0.5,
        polarity_p: float = 0.0,
        stretch_rate: Range = None,
        stretch_step: float = 0.05,
        stretch_p: float = 0.5,
        pitch_semitones: Range = None,
        pitch_step: float = 0.5,
        pitch_p: float = 0.5,
        noise_snr: Range = None,
        noise_snr_p: float = 0.5,
        noise_amplitude: float = 0.0,
        noise_amplitude_p: float = 0.5,
        time_masks: int = 0,
        time_mask_frames: int = 20,
        freq_masks: int = 0,
        freq_mask_bands: int = 16,
        mixup_alpha: float = 0.0,
        **unknown: Any,
    ) -> None:
        super().__init__()
        given = {name: value for name, value in locals().items() if name in RULES}
        problems = [f"augmentation.{name}={value}: no such setting; leave it out" for name, value in unknown.items()]
        problems += [
            f"augmentation.{name}={shown(value)}: must be {RULES[name][0]}"
            for name, value in given.items()
            if not RULES[name][1](value)
        ]
        if problems:
            raise ConfigError(problems)
        self.gain_db, self.gain_p, self.polarity_p = gain_db, gain_p, polarity_p
        self.rates, self.stretch_p = grid(stretch_rate, stretch_step, nothing=1.0), stretch_p
        self.steps, self.pitch_p = grid(pitch_semitones, pitch_step, nothing=0.0), pitch_p
        self.noise_snr, self.noise_snr_p = noise_snr, noise_snr_p
        self.noise_amplitude, self.noise_amplitude_p = noise_amplitude, noise_amplitude_p
        self.time_masks, self.time_mask_frames = time_masks, time_mask_frames
        self.freq_masks, self.freq_mask_bands = freq_masks, freq_mask_bands
        self.mixup_alpha = mixup_alpha

    @property
    def longest(self) -> float:
        """By what a training crop must be longer than the clip, so that the fastest rate still fills the clip."""
        return max([1.0, *self.rates]) if self.stretch_p > 0 else 1.0

    @property
    def masks(self) -> bool:
        """Whether anything is done to spectrograms."""
        return self.time_masks > 0 or self.freq_masks > 0

    @torch.no_grad()
    def waveform(self, x: torch.Tensor, keys: Keys, n: int) -> torch.Tensor:
        """Stretch and shift, gain and polarity, noise, in this order.

        Args:
            x: (B, m) float32, m at least `n * longest`; left as it is.
            keys: one integer per sample.
            n: samples in a clip.

        Returns:
            (B, n) float32. Where nothing is drawn for a sample, exactly `x[:, :n]`.

        Raises:
            ValueError: the crops are too short, or there is not one key per sample.
        """
        if x.shape[1] < math.floor(n * self.longest):
            raise ValueError(f"crops of {x.shape[1]} samples are too short for clips of {n} at rate {self.longest}")
        numbers = seeds(keys, len(x))
        drawn = np.array([stream(key, WAVEFORM).random(10) for key in numbers]).reshape(len(x), 10)
        with torch.autocast(x.device.type, enabled=False):
            out = x[:, :n].clone()
            self._warp(out, x, drawn[:, :4])
            factor = self._factors(drawn[:, 4:7])
            if (factor != 1).any():
                out *= torch.from_numpy(factor).to(out)[:, None]
            self._add_noise(out, numbers, drawn[:, 7:10])
        return out

    def _warp(self, out: torch.Tensor, x: torch.Tensor, drawn: np.ndarray) -> None:
        """Stretched and shifted samples in place of plain ones, those with the same values together."""
        groups: dict[tuple[float, float], list[int]] = {}
        for row, (apply_rate, rate, apply_shift, shift) in enumerate(drawn):
            pair = (
                self.rates[int(rate * len(self.rates))] if self.rates and apply_rate < self.stretch_p else 1.0,
                self.steps[int(shift * len(self.steps))] if self.steps and apply_shift < self.pitch_p else 0.0,
            )
            if pair != (1.0, 0.0):
                groups.setdefault(pair, []).append(row)
        for (rate, steps), rows in groups.items():
            for chosen in torch.tensor(rows, device=x.device).split(CPU_PART if x.device.type == "cpu" else len(rows)):
                out[chosen] = stretch_and_shift(x[chosen], rate, steps, out.shape[1])

    def _factors(self, drawn: np.ndarray) -> np.ndarray:
        """Gain and polarity of each sample as one factor, (B,) float32."""
        factor = np.ones(len(drawn))
        if self.gain_db is not None:
            low, high = self.gain_db
            factor = np.where(drawn[:, 0] < self.gain_p, 10 ** ((low + (high - low) * drawn[:, 1]) / 20), factor)
        return np.where(drawn[:, 2] < self.polarity_p, -factor, factor).astype(np.float32)

    def _add_noise(self, out: torch.Tensor, numbers: list[int], drawn: np.ndarray) -> None:
        """White noise, at a ratio to the signal or at an amplitude, onto the samples it was drawn for."""
        kinds = np.zeros((len(out), 2), dtype=bool)
        if self.noise_snr is not None:
            kinds[:, 0] = drawn[:, 0] < self.noise_snr_p
        if self.noise_amplitude > 0:
            kinds[:, 1] = drawn[:, 2] < self.noise_amplitude_p
        for kind, rows in enumerate(map(np.flatnonzero, kinds.T)):
            if not len(rows):
                continue
            noise = torch.stack([white(out, derive_seed(numbers[row], NOISE, kind)) for row in rows])
            chosen = torch.from_numpy(rows).to(out.device)
            if kind == 0 and self.noise_snr is not None:
                low, high = self.noise_snr
                ratio = torch.from_numpy((low + (high - low) * drawn[rows, 1]).astype(np.float32)).to(out.device)
                out[chosen] = add_noise(out[chosen], noise, ratio)
            else:
                out[chosen] += self.noise_amplitude * noise

    def spectrogram(self, z: torch.Tensor, keys: Keys) -> torch.Tensor:
        """SpecAugment's masks over time and frequency (https://arxiv.org/abs/1904.08779), filled with the sample's mean.

        A mask's width is drawn from 0 to the widest, its place from all where it fits. None covers more than half an axis.

        Args:
            z: (B, 1, bands, frames); left as it is.
            keys: one integer per sample.

        Returns:
            The same shape and type.

        Raises:
            ValueError: there is not one key per sample.
        """
        numbers = seeds(keys, len(z))
        bands, frames = z.shape[2:]
        masked = np.zeros((len(z), bands + frames), dtype=bool)
        for row, key in enumerate(numbers):
            over_time, over_frequency = stream(key, SPECTROGRAM, 0), stream(key, SPECTROGRAM, 1)
            mask(masked[row, bands:], over_time.random((self.time_masks, 2)), self.time_mask_frames)
            mask(masked[row, :bands], over_frequency.random((self.freq_masks, 2)), self.freq_mask_bands)
        if not masked.any():
            return z
        hidden = torch.from_numpy(masked).to(z.device)
        hidden_bands, hidden_frames = hidden[:, None, :bands, None], hidden[:, None, None, bands:]
        mean = z.mean((1, 2, 3), keepdim=True, dtype=torch.float32).to(z.dtype)
        return torch.where(hidden_bands | hidden_frames, mean, z)

    def mixup(
        self, x: torch.Tensor, y: torch.Tensor, keys: Keys, num_classes: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mix each sample with the one before it, the first with the last (https://arxiv.org/abs/1710.09412).

        A sample's own share is drawn from Beta(alpha, alpha), or its complement where that is larger: at least a half. To be
        called with the effective batch, before it is cut into micro-batches.

        Args:
            x: (B, n), or of any shape after B; left as it is.
            y: (B,) int64, class numbers.
            keys: one integer per sample.
            num_classes: C.

        Returns:
            The mixed x, and (B, C) float32 class probabilities to train on.

        Raises:
            ValueError: there is not one key per sample.
        """
        numbers = seeds(keys, len(x))
        share = np.ones(len(x))
        if self.mixup_alpha > 0:
            share = np.array([stream(key, MIXUP).beta(self.mixup_alpha, self.mixup_alpha) for key in numbers])
        own = torch.from_numpy(np.maximum(share, 1 - share).astype(np.float32)).to(x.device)
        truth = F.one_hot(y, num_classes).to(own)
        weight = own.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
        targets = own[:, None] * truth + (1 - own[:, None]) * truth.roll(1, 0)
        return weight * x + (1 - weight) * x.roll(1, 0), targets


def stream(*key: int) -> np.random.Generator:
    """Random numbers of their own for a key."""
    return np.random.Generator(np.random.PCG64(derive_seed(*key)))


def seeds(keys: Keys, count: int) -> list[int]:
    """The keys as plain integers; ValueError unless there are so many."""
    numbers = [int(key) for key in (keys.tolist() if isinstance(keys, torch.Tensor) else keys)]
    if len(numbers) != count:
        raise ValueError(f"{len(numbers)} keys for {count} samples")
    return numbers


def grid(bounds: Range, step: float, nothing: float) -> list[float]:
    """From the lowest in steps up to the highest, without the value that changes nothing; empty where off."""
    if bounds is None:
        return []
    low, high = bounds
    values = [round(low + step * k, 6) for k in range(math.floor((high - low) / step + 1e-6) + 1)]
    return [value for value in values if value != nothing]
