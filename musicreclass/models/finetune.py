"""What networks over a pretrained encoder share: a new head, and as much of the encoder as the settings make trainable."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import nn
from typing_extensions import Self

from musicreclass.errors import ConfigError, Problem
from musicreclass.models.mlp import MLP


class FineTuned(nn.Module, ABC):
    """A pretrained encoder with a multilayer perceptron. The encoder stays in eval mode; frozen parameters get no gradient.

    The parameters of the encoder are trained in stages, from the top down. A subclass sets `encoder` and `head` and calls
    `set_trainable`.

    Attributes:
        encoder: the encoder.
        head: maps its vectors to logits.
    """

    encoder: nn.Module
    head: nn.Module

    @abstractmethod
    def stages(self) -> list[list[nn.Parameter]]:
        """The parameters of the encoder that can be trained, from the top down."""

    def set_trainable(self, stages: int, layer_decay: float, unfreeze_every: int | None) -> None:
        """Choose what is trained.

        Args:
            stages: how many of `stages()`, counted from the top.
            layer_decay: learning rate of each stage relative to the stage above it.
            unfreeze_every: epochs between unfreezing one stage and the next; None to train all of them from the start.
        """
        self.trainable_stages, self.layer_decay, self.unfreeze_every = stages, layer_decay, unfreeze_every
        self.encoder.requires_grad_(False)
        self.begin_epoch(0)

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

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the head; the encoder stays in eval mode, without dropout and masking."""
        super().train(mode)
        self.encoder.eval()
        return self


def make_head(width: int, num_classes: int, hidden: int, dropout: float) -> MLP:
    """The head over vectors of a width, with a hidden layer unless its width is 0."""
    return MLP(width, num_classes, [hidden] if hidden else [], dropout)


def check_choice(trainable: str, choices: tuple[str, ...]) -> None:
    """Make sure that `model.trainable` is one of some choices.

    Raises:
        ConfigError: if it is not.
    """
    if trainable not in choices:
        message = f"model.trainable={trainable}: must be one of {', '.join(choices)}"
        raise ConfigError([Problem(message, "invalid_value", "model.trainable", trainable)])


def trained_blocks(trainable: str, last_blocks: int, depth: int) -> int:
    """The number of blocks that are trained, of `depth`; one more where what is below the blocks is trained too.

    Raises:
        ConfigError: if there are fewer blocks than `last_blocks`.
    """
    if not 1 <= last_blocks <= depth:
        message = f"model.last_blocks={last_blocks}: must be between 1 and {depth}"
        raise ConfigError([Problem(message, "out_of_range", "model.last_blocks", last_blocks)])
    return {"head": 0, "last_blocks": last_blocks, "lora": depth, "all": depth + 1}[trainable]
