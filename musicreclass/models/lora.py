"""Low-rank adapters of peft for a pretrained encoder (LoRA; Hu et al., 2021, arXiv:2106.09685)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from musicreclass.config.messages import brief
from musicreclass.config.plugins import PEFT
from musicreclass.errors import ConfigError, Problem
from musicreclass.models.huggingface_tower import AudioTower

ADAPTER = "lora_"  # in the names of an adapter's parameters


def add_adapters(tower: AudioTower, blocks: list[nn.Module], rank: int, alpha: float) -> Callable[[], object]:
    """Add an adapter to each linear layer of some blocks, in place; the output does not change yet.

    Returns:
        a function that adds the adapters to the weights of their layers and removes them, in place.

    Raises:
        ConfigError: if peft is not installed, or the blocks call no linear layer.
    """
    try:
        from peft import LoraConfig, LoraModel
    except ImportError as error:
        line = f"model.trainable=lora: peft cannot be imported ({brief(error)}): {PEFT.remedy()}"
        raise ConfigError([Problem(line, "missing_plugin", "model.trainable", "lora", PEFT.remedy())]) from error
    names = called_layers(tower, blocks)
    if not names:
        line = "model.trainable=lora: the blocks of this network call no linear layers; use last_blocks or all"
        raise ConfigError([Problem(line, "unsupported_layers", "model.trainable", "lora", "last_blocks")])
    options: dict[str, Any] = {
        "r": rank,
        "lora_alpha": alpha,
        "target_modules": names,
    }  # alpha is declared as int, and used as float
    config = LoraConfig(**options, lora_dropout=0.0, bias="none")
    return LoraModel(tower.network, config, "default").merge_and_unload


@torch.inference_mode()
def called_layers(tower: AudioTower, blocks: list[nn.Module]) -> list[str]:
    """The names of the linear layers that blocks call in a forward pass.

    Others only lend their weights to a fused attention (WavLM), which would not use an adapter.
    """
    in_blocks = {id(module) for block in blocks for module in block.modules()}
    called: list[str] = []
    hooks = [
        module.register_forward_hook(lambda *_, name=name: called.append(name))
        for name, module in tower.network.named_modules()
        if isinstance(module, nn.Linear) and id(module) in in_blocks
    ]
    try:
        tower.vectors(tower.windows(torch.zeros(tower.window)))
    finally:
        for hook in hooks:
            hook.remove()
    return list(dict.fromkeys(called))
