"""OpenJMLA's encoder with a new head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from musicreclass.models.finetune import FineTuned, check_choice, make_head, trained_blocks
from musicreclass.models.openjmla import OpenJMLAEncoder

TRAINABLE = ("head", "last_blocks", "all")


class OpenJMLA(FineTuned):
    """OpenJMLA's encoder with a head over its pooled tokens.

    Args:
        num_classes: C.
        checkpoint: the encoder's file; `random` for random weights; None if the weights are loaded later, with the head's.
        prefix: which encoder to load, if the file contains several.
        pooling, window_seconds, position: see `OpenJMLAEncoder`.
        trainable: `head`; `last_blocks`, also the topmost blocks and the final normalisation; or `all`.
        last_blocks: number of trainable blocks with `trainable=last_blocks`.
        hidden: width of the head's hidden layer; 0 for a linear head.
        dropout: in the head.
        layer_decay, unfreeze_every: see `FineTuned.set_trainable`; a stage is a block.

    Shape:
        clips (B, n) float32 at 16 kHz to logits (B, C).

    Raises:
        ConfigError: if a setting is invalid.
        WeightsError: see `OpenJMLAEncoder.from_checkpoint`.
    """

    encoder: OpenJMLAEncoder

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
        check_choice(trainable, TRAINABLE)
        settings: dict[str, Any] = {"pooling": pooling, "window_seconds": window_seconds, "position": position}
        encoder = OpenJMLAEncoder(**settings)
        self.head = make_head(len(encoder.columns), num_classes, hidden, dropout)
        if checkpoint is not None:
            encoder = OpenJMLAEncoder.from_checkpoint(checkpoint, prefix, **settings)
        self.encoder = encoder
        self.set_trainable(trained_blocks(trainable, last_blocks, len(encoder.layers)), layer_decay, unfreeze_every)

    def stages(self) -> list[list[nn.Parameter]]:
        """The encoder's parameters from the top down: one list per block, then one for everything below the blocks."""
        encoder = self.encoder
        blocks = [list(block.parameters()) for block in reversed(encoder.layers)]
        blocks[0] += encoder.ln1.parameters()
        return [*blocks, [encoder.cls_token, encoder.pos_embed, *encoder.patch_embed.parameters()]]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, C) of the first window of each clip."""
        encoder = self.encoder
        return self.head(encoder.pool(encoder.tokens(encoder.first_window(x))))
