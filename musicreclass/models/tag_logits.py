"""The probabilities of an encoder's own tags as the output of a model, without any weights."""

from __future__ import annotations

import torch
from torch import nn

from musicreclass.errors import ConfigError, Problem
from musicreclass.plurals import counted

EPSILON = 1e-7  # probabilities are kept this far from 0 and 1


class TagLogits(nn.Module):
    """Log odds of probabilities, so that a sigmoid gives the probabilities back.

    Args:
        in_features: probabilities per track; a missing one counts as 0.
        num_classes: C; the same number.

    Shape:
        (B, in_features) float32 in [0, 1] to logits (B, C).

    Raises:
        ConfigError: if the numbers differ.
    """

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__()
        if in_features != num_classes:
            line = f"model: {counted(in_features, 'probability is', 'probabilities are')} not those of {counted(num_classes, 'tag')}"
            raise ConfigError([Problem(line, "invalid_arguments", "model", in_features)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Probabilities to logits."""
        return torch.logit(torch.nan_to_num(x.double(), 0.0), EPSILON).to(x.dtype)
