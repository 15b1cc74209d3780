"""OpenJMLA's encoder: a ViT-B/16 over log-mel spectrograms, pretrained on music as a masked autoencoder.

The tensors have the names and shapes of the published checkpoint, so that it loads as it is. Source of the architecture and
the front end: the OpenJMLA release and MMSelfSup's masked autoencoder, in whose naming the checkpoint is written.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from musicreclass.errors import ConfigError
from musicreclass.models.encoder import Encoder
from musicreclass.models.weights.torch_files import find, read_tensors

SAMPLE_RATE = 16000
N_FFT, HOP = 400, 160  # samples in a frame, and from frame to frame
BANDS, FRAMES, PATCH = 80, 2992, 16  # of the mel spectrogram that it was pretrained on, 29.92 s; a patch is a square
ROWS, WIDTH, DEPTH, HEADS = BANDS // PATCH, 768, 12, 12
EPSILON = 1e-6  # of every LayerNorm
POOLINGS = ("mean", "cls", "cls_mean")
log = logging.getLogger("musicreclass")


class Mel(nn.Module):
    """The front end it was pretrained with: log-mel power at 100 frames a second, shifted and scaled.

    Always computed in float32, under autocast too.

    Shape:
        (B, n) float32 in [-1, 1] at 16 kHz to (B, 80, 1 + n // 160) float32.
    """

    window: torch.Tensor
    filters: torch.Tensor

    def __init__(self) -> None:
        from librosa.filters import mel  # exact to the last digit, where torchaudio computes in float32

        super().__init__()
        filters = mel(sr=SAMPLE_RATE, n_fft=N_FFT, n_mels=BANDS, fmin=50, fmax=8000)
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)
        self.register_buffer("filters", torch.from_numpy(filters), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Waveforms to what the encoder's windows are cut from."""
        return self.of_frames(self.padded(x))

    def padded(self, x: torch.Tensor) -> torch.Tensor:
        """Waveforms (B, n) mirrored at both ends, (B, n + 400), so that frames are centred."""
        return F.pad(x.float().unsqueeze(1), (N_FFT // 2, N_FFT // 2), "reflect").squeeze(1)

    def of_frames(self, x: torch.Tensor) -> torch.Tensor:
        """The spectrogram of whole frames, from the first sample on: (B, 400 + 160 * (T - 1)) to (B, 80, T)."""
        with torch.autocast(x.device.type, enabled=False):
            frames = torch.stft(x, N_FFT, HOP, window=self.window, center=False, return_complex=True)
            power = frames.real.square() + frames.imag.square()
            return (torch.log(self.filters @ power + 1.1920929e-07) + 4.5) / 4.5


class Attention(nn.Module):
    """Self-attention of 12 heads; query, key and value from one linear layer, stacked in that order."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens (B, N, 768) to the same."""
        q, k, v = self.qkv(x).unflatten(2, (3, HEADS, WIDTH // HEADS)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers with an exact GELU between."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU()), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens (B, N, 768) to the same."""
        return self.layers(x)


class Block(nn.Module):
    """A transformer block that normalises first."""

    def __init__(self) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(WIDTH, eps=EPSILON)
        self.attn = Attention()
        self.ln2 = nn.LayerNorm(WIDTH, eps=EPSILON)
        self.ffn = FeedForward()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens (B, N, 768) to the same."""
        x = x + self.attn(self.ln1(x))
        return x + self.ffn(self.ln2(x))


class Patches(nn.Module):
    """Squares of 16 x 16 to tokens.

    The published layer takes three channels, all of which get the same spectrogram: the sum of its weights over them takes one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.projection = nn.Conv2d(3, WIDTH, PATCH, PATCH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Spectrograms (B, 80, T) to tokens (B, 5 * (T // 16), 768), low bands first."""
        weight = self.projection.weight.sum(1, keepdim=True)
        return F.conv2d(x.unsqueeze(1), weight, self.projection.bias, stride=PATCH).flatten(2).transpose(1, 2)


class OpenJMLAEncoder(Encoder):
    """The published encoder. `from_checkpoint` makes one with weights; made directly, its weights have yet to be loaded.

    Args:
        pooling: what `embed` makes of the tokens: `mean` of the patches, the `cls` token, or both, one after the other.
        window_seconds: the length of a window, None for the 29.92 s it was pretrained on; in whole patches of 0.16 s.
        position: for other lengths: `cut` takes the position embeddings of the first patches, `interpolate` stretches them all.

    Raises:
        ConfigError: for a setting that cannot be.
    """

    sample_rate = SAMPLE_RATE
    stretch: torch.Tensor

    def __init__(self, pooling: str = "mean", window_seconds: float | None = None, position: str = "cut") -> None:
        super().__init__()
        columns = FRAMES // PATCH if window_seconds is None else round(window_seconds * SAMPLE_RATE / HOP) // PATCH
        problems = [] if pooling in POOLINGS else [f"pooling={pooling}: there is {', '.join(POOLINGS)}"]
        if position not in ("cut", "interpolate"):
            problems.append(f"position={position}: there is cut, interpolate")
        elif columns < 1:
            problems.append(f"window_seconds={window_seconds}: a window holds at least one patch of 0.16 s")
        elif columns > FRAMES // PATCH and position == "cut":
            problems.append(
                f"window_seconds={window_seconds}: longer than the 29.92 s it was pretrained on: position=interpolate"
            )
        if problems:
            raise ConfigError(problems)
        self.pooling, self.position, self.frames = pooling, position, columns * PATCH
        self.settings = {"version": 1, "pooling": pooling, "frames": self.frames, "position": position}
        self.columns = [f"openjmla_{name}_{i:03d}" for name in pooling.split("_") for i in range(WIDTH)]
        self.mel = Mel()
        trained = torch.eye(FRAMES // PATCH)[
            None, :, None
        ]  # a matrix, since not every device has a deterministic gradient of bicubic
        stretch = F.interpolate(trained, (1, columns), mode="bicubic")[0, :, 0]
        self.register_buffer("stretch", stretch, persistent=False)  # (trained, columns)
        with torch.device("meta"):  # no memory, no time, until weights are assigned
            self.cls_token = nn.Parameter(torch.empty(1, 1, WIDTH))
            self.pos_embed = nn.Parameter(torch.empty(1, 1 + ROWS * (FRAMES // PATCH), WIDTH))
            self.patch_embed = Patches()
            self.layers = nn.ModuleList(Block() for _ in range(DEPTH))
            self.ln1 = nn.LayerNorm(WIDTH, eps=EPSILON)

    @classmethod
    def from_checkpoint(cls, checkpoint: str | Path, prefix: str | None = None, **settings: Any) -> OpenJMLAEncoder:
        """The encoder with the weights of a checkpoint, in eval mode.

        Args:
            checkpoint: a file that holds all 150 tensors, under any prefix and at any depth; or `random`, for fresh weights that
                are always the same.
            prefix: the one to take, where a file holds several encoders.
            settings: as for the class.

        Raises:
            WeightsError: if the file is not there, is damaged, or does not hold the encoder.
        """
        encoder = cls(**settings)
        if str(checkpoint) == "random":
            encoder.load_state_dict(random_tensors(encoder), assign=True)
            return encoder.eval()
        path = Path(checkpoint).expanduser()
        tensors = read_tensors(path)
        wanted = {name: tensor.shape for name, tensor in encoder.state_dict().items()}
        found = find(path, tensors, wanted, "OpenJMLA encoder", prefix)
        encoder.load_state_dict({name: tensors.pop(found + name).float() for name in wanted}, strict=True, assign=True)
        others = ", ".join(list(tensors)[:5]) + (", ..." if len(tensors) > 5 else "")
        log.info("%s: the encoder under %r; besides: %s", path, found, others or "nothing")
        return encoder.eval()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The first window of each waveform.

        Args:
            x: (B, samples) float32 in [-1, 1] at 16 kHz, 201 samples or more; shorter than a window, it is repeated to fill it.

        Returns:
            the class token (B, 768) and the patch tokens (B, N, 768), low bands first, after the last normalisation; N is 935 for
            windows of 29.92 s.
        """
        tokens = self.tokens(self.first_window(x))
        return tokens[:, 0], tokens[:, 1:]

    def first_window(self, x: torch.Tensor) -> torch.Tensor:
        """Waveforms (B, samples) to the first window of their spectrograms, (B, 80, frames)."""
        return fitted(self.mel(x), self.frames)

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
        columns, trained = self.frames // PATCH, FRAMES // PATCH
        if columns == trained:
            return self.pos_embed
        grid = self.pos_embed[:, 1:].unflatten(1, (ROWS, trained))
        cut = self.position == "cut"
        grid = grid[:, :, :columns] if cut else torch.einsum("brtd,tc->brcd", grid, self.stretch)
        return torch.cat([self.pos_embed[:, :1], grid.flatten(1, 2)], 1)

    def windows(self, waveform: torch.Tensor) -> torch.Tensor:
        """See `Encoder`: max(1, round(frames / window)) evenly spaced windows of the spectrogram, (W, 80, frames)."""
        frames = 1 + len(waveform) // HOP
        count = max(1, round(frames / self.frames))
        if count == 1:
            return self.first_window(waveform.unsqueeze(0))
        padded, room = self.mel.padded(waveform.unsqueeze(0)), frames - self.frames
        starts = [room * k // (count - 1) * HOP for k in range(count)]
        length = N_FFT + HOP * (
            self.frames - 1
        )  # one window at a time: the whole of a long recording would take gigabytes
        return torch.cat([self.mel.of_frames(padded[:, start : start + length]) for start in starts])

    def embed(self, windows: torch.Tensor) -> torch.Tensor:
        """See `Encoder`."""
        return self.pooled(self.tokens(windows)).float()

    def pooled(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (B, 1 + N, 768) to vectors (B, 768), or (B, 1536) for `cls_mean`."""
        parts = {"cls": lambda: tokens[:, 0], "mean": lambda: tokens[:, 1:].mean(1)}
        return torch.cat([parts[name]() for name in self.pooling.split("_")], 1)


def fitted(mel: torch.Tensor, frames: int) -> torch.Tensor:
    """A spectrogram (B, 80, T) cut to its first `frames`, or repeated evenly to both sides to fill them."""
    length = mel.shape[2]
    if length >= frames:
        return mel[:, :, :frames]
    times = frames // length + 1
    times += times % 2 == 0
    start = (times * length - frames + 1) // 2
    return mel.repeat(1, 1, times)[:, :, start : start + frames]


def random_tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """Fresh weights for every parameter, always the same: small normal matrices, LayerNorms that change nothing."""
    generator = torch.Generator().manual_seed(0)
    fresh = {}
    for name, like in module.state_dict().items():
        if like.ndim > 1:
            fresh[name] = 0.02 * torch.randn(like.shape, generator=generator)
        else:
            fresh[name] = (
                torch.ones(like.shape) if name.endswith(("ln1.weight", "ln2.weight")) else torch.zeros(like.shape)
            )
    return fresh
