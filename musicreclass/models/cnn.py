"""Convolutional networks over log-mel spectrograms."""

from __future__ import annotations

import torch
from torch import nn


class CNN(nn.Module):
    """A small residual network: four stages of residual blocks, each followed by max pooling, then the mean over the rest.

    The first stage works at the full resolution of the log-mel; a network that begins with a stride is faster and much less
    accurate on little data.

    Args:
        num_classes: C.
        channels: of the first stage; each further one has twice as many.
        depth: residual blocks per stage.
        dropout: ahead of the last layer.

    Shape:
        (B, 1, mels, frames) to logits (B, C); any number of mels and frames from 16 on.
    """

    def __init__(self, num_classes: int, channels: int = 16, depth: int = 1, dropout: float = 0.3) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        inside = 1
        for outside in (channels, 2 * channels, 4 * channels, 8 * channels):
            for _ in range(depth):
                stages.append(Residual(inside, outside))
                inside = outside
            stages.append(nn.MaxPool2d(2))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(inside, num_classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Log-mel to logits."""
        return self.head(self.stages(x).mean((2, 3)))


class Residual(nn.Module):
    """Two 3 x 3 convolutions and a way past them (He et al., 2016, arXiv:1512.03385)."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.straight = nn.Sequential(
            convolution(inside, outside), nn.ReLU(inplace=True), convolution(outside, outside)
        )
        self.past = nn.Identity() if inside == outside else convolution(inside, outside, size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inside, H, W) to (B, outside, H, W)."""
        return torch.relu(self.straight(x) + self.past(x))


class PlainCNN(nn.Module):
    """Three blocks of convolution, normalisation, ReLU and pooling, then one hidden layer: a baseline.

    Args:
        num_classes: C.
        channels: of the first block; each further one has twice as many.
        hidden: units of the hidden layer.
        dropout: ahead of the last layer.

    Shape:
        (B, 1, mels, frames) to logits (B, C); any number of mels and frames from 8 on.
    """

    def __init__(self, num_classes: int, channels: int = 16, hidden: int = 64, dropout: float = 0.3) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        inside = 1
        for outside in (channels, 2 * channels, 4 * channels):
            blocks += [convolution(inside, outside), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
            inside = outside
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(
            nn.Linear(inside, hidden), nn.ReLU(inplace=True), nn.Dropout(dropout), nn.Linear(hidden, num_classes)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Log-mel to logits."""
        return self.head(self.blocks(x).mean((2, 3)))


def convolution(inside: int, outside: int, size: int = 3) -> nn.Sequential:
    """A convolution that keeps the size, and batch normalisation."""
    return nn.Sequential(nn.Conv2d(inside, outside, size, padding=size // 2, bias=False), nn.BatchNorm2d(outside))
