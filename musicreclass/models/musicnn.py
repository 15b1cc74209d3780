"""musicnn's music taggers as encoders: four small networks that predict 50 tags from 3 s of audio.

References: Pons and Serra, "musicnn: pre-trained convolutional neural networks for music audio tagging", 2019, arXiv:1909.06654;
for the architecture, Pons et al., "End-to-end learning for music audio tagging at scale", 2018, arXiv:1711.02520.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from musicreclass.errors import ConfigError, Problem, WeightsError
from musicreclass.models.encoder import ALL_LAYERS, LayeredEncoder
from musicreclass.models.weights.musicnn import install_weights, read_weights
from musicreclass.models.weights.musicnn_wheel import CHECKPOINTS

VERSION = 1  # increase when the vectors change but settings and weights do not
SAMPLE_RATE, N_FFT, HOP, N_MELS, PATCH_FRAMES = 16000, 512, 256, 96, 187
PATCH_STEP = PATCH_FRAMES * HOP  # samples between the starts of consecutive patches, 2.99 s
PATCH_SAMPLES = (PATCH_FRAMES - 1) * HOP + N_FFT  # samples covered by the frames of a patch
EPSILON = 1e-3  # of batch normalisation
MAGNATAGATUNE = {  # of the taggers MTT_*
    "dataset": "magnatagatune",
    "what": "the weights were trained on about 19,000 clips of MagnaTagATune, the folders 0 to b of its usual split",
    "source": "Pons and Serra, 2019, arXiv:1909.06654",
}


class MusiCNNEncoder(LayeredEncoder):
    """One of the four taggers, with its front end.

    A recording is cut into consecutive patches of 187 frames; like in musicnn, a remainder shorter than a patch is dropped. A
    recording shorter than one patch is repeated to fill it, as in musicnn's training. The edges are padded with zeros, the
    default of librosa 0.10 and later. The log-mel is always float32; musicnn rounds power to float16, which changes the tags of
    real clips by at most 1e-4.

    Args:
        checkpoint: `MSD_musicnn` or `MSD_vgg`, trained on the Million Song Dataset; `MTT_musicnn` or `MTT_vgg`, on MagnaTagATune.
        layer: `tags`, the probabilities of 50 tags; `embedding`, the last hidden layer (200; not in the vgg networks); `pooled`,
            the input of that layer (1506: maximum and mean over time of each of 753 feature maps, interleaved) or, for vgg, the
            output of the last pooling layer (256); or `all` of them. One pass computes and stores them all.
        folder: the weights, as installed by `musicreclass prepare features=musicnn`.
        wheel: only used by `musicreclass prepare`: a local copy of musicnn's package, instead of a download from PyPI.

    Attributes:
        card: origin of the weights, licence, citation, tags and known overlaps with evaluation sets.

    Raises:
        ConfigError: if the checkpoint or layer does not exist.
        WeightsError: if the weights are missing or damaged.
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
        if checkpoint not in CHECKPOINTS:
            message = f"features.checkpoint={checkpoint}: must be one of {', '.join(CHECKPOINTS)}"
            raise ConfigError([Problem(message, "invalid_value", "features.checkpoint", checkpoint)])
        network_class: type[MusiCNN | VGG] = VGG if checkpoint.endswith("vgg") else MusiCNN
        layer_sizes = network_class.layer_sizes
        if layer not in (*layer_sizes, ALL_LAYERS):
            choices = ", ".join((*layer_sizes, ALL_LAYERS))
            message = f"features.layer={layer}: must be one of {choices} for checkpoint={checkpoint}"
            raise ConfigError([Problem(message, "invalid_value", "features.layer", layer)])
        weights, self.card = read_weights(Path(folder).expanduser(), checkpoint)
        self.checkpoint, self.overlaps = checkpoint, known_overlaps(checkpoint, self.card)
        self.network = network_class()
        try:
            self.network.load_state_dict(weights)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:160]
            raise WeightsError(
                f"{folder}: the weights are not those of {checkpoint} ({reason})", "wrong_weights", folder
            ) from error
        self.mel = mel_spectrogram(sample_rate=SAMPLE_RATE, n_fft=N_FFT, hop_length=HOP, n_mels=N_MELS, center=False)
        self.sample_rate = SAMPLE_RATE
        self.layers = {name: [f"{name}_{i}" for i in range(size)] for name, size in reversed(layer_sizes.items())}
        self.layers["tags"] = list(self.card["tags"])
        self.select(layer)
        self.eval()

    @classmethod
    def fetch(cls, folder: str = "models/musicnn", wheel: str | None = None, **_: Any) -> list[Path]:
        """See `Encoder.fetch` and `install_weights`."""
        return install_weights(Path(folder).expanduser(), None if wheel is None else Path(wheel).expanduser())

    def windows(self, waveform: torch.Tensor) -> torch.Tensor:
        """Cut a recording (n,) into the samples of its patches, (patches, 48128); adjacent patches share 256 samples."""
        if len(waveform) == 0:
            raise ValueError("the recording has no samples")
        if 1 + len(waveform) // HOP < PATCH_FRAMES:
            waveform = waveform.repeat(-(-PATCH_STEP // len(waveform)))[:PATCH_STEP]
        padded = nn.functional.pad(waveform, (N_FFT // 2, N_FFT // 2))
        return padded.unfold(0, PATCH_SAMPLES, PATCH_STEP)

    def settings_of(self, layer: str) -> dict[str, Any]:
        """See `LayeredEncoder`. Part of the fingerprint: changed text recomputes every embedding."""
        return {
            "version": VERSION, "checkpoint": self.checkpoint, "layer": layer, "sample_rate": SAMPLE_RATE, "n_fft": N_FFT,
            "hop_length": HOP, "n_mels": N_MELS, "frames": PATCH_FRAMES, "edges": "zeros", "short": "repeated", "rest": "left out",
        }  # fmt: skip

    def embed_layers(self, windows: torch.Tensor) -> list[torch.Tensor]:
        """See `LayeredEncoder`; windows are the samples of patches, (B, 48128).

        A CPU gets one patch at a time: the activations then fit its cache, which is two to three times as fast as one batch.
        """
        batches = windows.split(1 if windows.device.type == "cpu" else max(1, len(windows)))
        outputs = [self.network(self.patches(batch)) for batch in batches]
        return [torch.cat([output[name] for output in outputs]).float() for name in self.layers]

    def patches(self, windows: torch.Tensor) -> torch.Tensor:
        """Samples (B, 48128) to log-mel patches (B, 187, 96), float32: log10(10000 power + 1)."""
        with torch.autocast(windows.device.type, enabled=False):
            return torch.log10(10000 * self.mel(windows.float()) + 1).transpose(1, 2)


def known_overlaps(checkpoint: str, card: dict[str, Any]) -> list[dict[str, str]]:
    """The overlaps of a tagger's training data with evaluation sets: those of its card, and its own dataset."""
    return [*card["overlaps"], *([MAGNATAGATUNE] if checkpoint.startswith("MTT") else [])]


class MusiCNN(nn.Module):
    """musicnn: timbral and temporal filters, three residual convolutions over time, then maximum and mean over time.

    Shape:
        log-mel (B, frames, 96) to a dictionary from layer name to (B, D), see `layer_sizes`.
    """

    layer_sizes: ClassVar = {"tags": 50, "embedding": 200, "pooled": 1506}

    def __init__(self) -> None:
        super().__init__()
        self.input_norm = nn.BatchNorm2d(1, EPSILON)
        self.timbral = nn.ModuleList(
            MaxOverBandsConv(204, 7, bands) for bands in (38, 67)
        )  # 40 % and 70 % of the bands
        self.temporal = nn.ModuleList(MaxOverBandsConv(51, frames, 1) for frames in (128, 64, 32))
        self.middle = nn.ModuleList(TemporalConv(channels) for channels in (561, 64, 64))
        self.pooled_norm = nn.BatchNorm1d(1506, EPSILON)
        self.hidden = nn.Linear(1506, 200)
        self.hidden_norm = nn.BatchNorm1d(200, EPSILON)
        self.tags = nn.Linear(200, 50)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Log-mel patches to the output of every layer."""
        x = self.input_norm(x.unsqueeze(1))
        maps = [torch.cat([conv(x) for conv in (*self.timbral, *self.temporal)], 1)]
        for i, conv in enumerate(self.middle):
            maps.append(conv(maps[-1]) + (maps[-1] if i else 0))
        all_maps = torch.cat(maps, 1)
        pooled = torch.stack((all_maps.amax(2), all_maps.mean(2)), 2).flatten(1)
        embedding = self.hidden_norm(torch.relu(self.hidden(self.pooled_norm(pooled))))
        return {"tags": self.tags(embedding).sigmoid(), "embedding": embedding, "pooled": pooled}


class MaxOverBandsConv(nn.Module):
    """A convolution over frames and bands that keeps the number of frames, then the maximum over bands.

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


class TemporalConv(nn.Module):
    """A convolution over seven frames and all feature maps.

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
    """Baseline in the style of image classifiers: five blocks of a 3 x 3 convolution and max pooling.

    Shape:
        log-mel (B, 187, 96) to a dictionary from layer name to (B, D), see `layer_sizes`.
    """

    layer_sizes: ClassVar = {"tags": 50, "pooled": 256}

    def __init__(self) -> None:
        super().__init__()
        self.input_norm = nn.BatchNorm2d(1, EPSILON)
        pool_sizes = [(4, 1), (2, 2), (2, 2), (2, 2), (4, 4)]  # frames, bands
        self.blocks = nn.ModuleList(
            ConvBlock(128 if i else 1, size, 4 if i == 4 else 2) for i, size in enumerate(pool_sizes)
        )
        self.tags = nn.Linear(256, 50)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Log-mel patches to the output of every layer."""
        x = self.input_norm(x.unsqueeze(1))
        for block in self.blocks:
            x = block(x)
        pooled = x.permute(0, 2, 3, 1).flatten(1)  # frames, bands, channels: the order of the weights of `tags`
        return {"tags": self.tags(pooled).sigmoid(), "pooled": pooled}


class ConvBlock(nn.Module):
    """A 3 x 3 convolution and max pooling.

    Shape:
        (B, channels, frames, bands) to (B, 128, pooled frames, pooled bands).
    """

    def __init__(self, channels: int, pool_size: tuple[int, int], stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 128, 3, padding=1)
        self.norm = nn.BatchNorm2d(128, EPSILON)
        self.pool = nn.MaxPool2d(pool_size, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Feature maps to pooled feature maps."""
        return self.pool(self.norm(torch.relu(self.conv(x))))
