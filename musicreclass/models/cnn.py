"""Convolutional networks over log-mel spectrograms."""

from __future__ import annotations

import torch
from torch import nn


class CNN(nn.Module):
    """A small residual network: a stem that halves both axes, four stages of residual blocks, mean and maximum over the rest.

    Args:
        num_classes: C.
        channels: of the first stage; each further one has twice as many.
        depth: residual blocks per stage.
        dropout: ahead of the last layer.

    Shape:
        (B, 1, mels, frames) to logits (B, C); any number of mels and frames from 16 on.
    """

    def __init__(self, num_classes: int, channels: int = 32, depth: int = 1, dropout: float = 0.2) -> None:
        super().__init__()
        self.stem = nn.Sequential(convolution(1, channels, stride=2), nn.ReLU(inplace=True))
        stages: list[nn.Module] = []
        width = channels
        for stage in range(4):
            wide = channels * 2**stage
            for block in range(depth):
                stages.append(Residual(width, wide, stride=2 if stage and not block else 1))
                width = wide
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * width, num_classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Log-mel to logits."""
        x = self.stages(self.stem(x))
        return self.head(torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1))


class Residual(nn.Module):
    """Two 3 x 3 convolutions and a way past them (He et al., 2016, arXiv:1512.03385)."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.straight = nn.Sequential(
            convolution(inside, outside, stride), nn.ReLU(inplace=True), convolution(outside, outside)
        )
        same = stride == 1 and inside == outside
        self.past = nn.Identity() if same else convolution(inside, outside, stride, size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inside, H, W) to (B, outside, H / stride, W / stride)."""
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


def convolution(inside: int, outside: int, stride: int = 1, size: int = 3) -> nn.Sequential:
    """A convolution that keeps the size but for the stride, and batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(inside, outside, size, stride, padding=size // 2, bias=False), nn.BatchNorm2d(outside)
    )
