"""A network of four convolutions, of which weights exist that were trained elsewhere; `musicreclass import` reads them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

CHANNELS = (16, 32, 64, 128)
CLIPS_AT_ONCE = 8  # the first block of a clip of 30 s takes 11 MB per layer
MIN_POWER, DYNAMIC_RANGE = 1e-10, 80.0  # of librosa.power_to_db; dB below the maximum


class LegacyCNN(nn.Module):
    """Four blocks of convolution, batch normalisation, ReLU, max pooling and dropout, then global average pooling.

    The files contain weights, not the network. Assumed, since the weights do not show it: "same" padding of the convolutions;
    ReLU; 2 x 2 max pooling after each of the four blocks, the last included; the mean over bands and frames before the last
    layer; decibels that are not standardised; dropout, which has no effect on predictions.

    Args:
        num_classes: C.
        sample_rate: of the waveform, Hz.
        bias: whether the convolutions have a bias.

    Shape:
        waveforms (B, n) float32 in [-1, 1] to logits (B, C); at least 7,680 samples.
    """

    def __init__(self, num_classes: int, sample_rate: int = 22050, bias: bool = True) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.front = LibrosaMel(sample_rate)
        layers: list[nn.Module] = []
        for in_channels, out_channels in zip((1, *CHANNELS), CHANNELS, strict=False):
            convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias)
            layers += [convolution, nn.BatchNorm2d(out_channels), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(CHANNELS[-1], num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Waveforms to logits."""
        chunks = [x] if torch.compiler.is_compiling() else x.split(CLIPS_AT_ONCE)
        return self.classifier(torch.cat([self.features(self.front(chunk)).mean((2, 3)) for chunk in chunks]))


class LibrosaMel(nn.Module):
    """`power_to_db(melspectrogram(y), ref=np.max)` with librosa's defaults: 128 bands, each clip from -80 to 0 dB.

    2048 samples per frame, hop 512, Hann window, centred frames with zeros beyond the ends, power. Equals librosa to 1e-4 dB;
    torchaudio's filters, which `LogMel` uses, are computed in float32 and differ by up to 6e-4 dB.

    Args:
        sample_rate: of the waveform, Hz.

    Shape:
        (B, n) float32 to (B, 1, 128, 1 + n // 512) float32.
    """

    window: torch.Tensor
    filters: torch.Tensor
    n_fft, hop_length = 2048, 512

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(self.n_fft, dtype=torch.float64), persistent=False)
        filters = torch.from_numpy(slaney_filters(sample_rate, self.n_fft).astype(np.float32))
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Waveforms to decibels."""
        with torch.autocast(x.device.type, enabled=False):
            return self.decibels(self.power(x.float()))

    def power(self, x: torch.Tensor) -> torch.Tensor:
        """Waveforms (B, n) to the power of each bin, (B, 1025, frames) float32.

        In float64: bins of -80 dB next to loud ones hold the rounding errors of a transform in float32.
        """
        spectrum = torch.stft(
            x.double(),
            self.n_fft,
            self.hop_length,
            window=self.window.double(),
            pad_mode="constant",
            return_complex=True,
        )
        return (spectrum.real.square() + spectrum.imag.square()).float()

    def decibels(self, power: torch.Tensor) -> torch.Tensor:
        """Power of each bin to decibels in mel bands."""
        decibels = 10 * torch.log10((self.filters @ power).clamp(min=MIN_POWER))
        return (decibels - decibels.amax((1, 2), keepdim=True)).clamp(min=-DYNAMIC_RANGE).unsqueeze(1)


def slaney_filters(sample_rate: int, n_fft: int, n_mels: int = 128) -> np.ndarray:
    """Triangular filters of equal area on Slaney's mel scale, up to half the sample rate; `librosa.filters.mel`.

    Returns:
        (n_mels, 1 + n_fft // 2) float64.
    """
    linear, ratio = 200 / 3, np.log(6.4) / 27  # Hz per mel below 1000 Hz; log frequency per mel above
    top = sample_rate / 2
    highest = top / linear if top < 1000 else 15 + np.log(top / 1000) / ratio
    mels = np.linspace(0, highest, n_mels + 2)
    edges = np.where(mels < 15, mels * linear, 1000 * np.exp(ratio * (mels - 15)))
    bins = np.fft.rfftfreq(n_fft, 1 / sample_rate)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]
