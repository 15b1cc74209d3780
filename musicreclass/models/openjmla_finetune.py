"""Networks with a pretrained encoder inside: a new head, and as much of the encoder as is to be tuned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from musicreclass.errors import ConfigError
from musicreclass.models.mlp import MLP
from musicreclass.models.openjmla import OpenJMLAEncoder

TUNED = ("head", "last_blocks", "all")


class OpenJMLA(nn.Module):
    """OpenJMLA's encoder with a head over its pooled tokens. What is not tuned takes no gradient and stays in eval mode.

    Args:
        num_classes: C.
        checkpoint: the encoder's file; `random` for fresh weights; None for weights that are loaded later, with the head's.
        prefix: of the encoder in the file, where that holds several.
        pooling, window_seconds, position: see `OpenJMLAEncoder`.
        trainable: `head` alone, `last_blocks` blocks and the last normalisation too, or `all`.
        last_blocks: how many blocks, from the top, for `trainable=last_blocks`.
        hidden: width of the head's hidden layer; 0 for a linear head.
        dropout: in the head.
        layer_decay: each block's learning rate, as a share of that of the block above it.
        unfreeze_every: epochs from one block's turn to the next one's, from the head down; None tunes all that is tuned from the start.

    Shape:
        clips (B, n) float32 at 16 kHz to logits (B, C).
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
        if trainable not in TUNED:
            raise ConfigError([f"model.trainable={trainable}: there is {', '.join(TUNED)}"])
        settings: dict[str, Any] = {"pooling": pooling, "window_seconds": window_seconds, "position": position}
        encoder = OpenJMLAEncoder(**settings)
        widths = [hidden] if hidden else []
        self.head = MLP(len(encoder.columns), num_classes, widths, dropout)
        self.encoder = (
            encoder if checkpoint is None else OpenJMLAEncoder.from_checkpoint(checkpoint, prefix, **settings)
        )
        layers = list(self.encoder.layers)
        if not 1 <= last_blocks <= len(layers):
            raise ConfigError([f"model.last_blocks={last_blocks}: from 1 to {len(layers)} blocks"])
        self.tuned = {"head": 0, "last_blocks": last_blocks, "all": len(layers) + 1}[
            trainable
        ]  # stages of the encoder, from the top
        self.layer_decay, self.unfreeze_every = layer_decay, unfreeze_every
        self.begin_epoch(0)

    def stages(self) -> list[list[nn.Parameter]]:
        """The encoder's parameters from the top down: one list for each block, the last for what is below them."""
        encoder = self.encoder
        blocks = [list(block.parameters()) for block in reversed(encoder.layers)]
        blocks[0] += encoder.ln1.parameters()
        return [*blocks, [encoder.cls_token, encoder.pos_embed, *encoder.patch_embed.parameters()]]

    def begin_epoch(self, epoch: int) -> None:
        """Let those parameters take a gradient whose turn has come."""
        every = self.unfreeze_every
        turn = self.tuned if every is None else min(self.tuned, epoch // every)
        for depth, stage in enumerate(self.stages()):
            for parameter in stage:
                parameter.requires_grad_(depth < turn)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """All that is ever tuned, for an optimizer; `lr_scale` is a group's share of the learning rate."""
        groups = [{"params": list(self.head.parameters()), "lr_scale": 1.0}]
        for depth, stage in enumerate(self.stages()[: self.tuned]):
            groups.append({"params": stage, "lr_scale": self.layer_decay**depth})
        return groups

    def train(self, mode: bool = True) -> OpenJMLA:
        """As any module, but for what is frozen."""
        super().train(mode)
        self.encoder.eval()  # without dropout or batch statistics there is no other difference
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, C) of the first window of each clip."""
        encoder = self.encoder
        return self.head(encoder.pooled(encoder.tokens(encoder.first_window(x))))
