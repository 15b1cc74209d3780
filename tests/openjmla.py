"""Seeded weights in the layout of OpenJMLA's checkpoint, and audio for its encoder."""

from __future__ import annotations

import math
from pathlib import Path

import torch

SHORT_WINDOW = 1.12  # window length in seconds: 7 columns of patches


def published_tensors(seed: int = 0) -> dict[str, torch.Tensor]:
    """The 150 tensors of the specification, with random weights large enough for every layer to matter."""
    shapes = {"cls_token": (1, 1, 768), "pos_embed": (1, 936, 768), "patch_embed.projection.weight": (768, 3, 16, 16),
              "patch_embed.projection.bias": (768,)}  # fmt: skip
    for i in range(12):
        for name, shape in {
            "ln1.weight": (768,), "ln1.bias": (768,), "attn.qkv.weight": (2304, 768), "attn.qkv.bias": (2304,),
            "attn.proj.weight": (768, 768), "attn.proj.bias": (768,), "ln2.weight": (768,), "ln2.bias": (768,),
            "ffn.layers.0.0.weight": (3072, 768), "ffn.layers.0.0.bias": (3072,),
            "ffn.layers.1.weight": (768, 3072), "ffn.layers.1.bias": (768,),
        }.items():  # fmt: skip
            shapes[f"layers.{i}.{name}"] = shape
    shapes |= {"ln1.weight": (768,), "ln1.bias": (768,)}
    rng = torch.Generator().manual_seed(seed)
    tensors = {name: 0.05 * torch.randn(shape, generator=rng) for name, shape in shapes.items()}
    for name in tensors:
        if name.endswith(("ln1.weight", "ln2.weight")):
            tensors[name] += 1
    return tensors


def save_checkpoint(path: Path) -> Path:
    """Save the tensors in the layout of the published epoch_20.pth."""
    torch.save({"state_dict": published_tensors(), "author": "MMSelfSup"}, path)
    return path


def music(seconds: float, seed: int = 0) -> torch.Tensor:
    """Tones over quiet noise, (1, n) at 16 kHz."""
    t = torch.arange(round(16000 * seconds)) / 16000
    rng = torch.Generator().manual_seed(seed)
    tones = sum(torch.sin(2 * math.pi * f * t) for f in (220.0 + seed, 523.0, 1760.0, 5000.0))
    return (0.1 * tones * (1 + torch.sin(3 * t)) + 0.01 * torch.randn(len(t), generator=rng)).unsqueeze(0)
