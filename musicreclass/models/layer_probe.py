"""A probe over the layers of a frozen encoder: a learned mix of layers and a small head.

Reference: Yuan et al., "MARBLE: Music Audio Representation Benchmark for Universal Evaluation", 2023, arXiv:2306.10548.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

import torch
from torch import nn

from musicreclass.errors import ConfigError, Problem
from musicreclass.models.mlp import MLP

LAYER = re.compile(r"(.*\blayer_[^/]+)/\d+")  # of features.layer=all, also in joined features
log = logging.getLogger("musicreclass")


class LayerProbe(nn.Module):
    """The softmax-weighted mean of an encoder's layers, then a multilayer perceptron.

    Args:
        in_features: features per track.
        num_classes: C.
        columns: names of the features, `layer_NAME/0`, `layer_NAME/1`, ... of each layer; other tables count as one layer.
        hidden: width of the hidden layer; 0 for a linear head.
        dropout: probability of dropping a hidden unit in training.

    Attributes:
        mix: the logits of the layers' weights, (layers,); equal weights at first.
        layers: the names of the layers.

    Shape:
        (B, in_features) float32 to logits (B, C).

    Raises:
        ConfigError: if the layers have different widths.
    """

    takes_columns = True

    def __init__(
        self, in_features: int, num_classes: int, columns: Sequence[str] = (), hidden: int = 512, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.layers = layer_names(columns)
        if not self.layers:
            log.warning("model=layer_probe: the table has no columns layer_NAME/0, ...; it counts as one layer")
        self.mix = nn.Parameter(torch.zeros(max(1, len(self.layers))))
        self.head = MLP(in_features // len(self.mix), num_classes, [hidden] if hidden else [], dropout)

    def weights(self) -> torch.Tensor:
        """The weights of the layers, (layers,); their sum is 1."""
        return self.mix.softmax(0)

    def end_training(self) -> None:
        """Log the weights of the layers."""
        weights = zip(self.layers, self.weights().tolist(), strict=False)
        log.info(
            "weights of the layers: %s", ", ".join(f"{name} {weight:.3f}" for name, weight in weights) or "one layer"
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, C)."""
        return self.head(torch.einsum("l,bld->bd", self.weights(), x.unflatten(1, (len(self.mix), -1))))


def layer_names(columns: Sequence[str]) -> list[str]:
    """The layers that columns belong to, in order; empty if the columns have no layers.

    Raises:
        ConfigError: if only some belong to a layer, or layers have different widths.
    """
    matches = [LAYER.fullmatch(column) for column in columns]
    if not any(matches):
        return []
    names = [match[1] if match else "" for match in matches]
    layers = list(dict.fromkeys(names))
    width = len(names) // len(layers)
    if names != [layer for layer in layers for _ in range(width)] or "" in layers:
        sizes = ", ".join(f"{layer or 'others'} {names.count(layer)}" for layer in layers)
        line = f"model=layer_probe: needs layers of equal width ({sizes}); choose one with features.layer=NAME and model=mlp"
        raise ConfigError([Problem(line, "input_mismatch", "model", "layer_probe", "model=mlp")])
    return layers
