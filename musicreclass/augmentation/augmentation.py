"""Augmentation of training batches on the device. The caller derives a key per sample from (seed, epoch, track)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from musicreclass.augmentation.effects import add_masks, stretch_and_shift, white_noise
from musicreclass.augmentation.transforms import add_noise
from musicreclass.config.settings.training import AugmentationSettings
from musicreclass.data.sampling import derive_seed
from musicreclass.plurals import counted

WAVEFORM, NOISE, SPECTROGRAM, MIXUP = range(4)  # independent random streams of a key
CPU_CHUNK = 8  # samples per call on a CPU; larger calls spend most of their time allocating memory
Keys = Sequence[int] | torch.Tensor
Range = Sequence[float] | None


class Augmentation(nn.Module):
    """Waveform effects, SpecAugment masks and mixup for training batches, without parameters or state.

    Each sample has a key, an integer that determines all of its random values. They do not depend on the sample's position in the
    batch, on the other samples (except mixup's partner), or on how the batch is split; nor do the values of one effect depend on
    the settings of another. Results agree between devices except for noise, since each device type has its own random generator
    (and for the resampler's convolution on CUDA if torch allows TF32).

    Time stretch and pitch shift share one pass of a phase vocoder and a resampler. Their values come from a grid that excludes the
    neutral value; samples with equal values are computed in one call.

    Args:
        settings: what to do, see `config.settings.AugmentationSettings`.
    """

    def __init__(self, settings: AugmentationSettings) -> None:
        super().__init__()
        self.gain_db, self.gain_p, self.polarity_p = settings.gain_db, settings.gain_p, settings.polarity_p
        self.stretch_rates = value_grid(settings.stretch_rate, settings.stretch_step, neutral=1.0)
        self.pitch_shifts = value_grid(settings.pitch_semitones, settings.pitch_step, neutral=0.0)
        self.stretch_p, self.pitch_p = settings.stretch_p, settings.pitch_p
        self.noise_snr, self.noise_snr_p = settings.noise_snr, settings.noise_snr_p
        self.noise_amplitude, self.noise_amplitude_p = settings.noise_amplitude, settings.noise_amplitude_p
        self.time_masks, self.time_mask_frames = settings.time_masks, settings.time_mask_frames
        self.freq_masks, self.freq_mask_bands = settings.freq_masks, settings.freq_mask_bands
        self.mixup_alpha = settings.mixup_alpha

    @property
    def crop_factor(self) -> float:
        """Required length of a training crop relative to the clip, so that the fastest rate still fills the clip."""
        return max([1.0, *self.stretch_rates]) if self.stretch_p > 0 else 1.0

    @property
    def has_masks(self) -> bool:
        """Whether spectrograms are augmented."""
        return self.time_masks > 0 or self.freq_masks > 0

    @torch.no_grad()
    def waveform(self, x: torch.Tensor, keys: Keys, n: int) -> torch.Tensor:
        """Apply stretch and shift, gain and polarity, then noise.

        Args:
            x: (B, m) float32, m at least `n * crop_factor`; not modified.
            keys: one integer per sample.
            n: samples in a clip.

        Returns:
            (B, n) float32; exactly `x[:, :n]` for samples that no effect was drawn for.

        Raises:
            ValueError: if the crops are too short, or the numbers of keys and samples differ.
        """
        if x.shape[1] < math.floor(n * self.crop_factor):
            raise ValueError(
                f"crops of {counted(x.shape[1], 'sample is', 'samples are')} too short for clips of {n} at rate {self.crop_factor}"
            )
        int_keys = as_int_keys(keys, len(x))
        values = np.array([random_stream(key, WAVEFORM).random(10) for key in int_keys]).reshape(len(x), 10)
        with torch.autocast(x.device.type, enabled=False):
            out = x[:, :n].clone()
            self._stretch_and_shift(out, x, values[:, :4])
            factor = self._gain_and_polarity(values[:, 4:7])
            if (factor != 1).any():
                out *= torch.from_numpy(factor).to(out)[:, None]
            self._add_noise(out, int_keys, values[:, 7:10])
        return out

    def _stretch_and_shift(self, out: torch.Tensor, x: torch.Tensor, values: np.ndarray) -> None:
        """Overwrite the rows of `out` that are stretched or shifted; rows with equal parameters share a call."""
        groups: dict[tuple[float, float], list[int]] = {}
        for row, (stretch_value, rate_value, shift_value, pitch_value) in enumerate(values):
            rate, shift = 1.0, 0.0
            if self.stretch_rates and stretch_value < self.stretch_p:
                rate = self.stretch_rates[int(rate_value * len(self.stretch_rates))]
            if self.pitch_shifts and shift_value < self.pitch_p:
                shift = self.pitch_shifts[int(pitch_value * len(self.pitch_shifts))]
            if (rate, shift) != (1.0, 0.0):
                groups.setdefault((rate, shift), []).append(row)
        for (rate, shift), rows in groups.items():
            chunk_size = CPU_CHUNK if x.device.type == "cpu" else len(rows)
            for chunk in torch.tensor(rows, device=x.device).split(chunk_size):
                out[chunk] = stretch_and_shift(x[chunk], rate, shift, out.shape[1])

    def _gain_and_polarity(self, values: np.ndarray) -> np.ndarray:
        """Gain and polarity of each sample as one factor, (B,) float32."""
        factor = np.ones(len(values))
        if self.gain_db is not None:
            low, high = self.gain_db
            factor = np.where(values[:, 0] < self.gain_p, 10 ** ((low + (high - low) * values[:, 1]) / 20), factor)
        return np.where(values[:, 2] < self.polarity_p, -factor, factor).astype(np.float32)

    def _add_noise(self, out: torch.Tensor, keys: list[int], values: np.ndarray) -> None:
        """Add white noise, at a ratio to the signal or at a fixed amplitude, in place."""
        noisy = np.zeros((len(out), 2), dtype=bool)  # columns: by ratio, by amplitude
        if self.noise_snr is not None:
            noisy[:, 0] = values[:, 0] < self.noise_snr_p
        if self.noise_amplitude > 0:
            noisy[:, 1] = values[:, 2] < self.noise_amplitude_p
        for column, rows in enumerate(map(np.flatnonzero, noisy.T)):
            if not len(rows):
                continue
            noise = torch.stack([white_noise(out, derive_seed(keys[row], NOISE, column)) for row in rows])
            index = torch.from_numpy(rows).to(out.device)
            if column == 0 and self.noise_snr is not None:
                low, high = self.noise_snr
                snr = torch.from_numpy((low + (high - low) * values[rows, 1]).astype(np.float32)).to(out.device)
                out[index] = add_noise(out[index], noise, snr)
            else:
                out[index] += self.noise_amplitude * noise

    def spectrogram(self, z: torch.Tensor, keys: Keys) -> torch.Tensor:
        """Apply SpecAugment masks over time and frequency (https://arxiv.org/abs/1904.08779), filled with the sample's mean.

        A mask's width is uniform from 0 to the maximum, its position uniform. No mask covers more than half an axis.

        Args:
            z: (B, 1, bands, frames); not modified.
            keys: one integer per sample.

        Returns:
            a tensor of the same shape and dtype.

        Raises:
            ValueError: if the numbers of keys and samples differ.
        """
        bands, frames = z.shape[2:]
        masked = np.zeros((len(z), bands + frames), dtype=bool)
        for row, key in enumerate(as_int_keys(keys, len(z))):
            time_values = random_stream(key, SPECTROGRAM, 0).random((self.time_masks, 2))
            freq_values = random_stream(key, SPECTROGRAM, 1).random((self.freq_masks, 2))
            add_masks(masked[row, bands:], time_values, self.time_mask_frames)
            add_masks(masked[row, :bands], freq_values, self.freq_mask_bands)
        if not masked.any():
            return z
        hidden = torch.from_numpy(masked).to(z.device)
        hidden_bands, hidden_frames = hidden[:, None, :bands, None], hidden[:, None, None, bands:]
        mean = z.mean((1, 2, 3), keepdim=True, dtype=torch.float32).to(z.dtype)
        return torch.where(hidden_bands | hidden_frames, mean, z)

    def mixup(
        self, x: torch.Tensor, y: torch.Tensor, keys: Keys, num_classes: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mix each sample with the previous one, the first with the last (https://arxiv.org/abs/1710.09412).

        A sample's own weight is drawn from Beta(alpha, alpha) and mirrored to at least one half. Must be called on the effective
        batch, before it is split into micro-batches.

        Args:
            x: (B, n), or any shape after B; not modified.
            y: (B,) int64, class numbers; or (B, C) indicators of tags.
            keys: one integer per sample.
            num_classes: C.

        Returns:
            the mixed x, and (B, C) float32 class probabilities as targets.

        Raises:
            ValueError: if the numbers of keys and samples differ.
        """
        int_keys = as_int_keys(keys, len(x))
        drawn = np.ones(len(x))
        if self.mixup_alpha > 0:
            drawn = np.array([random_stream(key, MIXUP).beta(self.mixup_alpha, self.mixup_alpha) for key in int_keys])
        weight = torch.from_numpy(np.maximum(drawn, 1 - drawn).astype(np.float32)).to(x.device)
        y_true = y.to(weight) if y.ndim == 2 else F.one_hot(y, num_classes).to(weight)
        targets = weight[:, None] * y_true + (1 - weight[:, None]) * y_true.roll(1, 0)
        x_weight = weight.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
        return x_weight * x + (1 - x_weight) * x.roll(1, 0), targets


def random_stream(*key: int) -> np.random.Generator:
    """A random generator seeded by a key."""
    return np.random.Generator(np.random.PCG64(derive_seed(*key)))


def as_int_keys(keys: Keys, count: int) -> list[int]:
    """Keys as Python integers; raises ValueError unless there are `count`."""
    int_keys = [int(key) for key in (keys.tolist() if isinstance(keys, torch.Tensor) else keys)]
    if len(int_keys) != count:
        raise ValueError(f"{counted(len(int_keys), 'key')} for {counted(count, 'sample')}")
    return int_keys


def value_grid(bounds: Range, step: float, neutral: float) -> list[float]:
    """Values from the lowest to the highest in equal steps, without the neutral value; empty if disabled."""
    if bounds is None:
        return []
    low, high = bounds
    values = [round(low + step * k, 6) for k in range(math.floor((high - low) / step + 1e-6) + 1)]
    return [value for value in values if value != neutral]
