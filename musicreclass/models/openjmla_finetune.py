"""Networks that fine-tune a pretrained encoder: a new head, and as much of the encoder as the settings make trainable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from musicreclass.errors import ConfigError, Problem
from musicreclass.models.mlp import MLP
from musicreclass.models.openjmla import OpenJMLAEncoder

TRAINABLE = ("head", "last_blocks", "all")


class OpenJMLA(nn.Module):
    """OpenJMLA's encoder with a head over its pooled tokens. The encoder stays in eval mode; frozen parameters get no gradient.

    Args:
        num_classes: C.
        checkpoint: the encoder's file; `random` for random weights; None if the weights are loaded later, with the head's.
        prefix: which encoder to load, if the file contains several.
        pooling, window_seconds, position: see `OpenJMLAEncoder`.
        trainable: `head`; `last_blocks`, also the topmost blocks and the final normalisation; or `all`.
        last_blocks: number of trainable blocks with `trainable=last_blocks`.
        hidden: width of the head's hidden layer; 0 for a linear head.
        dropout: in the head.
        layer_decay: learning rate of each block relative to the block above it.
        unfreeze_every: epochs between unfreezing one block and the next, from the top; None to train all of them from the start.

    Shape:
        clips (B, n) float32 at 16 kHz to logits (B, C).

    Raises:
        ConfigError: if a setting is invalid.
        WeightsError: see `OpenJMLAEncoder.from_checkpoint`.
    """

    def __init__(
        self,
        num_classes: int,
        checkpoint: str | Path | None,
        prefix: str | None = None,
        pooling: str = "mean",
        window_seconds: float | None = None,
        position: str = "cut",
        trainable: str = "head",
        last_blocks: int = 2,
        hidden: int = 256,
        dropout: float = 0.3,
        layer_decay: float = 1.0,
        unfreeze_every: int | None = None,
    ) -> None:
        super().__init__()
        if trainable not in TRAINABLE:
            message = f"model.trainable={trainable}: must be one of {', '.join(TRAINABLE)}"
            raise ConfigError([Problem(message, "invalid_value", "model.trainable", trainable)])
        settings: dict[str, Any] = {"pooling": pooling, "window_seconds": window_seconds, "position": position}
        encoder = OpenJMLAEncoder(**settings)
        widths = [hidden] if hidden else []
        self.head = MLP(len(encoder.columns), num_classes, widths, dropout)
        if checkpoint is not None:
            encoder = OpenJMLAEncoder.from_checkpoint(checkpoint, prefix, **settings)
        self.encoder = encoder
        depth = len(encoder.layers)
        if not 1 <= last_blocks <= depth:
            message = f"model.last_blocks={last_blocks}: must be between 1 and {depth}"
            raise ConfigError([Problem(message, "out_of_range", "model.last_blocks", last_blocks)])
        self.trainable_stages = {"head": 0, "last_blocks": last_blocks, "all": depth + 1}[trainable]
        self.layer_decay, self.unfreeze_every = layer_decay, unfreeze_every
        self.begin_epoch(0)

    def stages(self) -> list[list[nn.Parameter]]:
        """The encoder's parameters from the top down: one list per block, then one for everything below the blocks."""
        encoder = self.encoder
        blocks = [list(block.parameters()) for block in reversed(encoder.layers)]
        blocks[0] += encoder.ln1.parameters()
        return [*blocks, [encoder.cls_token, encoder.pos_embed, *encoder.patch_embed.parameters()]]

    def begin_epoch(self, epoch: int) -> None:
        """Unfreeze the stages that are trained in an epoch and freeze the others."""
        unfrozen = self.trainable_stages
        if self.unfreeze_every is not None:
            unfrozen = min(unfrozen, epoch // self.unfreeze_every)
        for depth, stage in enumerate(self.stages()):
            for parameter in stage:
                parameter.requires_grad_(depth < unfrozen)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The parameters trained in any epoch, for an optimizer; `lr_scale` multiplies the learning rate of a group."""
        groups = [{"params": list(self.head.parameters()), "lr_scale": 1.0}]
        for depth, stage in enumerate(self.stages()[: self.trainable_stages]):
            groups.append({"params": stage, "lr_scale": self.layer_decay**depth})
        return groups

    def train(self, mode: bool = True) -> OpenJMLA:
        """Set the mode of the head; the encoder stays in eval mode."""
        super().train(mode)
        self.encoder.eval()  # it has neither dropout nor batch statistics, so its output is the same
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, C) of the first window of each clip."""
        encoder = self.encoder
        return self.head(encoder.pool(encoder.tokens(encoder.first_window(x))))
