"""Convolutional networks over log-mel spectrograms."""

from __future__ import annotations

import torch
from torch import nn


class CNN(nn.Module):
    """Small residual network: four stages of residual blocks, each followed by max pooling, then global average pooling.

    The first stage runs at the full resolution of the log-mel: a network that starts with a strided convolution is faster but
    much less accurate on small datasets.

    Args:
        num_classes: C.
        channels: width of the first stage; each later stage is twice as wide.
        depth: residual blocks per stage.
        dropout: probability before the last layer.

    Shape:
        (B, 1, mels, frames) to logits (B, C); at least 16 mels and 16 frames.
    """

    def __init__(self, num_classes: int, channels: int = 16, depth: int = 1, dropout: float = 0.3) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        in_channels = 1
        for out_channels in (channels, 2 * channels, 4 * channels, 8 * channels):
            for _ in range(depth):
                stages.append(ResidualBlock(in_channels, out_channels))
                in_channels = out_channels
            stages.append(nn.MaxPool2d(2))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(in_channels, num_classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Log-mel to logits."""
        return self.head(self.stages(x).mean((2, 3)))


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with a shortcut (He et al., 2016, arXiv:1512.03385)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            conv_bn(in_channels, out_channels), nn.ReLU(inplace=True), conv_bn(out_channels, out_channels)
        )
        self.shortcut = nn.Identity() if in_channels == out_channels else conv_bn(in_channels, out_channels, size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H, W)."""
        return torch.relu(self.residual(x) + self.shortcut(x))


class PlainCNN(nn.Module):
    """Baseline: three blocks of convolution, batch normalisation, ReLU and max pooling, then one hidden layer.

    Args:
        num_classes: C.
        channels: width of the first block; each later block is twice as wide.
        hidden: units of the hidden layer.
        dropout: probability before the last layer.

    Shape:
        (B, 1, mels, frames) to logits (B, C); at least 8 mels and 8 frames.
    """

    def __init__(self, num_classes: int, channels: int = 16, hidden: int = 64, dropout: float = 0.3) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        in_channels = 1
        for out_channels in (channels, 2 * channels, 4 * channels):
            blocks += [conv_bn(in_channels, out_channels), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
            in_channels = out_channels
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(
            nn.Linear(in_channels, hidden), nn.ReLU(inplace=True), nn.Dropout(dropout), nn.Linear(hidden, num_classes)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Log-mel to logits."""
        return self.head(self.blocks(x).mean((2, 3)))


def conv_bn(in_channels: int, out_channels: int, size: int = 3) -> nn.Sequential:
    """A convolution with "same" padding and without bias, followed by batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, size, padding=size // 2, bias=False), nn.BatchNorm2d(out_channels)
    )
