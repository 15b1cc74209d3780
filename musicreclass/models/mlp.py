"""Multilayer perceptron over feature tables."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


class MLP(nn.Sequential):
    """Linear, ReLU and dropout for each hidden layer, then a linear layer to the classes.

    Args:
        in_features: features per track.
        num_classes: number of classes.
        hidden: widths of the hidden layers.
        dropout: probability of dropping a hidden unit during training.

    Shape:
        (B, in_features) float32 to logits (B, num_classes).
    """

    def __init__(
        self, in_features: int, num_classes: int, hidden: Sequence[int] = (256, 128), dropout: float = 0.3
    ) -> None:
        widths = [in_features, *hidden]
        layers: list[nn.Module] = []
        for in_width, out_width in pairwise(widths):
            layers += [nn.Linear(in_width, out_width), nn.ReLU(), nn.Dropout(dropout)]
        super().__init__(*layers, nn.Linear(widths[-1], num_classes))
