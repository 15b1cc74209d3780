"""An audio encoder of transformers with a new head, tuned in its last blocks, in full, or by low-rank adapters (LoRA)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from musicreclass.models.finetune import FineTuned, check_choice, make_head, trained_blocks
from musicreclass.models.huggingface_tower import UNUSED, AudioTower
from musicreclass.models.lora import ADAPTER, add_adapters
from musicreclass.models.weights.huggingface_folder import described_folder, read_folder, without_private_keys

TRAINABLE = ("head", "last_blocks", "all", "lora")


class HuggingFace(FineTuned):
    """An encoder of transformers with a head over the mean of its last layer over time and over the windows of a clip.

    Args:
        num_classes: C.
        checkpoint: a folder written by `save_pretrained`; None if the weights are loaded later, with the head's.
        window_seconds: see `AudioTower`.
        trainable: `head`; `last_blocks`, also the topmost blocks; `all`; or `lora`, the head and adapters of the linear layers of
            all blocks.
        last_blocks: number of trainable blocks with `trainable=last_blocks`.
        hidden: width of the head's hidden layer; 0 for a linear head.
        dropout: in the head.
        layer_decay, unfreeze_every: see `FineTuned.set_trainable`; a stage is a block, or its adapters.
        lora_rank: rank of the adapters.
        lora_alpha: the output of an adapter is multiplied by lora_alpha / lora_rank.
        config, preprocessor, width: of a trained network, instead of `checkpoint`; see `saved_arguments`.

    Shape:
        clips (B, n) float32 at the sample rate of the checkpoint to logits (B, C).

    Raises:
        ConfigError: if a setting is invalid, or transformers or peft is not installed.
        WeightsError: if the checkpoint cannot be used, see `read_folder`.
    """

    encoder: AudioTower

    def __init__(
        self,
        num_classes: int,
        checkpoint: str | None,
        window_seconds: float | None = None,
        trainable: str = "head",
        last_blocks: int = 2,
        hidden: int = 256,
        dropout: float = 0.3,
        layer_decay: float = 1.0,
        unfreeze_every: int | None = None,
        lora_rank: int = 8,
        lora_alpha: float = 16,
        config: dict[str, Any] | None = None,
        preprocessor: dict[str, Any] | None = None,
        width: int | None = None,
    ) -> None:
        super().__init__()
        check_choice(trainable, TRAINABLE)
        self.merge_adapters: Callable[[], object] | None = None
        self.blocks: list[nn.Module] = []  # that can be trained
        if checkpoint is None:
            self.folder = described_folder(Path("meta.json"), config or {}, preprocessor or {}, [])
        else:
            self.folder = read_folder(Path(checkpoint).expanduser(), "model.checkpoint")
        self.encoder = AudioTower(self.folder, window_seconds, "model")
        self.cut = torch.compiler.disable(self.windows)  # hardware.compile=true would trace the front end's NumPy
        self.frozen = {name for name, p in self.encoder.named_parameters() if not p.requires_grad}  # by transformers
        widths = self.encoder.measure() if width is None else [width]
        self.width = widths[-1]
        self.head = make_head(self.width, num_classes, hidden, dropout)
        stages = 0
        if checkpoint is not None and trainable != "head":
            self.blocks = self.encoder.blocks(len(widths) - 1)
            stages = trained_blocks(trainable, last_blocks, len(self.blocks))
        if checkpoint is not None and trainable == "lora":
            self.merge_adapters = add_adapters(self.encoder, self.blocks, lora_rank, lora_alpha)
        self.set_trainable(stages, layer_decay, unfreeze_every)

    def saved_arguments(self) -> dict[str, Any]:
        """The arguments besides those of the settings that create the network without its checkpoint."""
        return {
            "config": without_private_keys(self.folder.config),
            "preprocessor": without_private_keys(self.folder.preprocessor),
            "width": self.width,
        }

    def stages(self) -> list[list[nn.Parameter]]:
        """The parameters of each block from the top down, then everything else; with LoRA those of the adapters only."""
        if self.merge_adapters is not None:
            return [[p for name, p in block.named_parameters() if ADAPTER in name] for block in reversed(self.blocks)]
        blocks = [list(block.parameters()) for block in reversed(self.blocks)]
        in_blocks = {id(parameter) for block in blocks for parameter in block}
        others = [(name, p) for name, p in self.encoder.named_parameters() if id(p) not in in_blocks]
        return [*blocks, [p for name, p in others if name not in self.frozen and not name.endswith(UNUSED)]]

    def end_training(self) -> None:
        """Merge the adapters into the weights, so that a saved network does not need them."""
        if self.merge_adapters is not None:
            self.merge_adapters()
            self.merge_adapters = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, C) of clips."""
        vectors = self.encoder.vectors(self.cut(x))
        return self.head(vectors.unflatten(0, (len(x), -1)).mean(1))

    def windows(self, x: torch.Tensor) -> torch.Tensor:
        """The windows of clips (B, n), after the front end: (B * windows, ...)."""
        return torch.cat([self.encoder.windows(clip) for clip in x])
