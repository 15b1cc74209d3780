"""OpenJMLA's encoder: a ViT-B/16 over log-mel spectrograms, pretrained on music as a masked autoencoder.

The architecture and front end follow the OpenJMLA release and MMSelfSup's masked autoencoder; the published checkpoint loads
without renaming tensors.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from musicreclass.errors import ConfigError, Problem
from musicreclass.models.encoder import Encoder
from musicreclass.models.openjmla_layers import (
    EPSILON,
    HOP,
    N_FFT,
    N_MELS,
    PATCH_SIZE,
    SAMPLE_RATE,
    WIDTH,
    OpenJMLAMel,
    PatchEmbedding,
    TransformerBlock,
)
from musicreclass.models.weights.torch_files import find_prefix, read_tensors

FRAMES = 2992  # of the spectrograms used in pretraining, 29.92 s
PATCH_ROWS, PATCH_COLUMNS = N_MELS // PATCH_SIZE, FRAMES // PATCH_SIZE  # of these spectrograms
DEPTH = 12
POOLINGS = ("mean", "cls", "cls_mean")
POSITIONS = ("cut", "interpolate")
log = logging.getLogger("musicreclass")


class OpenJMLAEncoder(Encoder):
    """OpenJMLA's encoder, without weights; `from_checkpoint` also loads them.

    Args:
        pooling: how `embed` pools the tokens: `mean` of the patches, the `cls` token, or `cls_mean`, both concatenated.
        window_seconds: window length, rounded down to whole patches of 0.16 s; None for the 29.92 s of pretraining.
        position: position embeddings for other lengths: `cut` uses those of the first patches, `interpolate` resamples all.

    Raises:
        ConfigError: if a setting is invalid.
    """

    sample_rate = SAMPLE_RATE
    stretch: torch.Tensor

    def __init__(self, pooling: str = "mean", window_seconds: float | None = None, position: str = "cut") -> None:
        super().__init__()
        columns = PATCH_COLUMNS if window_seconds is None else round(window_seconds * SAMPLE_RATE / HOP) // PATCH_SIZE
        problems = invalid_settings(pooling, window_seconds, position, columns)
        if problems:
            raise ConfigError(problems)
        self.pooling, self.position, self.frames = pooling, position, columns * PATCH_SIZE
        self.settings = {"version": 1, "pooling": pooling, "frames": self.frames, "position": position}
        self.columns = [f"openjmla_{name}_{i:03d}" for name in pooling.split("_") for i in range(WIDTH)]
        self.mel = OpenJMLAMel()
        # Interpolation as a matrix: the gradient of bicubic interpolation is not deterministic on every device.
        identity = torch.eye(PATCH_COLUMNS)[None, :, None]
        stretch = F.interpolate(identity, (1, columns), mode="bicubic")[0, :, 0]
        self.register_buffer("stretch", stretch, persistent=False)  # (PATCH_COLUMNS, columns)
        with torch.device("meta"):  # takes no memory and no time; weights are assigned later
            self.cls_token = nn.Parameter(torch.empty(1, 1, WIDTH))
            self.pos_embed = nn.Parameter(torch.empty(1, 1 + PATCH_ROWS * PATCH_COLUMNS, WIDTH))
            self.patch_embed = PatchEmbedding()
            self.layers = nn.ModuleList(TransformerBlock() for _ in range(DEPTH))
            self.ln1 = nn.LayerNorm(WIDTH, eps=EPSILON)

    @classmethod
    def from_checkpoint(cls, checkpoint: str | Path, prefix: str | None = None, **settings: Any) -> OpenJMLAEncoder:
        """Build the encoder with the weights of a checkpoint, in eval mode.

        Args:
            checkpoint: a file with all 150 tensors, under any prefix and at any depth; or `random` for random weights from a
                fixed seed.
            prefix: which encoder to load, if the file contains several.
            settings: arguments of the class.

        Raises:
            WeightsError: if the file is missing, damaged, or does not contain the encoder.
        """
        encoder = cls(**settings)
        if str(checkpoint) == "random":
            encoder.load_state_dict(random_weights(encoder), assign=True)
            return encoder.eval()
        path = Path(checkpoint).expanduser()
        tensors = read_tensors(path)
        shapes = {name: tensor.shape for name, tensor in encoder.state_dict().items()}
        prefix = find_prefix(path, tensors, shapes, "OpenJMLA encoder", prefix)
        encoder.load_state_dict({name: tensors.pop(prefix + name).float() for name in shapes}, strict=True, assign=True)
        unused = ", ".join(list(tensors)[:5]) + (", ..." if len(tensors) > 5 else "")
        log.info("%s: loaded the encoder under %r; unused tensors: %s", path, prefix, unused or "none")
        return encoder.eval()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens of the first window of each waveform.

        Args:
            x: (B, samples) float32 in [-1, 1] at 16 kHz, at least 201 samples; waveforms shorter than a window are repeated.

        Returns:
            the class token (B, 768) and the patch tokens (B, N, 768), low bands first, after the final normalisation; N is 935
            for windows of 29.92 s.
        """
        tokens = self.tokens(self.first_window(x))
        return tokens[:, 0], tokens[:, 1:]

    def first_window(self, x: torch.Tensor) -> torch.Tensor:
        """Waveforms (B, samples) to the first window of their spectrograms, (B, 80, frames)."""
        return crop_or_repeat(self.mel(x), self.frames)

    def tokens(self, x: torch.Tensor) -> torch.Tensor:
        """Windows of the spectrogram (B, 80, frames) to tokens (B, 1 + N, 768), the class token first."""
        position = self.positions()
        x = self.patch_embed(x) + position[:, 1:]
        x = torch.cat([(self.cls_token + position[:, :1]).expand(len(x), -1, -1).to(x.dtype), x], 1)
        for block in self.layers:
            x = block(x)
        return self.ln1(x)

    def positions(self) -> torch.Tensor:
        """The position embeddings of a window, (1, 1 + N, 768)."""
        columns = self.frames // PATCH_SIZE
        if columns == PATCH_COLUMNS:
            return self.pos_embed
        grid = self.pos_embed[:, 1:].unflatten(1, (PATCH_ROWS, PATCH_COLUMNS))
        cut = self.position == "cut"
        grid = grid[:, :, :columns] if cut else torch.einsum("brtd,tc->brcd", grid, self.stretch)
        return torch.cat([self.pos_embed[:, :1], grid.flatten(1, 2)], 1)

    def windows(self, waveform: torch.Tensor) -> torch.Tensor:
        """Cut a recording into max(1, round(frames / window)) evenly spaced windows of its spectrogram, (W, 80, frames)."""
        frames = 1 + len(waveform) // HOP
        count = max(1, round(frames / self.frames))
        if count == 1:
            return self.first_window(waveform.unsqueeze(0))
        padded, last_start = self.mel.pad(waveform.unsqueeze(0)), frames - self.frames
        starts = [last_start * k // (count - 1) * HOP for k in range(count)]
        # One window at a time: the spectrogram of a long recording would take gigabytes.
        length = N_FFT + HOP * (self.frames - 1)
        return torch.cat([self.mel.spectrogram(padded[:, start : start + length]) for start in starts])

    def embed(self, windows: torch.Tensor) -> torch.Tensor:
        """See `Encoder`."""
        return self.pool(self.tokens(windows)).float()

    def pool(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (B, 1 + N, 768) to vectors (B, 768), or (B, 1536) for `cls_mean`."""
        parts = {"cls": lambda: tokens[:, 0], "mean": lambda: tokens[:, 1:].mean(1)}
        return torch.cat([parts[name]() for name in self.pooling.split("_")], 1)


def invalid_settings(pooling: str, window_seconds: float | None, position: str, columns: int) -> list[Problem]:
    """Every problem of an encoder's settings; `columns` is the length of a window in patches."""
    problems = []
    if pooling not in POOLINGS:
        problems.append(
            Problem(f"pooling={pooling}: must be one of {', '.join(POOLINGS)}", "invalid_value", "pooling", pooling)
        )
    if position not in POSITIONS:
        problems.append(
            Problem(
                f"position={position}: must be one of {', '.join(POSITIONS)}", "invalid_value", "position", position
            )
        )
    elif columns < 1:
        problems.append(
            Problem(
                f"window_seconds={window_seconds}: must be at least one patch, 0.16 s",
                "window_too_short",
                "window_seconds",
                window_seconds,
            )
        )
    elif columns > PATCH_COLUMNS and position == "cut":
        problems.append(
            Problem(
                f"window_seconds={window_seconds}: longer than the 29.92 s of pretraining; set position=interpolate",
                "window_too_long",
                "window_seconds",
                window_seconds,
                "position=interpolate",
            )
        )
    return problems


def crop_or_repeat(mel: torch.Tensor, frames: int) -> torch.Tensor:
    """The first `frames` of a spectrogram (B, 80, T). A shorter one is tiled an odd number of times and cropped at its centre."""
    length = mel.shape[2]
    if length >= frames:
        return mel[:, :, :frames]
    times = frames // length + 1
    times += times % 2 == 0
    start = (times * length - frames + 1) // 2
    return mel.repeat(1, 1, times)[:, :, start : start + frames]


def random_weights(module: nn.Module) -> dict[str, torch.Tensor]:
    """Random weights for every parameter, from a fixed seed: matrices with standard deviation 0.02, LayerNorms at identity."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, parameter in module.state_dict().items():
        if parameter.ndim > 1:
            weights[name] = 0.02 * torch.randn(parameter.shape, generator=generator)
        elif name.endswith(("ln1.weight", "ln2.weight")):
            weights[name] = torch.ones(parameter.shape)
        else:
            weights[name] = torch.zeros(parameter.shape)
    return weights
