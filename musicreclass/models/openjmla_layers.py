"""Layers of OpenJMLA's encoder: its mel front end, patch embedding and transformer blocks.

Parameters have the names and shapes of the published checkpoint, which follows MMSelfSup's masked autoencoder.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

SAMPLE_RATE = 16000
N_FFT, HOP = 400, 160  # samples
N_MELS, PATCH_SIZE = 80, 16  # a patch is a square of 16 bands x 16 frames
WIDTH, HEADS = 768, 12
EPSILON = 1e-6  # of every LayerNorm


class OpenJMLAMel(nn.Module):
    """The front end used in pretraining: log-mel power at 100 frames a second, shifted and scaled.

    Always computed in float32, even under autocast.

    Shape:
        (B, n) float32 in [-1, 1] at 16 kHz to (B, 80, 1 + n // 160) float32.
    """

    window: torch.Tensor
    filters: torch.Tensor

    def __init__(self) -> None:
        from librosa.filters import mel  # computes in float64; torchaudio in float32

        super().__init__()
        filters = mel(sr=SAMPLE_RATE, n_fft=N_FFT, n_mels=N_MELS, fmin=50, fmax=8000)
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)
        self.register_buffer("filters", torch.from_numpy(filters), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Waveforms to spectrograms."""
        return self.spectrogram(self.pad(x))

    def pad(self, x: torch.Tensor) -> torch.Tensor:
        """Pad waveforms (B, n) by reflection to (B, n + 400), so that frames are centred."""
        return F.pad(x.float().unsqueeze(1), (N_FFT // 2, N_FFT // 2), "reflect").squeeze(1)

    def spectrogram(self, x: torch.Tensor) -> torch.Tensor:
        """Spectrograms without padding: (B, 400 + 160 * (T - 1)) to (B, 80, T)."""
        with torch.autocast(x.device.type, enabled=False):
            frames = torch.stft(x, N_FFT, HOP, window=self.window, center=False, return_complex=True)
            power = frames.real.square() + frames.imag.square()
            return (torch.log(self.filters @ power + 1.1920929e-07) + 4.5) / 4.5


class PatchEmbedding(nn.Module):
    """Embeds patches of 16 x 16 as tokens.

    The published layer takes three channels, which all receive the same spectrogram; summing its weights over the channels lets
    it take one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.projection = nn.Conv2d(3, WIDTH, PATCH_SIZE, PATCH_SIZE)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Spectrograms (B, 80, T) to tokens (B, 5 * (T // 16), 768), low bands first."""
        weight = self.projection.weight.sum(1, keepdim=True)
        return F.conv2d(x.unsqueeze(1), weight, self.projection.bias, stride=PATCH_SIZE).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Self-attention with 12 heads; one linear layer computes query, key and value, stacked in that order."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens (B, N, 768) to tokens (B, N, 768)."""
        q, k, v = self.qkv(x).unflatten(2, (3, HEADS, WIDTH // HEADS)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers with an exact GELU in between."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU()), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens (B, N, 768) to tokens (B, N, 768)."""
        return self.layers(x)


class TransformerBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(WIDTH, eps=EPSILON)
        self.attn = Attention()
        self.ln2 = nn.LayerNorm(WIDTH, eps=EPSILON)
        self.ffn = FeedForward()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens (B, N, 768) to tokens (B, N, 768)."""
        x = x + self.attn(self.ln1(x))
        return x + self.ffn(self.ln2(x))
