"""What stands before a network: from what a DataModule gives to what the network reads."""

from __future__ import annotations

import torch
from torch import nn


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
