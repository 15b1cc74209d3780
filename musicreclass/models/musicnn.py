"""musicnn's taggers as encoders (Pons and Serra, "musicnn: pre-trained convolutional neural networks for music audio tagging",
2019, arXiv:1909.06654; the architecture in Pons et al., "End-to-end learning for music audio tagging at scale", 2018,
arXiv:1711.02520): four small networks that name 50 tags in 3 s of music.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from musicreclass.errors import ConfigError, WeightsError
from musicreclass.models.encoder import Encoder
from musicreclass.models.weights.musicnn import NAMES, fetch, read_weights

VERSION = 1  # of what comes out, beside the weights
RATE, N_FFT, HOP, MELS, FRAMES = 16000, 512, 256, 96, 187
STEP = FRAMES * HOP  # samples from the beginning of a patch to that of the next, 2.99 s
WINDOW = (FRAMES - 1) * HOP + N_FFT  # samples that the frames of a patch reach over
EPSILON = 1e-3  # in batch normalisation


class MusiCNNEncoder(Encoder):
    """One of the four taggers, with its front end.

    A recording is cut into patches of 187 frames, one after the other; the rest that fills no patch is left out, as musicnn does.
    One that is shorter than a patch is repeated from its beginning until it fills one: musicnn's training repeated short ones
    too. Before and after it there is silence, as librosa has it from 0.10 on. The log-mel is always float32; musicnn rounds the
    power to float16, which moves tags of real clips by 1e-4 at most.

    Args:
        checkpoint: `MSD_musicnn` or `MSD_vgg`, trained on the Million Song Dataset; `MTT_musicnn` or `MTT_vgg`, on MagnaTagATune.
        layer: `tags`, the probabilities of 50 tags; `pooled`, what goes into the last hidden layer (1506: maximum and mean over
            time of each of 753 feature maps, in turn) or, of the vgg pair, comes out of the last pooling layer (256); `embedding`,
            the last hidden layer (200), which the vgg pair does not have.
        folder: where `musicreclass prepare features=musicnn` has put the weights.
        wheel: read by `musicreclass prepare` alone: musicnn's package on disk, instead of PyPI's.

    Attributes:
        card: where the weights come from, their licence, citation, tags and known overlaps with evaluation sets.

    Raises:
        ConfigError: there is no such checkpoint or layer.
        WeightsError: the weights are missing or damaged.
    """

    def __init__(
        self,
        checkpoint: str = "MSD_musicnn",
        layer: str = "embedding",
        folder: str = "models/musicnn",
        wheel: str | None = None,
    ) -> None:
        from musicreclass.augmentation.transforms import mel_spectrogram

        super().__init__()
        if checkpoint not in NAMES:
            raise ConfigError([f"features.checkpoint={checkpoint}: there are {', '.join(NAMES)}"])
        network: type[MusiCNN | VGG] = VGG if checkpoint.endswith("vgg") else MusiCNN
        if layer not in network.layers:
            raise ConfigError([f"features.layer={layer}: {checkpoint} has {', '.join(network.layers)}"])
        weights, self.card = read_weights(Path(folder).expanduser(), checkpoint)
        self.layer, self.overlaps = layer, self.card["overlaps"]
        self.network = network()
        try:
            self.network.load_state_dict(weights)
        except RuntimeError as error:
            raise WeightsError(
                f"{folder}: the weights are not {checkpoint}'s ({' '.join(str(error).split())[:160]})"
            ) from error
        self.mel = mel_spectrogram(sample_rate=RATE, n_fft=N_FFT, hop_length=HOP, n_mels=MELS, center=False)
        self.sample_rate = RATE
        size = network.layers[layer]
        self.columns = list(self.card["tags"]) if layer == "tags" else [f"{layer}_{i}" for i in range(size)]
        self.settings: dict[str, Any] = {
            "version": VERSION, "checkpoint": checkpoint, "layer": layer, "sample_rate": RATE, "n_fft": N_FFT, "hop_length": HOP,
            "n_mels": MELS, "frames": FRAMES, "edges": "zeros", "short": "repeated", "rest": "left out",
        }  # fmt: skip
        self.eval()

    @classmethod
    def fetch(cls, folder: str = "models/musicnn", wheel: str | None = None, **_: Any) -> list[Path]:
        """See `Encoder` and `musicnn_weights.fetch`."""
        return fetch(Path(folder).expanduser(), None if wheel is None else Path(wheel).expanduser())

    def windows(self, waveform: torch.Tensor) -> torch.Tensor:
        """A recording (n,) as the samples of its patches, (patches, 48128); patches share 256 samples with each neighbour."""
        if len(waveform) == 0:
            raise ValueError("a recording without samples")
        if 1 + len(waveform) // HOP < FRAMES:
            waveform = waveform.repeat(-(-STEP // len(waveform)))[:STEP]
        padded = nn.functional.pad(waveform, (N_FFT // 2, N_FFT // 2))
        return padded.unfold(0, WINDOW, STEP)

    def embed(self, windows: torch.Tensor) -> torch.Tensor:
        """Samples of patches (B, 48128) to vectors (B, D).

        On a CPU they go one by one, which is two to three times as fast as together: what is between the layers stays in its cache.
        """
        parts = windows.split(1 if windows.device.type == "cpu" else max(1, len(windows)))
        return torch.cat([self.network(self.patches(part))[self.layer] for part in parts]).float()

    def patches(self, windows: torch.Tensor) -> torch.Tensor:
        """Samples (B, 48128) to log-mel (B, 187, 96), float32: log10(10000 power + 1)."""
        with torch.autocast(windows.device.type, enabled=False):
            return torch.log10(10000 * self.mel(windows.float()) + 1).transpose(1, 2)


class MusiCNN(nn.Module):
    """Filters shaped after music, then three residual layers over time, then the maximum and the mean over time.

    Shape:
        log-mel (B, frames, 96) to a dictionary of `layers`, (B, D) each.
    """

    layers: ClassVar = {"tags": 50, "embedding": 200, "pooled": 1506}

    def __init__(self) -> None:
        super().__init__()
        self.input_norm = nn.BatchNorm2d(1, EPSILON)
        self.timbral = nn.ModuleList(Shaped(204, 7, bands) for bands in (38, 67))  # 0.4 and 0.7 of the bands
        self.temporal = nn.ModuleList(Shaped(51, frames, 1) for frames in (128, 64, 32))
        self.middle = nn.ModuleList(Across(channels) for channels in (561, 64, 64))
        self.pooled_norm = nn.BatchNorm1d(1506, EPSILON)
        self.hidden = nn.Linear(1506, 200)
        self.hidden_norm = nn.BatchNorm1d(200, EPSILON)
        self.tags = nn.Linear(200, 50)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Log-mel patches to all layers."""
        x = self.input_norm(x.unsqueeze(1))
        maps = [torch.cat([shaped(x) for shaped in (*self.timbral, *self.temporal)], 1)]
        for i, across in enumerate(self.middle):
            maps.append(across(maps[-1]) + (maps[-1] if i else 0))
        every = torch.cat(maps, 1)
        pooled = torch.stack((every.amax(2), every.mean(2)), 2).flatten(1)
        embedding = self.hidden_norm(torch.relu(self.hidden(self.pooled_norm(pooled))))
        return {"tags": self.tags(embedding).sigmoid(), "embedding": embedding, "pooled": pooled}


class Shaped(nn.Module):
    """A convolution over frames and bands that keeps the number of frames, and the maximum over the bands.

    Shape:
        (B, 1, frames, bands) to (B, channels, frames).
    """

    def __init__(self, channels: int, frames: int, bands: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, channels, (frames, bands))
        self.norm = nn.BatchNorm2d(channels, EPSILON)
        self.pad = (0, 0, (frames - 1) // 2, frames // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Log-mel to feature maps."""
        return self.norm(torch.relu(self.conv(nn.functional.pad(x, self.pad)))).amax(3)


class Across(nn.Module):
    """A convolution over seven frames of all feature maps.

    Shape:
        (B, channels, frames) to (B, 64, frames).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, 64, 7, padding=3)
        self.norm = nn.BatchNorm1d(64, EPSILON)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Feature maps to feature maps."""
        return self.norm(torch.relu(self.conv(x)))


class VGG(nn.Module):
    """Five blocks of a 3 x 3 convolution and max pooling, as one would for pictures: the baseline.

    Shape:
        log-mel (B, 187, 96) to a dictionary of `layers`, (B, D) each.
    """

    layers: ClassVar = {"tags": 50, "pooled": 256}

    def __init__(self) -> None:
        super().__init__()
        self.input_norm = nn.BatchNorm2d(1, EPSILON)
        sizes = [(4, 1), (2, 2), (2, 2), (2, 2), (4, 4)]  # of what is pooled: frames, bands
        self.blocks = nn.ModuleList(Block(128 if i else 1, size, 4 if i == 4 else 2) for i, size in enumerate(sizes))
        self.tags = nn.Linear(256, 50)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Log-mel patches to all layers."""
        x = self.input_norm(x.unsqueeze(1))
        for block in self.blocks:
            x = block(x)
        pooled = x.permute(0, 2, 3, 1).flatten(1)  # time, bands, channels: the order of the weights that follow
        return {"tags": self.tags(pooled).sigmoid(), "pooled": pooled}


class Block(nn.Module):
    """A 3 x 3 convolution and max pooling.

    Shape:
        (B, channels, frames, bands) to (B, 128, frames / step, bands / step), rounded down.
    """

    def __init__(self, channels: int, size: tuple[int, int], step: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 128, 3, padding=1)
        self.norm = nn.BatchNorm2d(128, EPSILON)
        self.pool = nn.MaxPool2d(size, step)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Feature maps to fewer frames and bands of them."""
        return self.pool(self.norm(torch.relu(self.conv(x))))
