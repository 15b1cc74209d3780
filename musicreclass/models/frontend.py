"""What stands before a network: from what a DataModule gives to what the network reads."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

FLOOR = 1e-10  # least mel power, -100 dB
CPU_PART = 8  # waveforms in one call there: with many more, most of the time goes into getting memory


class Standardize(nn.Module):
    """Fills missing features and brings each to mean 0 and deviation 1, with statistics of the training split.

    Its statistics are part of the network's weights, so a saved network takes raw features.

    Args:
        in_features: features per track.

    Shape:
        (B, in_features) float32, NaN where missing, to the same without NaN.
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
        """Raw features to standardised ones."""
        return (torch.where(torch.isnan(x), self.fill, x) - self.mean) / self.scale


class LogMel(nn.Module):
    """Log-mel spectrogram of a waveform, each band brought to mean 0 and deviation 1.

    Power in slaney mel bands, area-normalised, as `librosa.feature.melspectrogram` has them; then dB (10 log10), at least -100;
    then `(dB - mean) / scale` per band. Before `fit`, mean is 0 and scale 1: plain dB. These two are part of the network's
    weights; window and filters are made from the settings and are not. Always computed in float32, under autocast too.

    Args:
        sample_rate: of the waveform, Hz.
        n_fft: samples per frame.
        hop_length: samples from frame to frame.
        n_mels: bands.
        f_min: lower edge of the lowest band, Hz.
        f_max: upper edge of the highest band, Hz; None: half the sample rate.

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
        from musicreclass.augmentation.transforms import mel_spectrogram  # networks over tables do without torchaudio

        super().__init__()
        self.hop_length = hop_length
        self.mel = mel_spectrogram(
            sample_rate=sample_rate, n_fft=n_fft, hop_length=hop_length, n_mels=n_mels, f_min=f_min, f_max=f_max, pad_mode="constant"
        )  # fmt: skip
        self.register_buffer("mean", torch.zeros(n_mels))
        self.register_buffer("scale", torch.ones(n_mels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Waveforms to standardised log-mel."""
        return ((self.decibels(x) - self.mean[:, None]) / self.scale[:, None]).unsqueeze(1)

    def decibels(self, x: torch.Tensor) -> torch.Tensor:
        """Waveforms (B, n) to mel power in dB, (B, n_mels, frames), float32."""
        whole = x.device.type != "cpu" or len(x) <= CPU_PART or torch.compiler.is_compiling()
        with torch.autocast(x.device.type, enabled=False):
            power = self.mel(x.float()) if whole else torch.cat([self.mel(part.float()) for part in x.split(CPU_PART)])
            return 10 * torch.log10(power.clamp(min=FLOOR))

    @torch.no_grad()
    def fit(self, waveforms: Iterable[torch.Tensor]) -> None:
        """Set mean and scale from training crops.

        Args:
            waveforms: batches (B, n) as in `forward`, of any sizes.

        Raises:
            ValueError: there is no frame in them.
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
            raise ValueError("no waveform to fit the log-mel's mean and scale to")
        mean = total / frames
        deviation = (squares / frames - mean.square()).clamp(min=0).sqrt()
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(deviation > 1e-3, deviation, 1.0))  # a band that never changes stays as it is


def int16_to_float(x: torch.Tensor) -> torch.Tensor:
    """int16 samples as float32 in [-1, 1); other types as they are."""
    return x.float() / 32768 if x.dtype == torch.int16 else x
