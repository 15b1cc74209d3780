"""Front ends: layers that turn what a source provides into what a network reads."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

FRAME_SECONDS = 0.05  # of a description
MIN_POWER = 1e-10  # -100 dB
CPU_CHUNK = 8  # waveforms per call on a CPU; larger calls spend most of their time allocating memory


class Standardize(nn.Module):
    """Imputes missing features and scales each to mean 0 and standard deviation 1, with statistics of the training split.

    The statistics are buffers of the network, so a saved network takes raw features.

    Args:
        in_features: features per track.

    Shape:
        (B, in_features) float32, NaN where missing, to (B, in_features) float32 without NaN.
    """

    fill: torch.Tensor
    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.register_buffer("fill", torch.zeros(in_features))
        self.register_buffer("mean", torch.zeros(in_features))
        self.register_buffer("scale", torch.ones(in_features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Raw features to standardised features."""
        return (torch.where(torch.isnan(x), self.fill, x) - self.mean) / self.scale


class LogMel(nn.Module):
    """Log-mel spectrogram of a waveform, each band scaled to mean 0 and standard deviation 1.

    Power in area-normalised Slaney mel bands, as in `librosa.feature.melspectrogram`; then dB (10 log10), at least -100; then
    `(dB - mean) / scale` per band. Before `fit`, mean is 0 and scale 1: plain dB. Mean and scale are saved with the network;
    window and filters are rebuilt from the settings. Always computed in float32, even under autocast.

    Args:
        sample_rate: of the waveform, Hz.
        n_fft: samples per frame.
        hop_length: samples between frames.
        n_mels: number of mel bands.
        f_min: lower edge of the lowest band, Hz.
        f_max: upper edge of the highest band, Hz; None for half the sample rate.

    Shape:
        (B, n) float32 in [-1, 1] to (B, 1, n_mels, 1 + n // hop_length) float32.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(
        self,
        sample_rate: int = 22050,
        n_fft: int = 2048,
        hop_length: int = 512,
        n_mels: int = 128,
        f_min: float = 0.0,
        f_max: float | None = None,
    ) -> None:
        from musicreclass.augmentation.transforms import mel_spectrogram  # table models do not need torchaudio

        super().__init__()
        self.hop_length = hop_length
        self.mel = mel_spectrogram(
            sample_rate=sample_rate, n_fft=n_fft, hop_length=hop_length, n_mels=n_mels, f_min=f_min, f_max=f_max, pad_mode="constant"
        )  # fmt: skip
        self.register_buffer("mean", torch.zeros(n_mels))
        self.register_buffer("scale", torch.ones(n_mels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Waveforms to standardised log-mel spectrograms."""
        return ((self.decibels(x) - self.mean[:, None]) / self.scale[:, None]).unsqueeze(1)

    def decibels(self, x: torch.Tensor) -> torch.Tensor:
        """Waveforms (B, n) to mel power in dB, (B, n_mels, frames), float32."""
        in_one_call = torch.compiler.is_compiling() or x.device.type != "cpu" or len(x) <= CPU_CHUNK
        with torch.autocast(x.device.type, enabled=False):
            if in_one_call:
                power = self.mel(x.float())
            else:
                power = torch.cat([self.mel(chunk.float()) for chunk in x.split(CPU_CHUNK)])
            return 10 * torch.log10(power.clamp(min=MIN_POWER))

    @torch.no_grad()
    def fit(self, waveforms: Iterable[torch.Tensor]) -> None:
        """Set mean and scale from training crops.

        Args:
            waveforms: batches (B, n) as in `forward`, of any sizes.

        Raises:
            ValueError: if there are no frames.
        """
        frames = 0
        total = torch.zeros(len(self.mean), dtype=torch.float64)
        squares = torch.zeros_like(total)
        for x in waveforms:
            db = self.decibels(x.to(self.mean.device)).cpu().double()
            frames += db.shape[0] * db.shape[2]
            total += db.sum((0, 2))
            squares += db.square().sum((0, 2))
        if not frames:
            raise ValueError("cannot fit the mean and scale of the log-mel: there are no waveforms")
        mean = total / frames
        deviation = (squares / frames - mean.square()).clamp(min=0).sqrt()
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(deviation > 1e-3, deviation, 1.0))  # constant bands are not scaled


class ClipDescription(nn.Module):
    """What the clips of a track sound like: statistics of mel bands in dB, and how fast the loudness varies.

    By band: mean, standard deviation, 10 and 90 % quantile, and flux (mean change per frame). Then the spectrum of the mean over
    bands, which peaks at 3 to 6 Hz for speech.

    Args:
        sample_rate: of the clips, Hz.

    Shape:
        (B, n) or (B, crops, n), int16 or float32 in [-1, 1], to (B, width) float32.
    """

    bands, rates = 32, 8
    width = 5 * bands + rates

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        n_fft = 2 ** max(8, round(math.log2(sample_rate * FRAME_SECONDS)))
        self.log_mel = LogMel(sample_rate, n_fft, n_fft // 2, self.bands)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Clips to descriptions."""
        clips = int16_to_float(x if x.ndim == 3 else x.unsqueeze(1))
        decibels = self.log_mel.decibels(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])
        ordered = decibels.transpose(1, 2).flatten(2).sort(dim=2).values
        low, high = (ordered[..., round(q * (ordered.shape[2] - 1))] for q in (0.1, 0.9))
        flux = decibels.diff(dim=3, prepend=decibels[..., :1]).abs().mean((1, 3))
        loudness = decibels.mean(2)
        power = torch.fft.rfft(loudness - loudness.mean(2, keepdim=True), dim=2).abs().square() / loudness.shape[2]
        rates = nn.functional.adaptive_avg_pool1d(power, self.rates).mean(1)
        by_band = [decibels.mean((1, 3)), decibels.std((1, 3), correction=0), low, high, flux]
        return torch.cat([*by_band, 10 * torch.log10(rates + MIN_POWER)], dim=1)


def int16_to_float(x: torch.Tensor) -> torch.Tensor:
    """Convert int16 samples to float32 in [-1, 1); other types are returned unchanged."""
    return x.float().div_(32768) if x.dtype == torch.int16 else x
