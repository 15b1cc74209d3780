"""Any audio encoder of the transformers package, from a local folder: wav2vec 2.0, HuBERT, WavLM, Data2Vec, AST, CLAP, Whisper, ..."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from musicreclass.errors import ConfigError, Problem
from musicreclass.models.encoder import ALL_LAYERS, LayeredEncoder, update_with_tensors
from musicreclass.models.huggingface_tower import AudioTower, digest
from musicreclass.models.weights.huggingface_folder import read_folder

VERSION = 1  # increase when the vectors change but settings, configuration and weights do not


class HuggingFaceEncoder(LayeredEncoder):
    """The layers of an audio encoder of transformers, see `AudioTower`.

    Args:
        checkpoint: a folder written by `save_pretrained`: config.json, preprocessor_config.json, safetensors files.
        layer: `last`; a number, 0 for the input of the first block; or `all`. One pass computes and stores them all.
        window_seconds: see `AudioTower`.

    Raises:
        ConfigError: if transformers is not installed, or a setting does not fit the checkpoint.
        WeightsError: if the checkpoint cannot be used, see `read_folder`.
    """

    def __init__(self, checkpoint: str, layer: int | str = "last", window_seconds: float | None = None) -> None:
        super().__init__()
        folder = read_folder(Path(checkpoint).expanduser(), "features.checkpoint")
        self.tower = AudioTower(folder, window_seconds)
        self.sample_rate = self.tower.sample_rate
        self.digests = {"model": digest(folder.config), "preprocessor": digest(folder.preprocessor)}
        widths = self.tower.measure()
        self.layers = {str(k): [f"layer_{k}/{i}" for i in range(width)] for k, width in enumerate(widths)}
        self.select(self._checked_layer(str(layer)))
        self.eval()

    def _checked_layer(self, layer: str) -> str:
        last = str(len(self.layers) - 1)
        layer = last if layer == "last" else layer
        if layer not in (*self.layers, ALL_LAYERS):
            line = f"features.layer={layer}: must be last, all or a number from 0 to {last}"
            raise ConfigError([Problem(line, "invalid_value", "features.layer", layer, "last")])
        return layer

    def settings_of(self, layer: str) -> dict[str, Any]:
        """See `LayeredEncoder`."""
        return {"version": VERSION, **self.digests, "layer": layer, "window": self.tower.window}

    def fingerprint_with(self, settings: dict[str, Any], columns: list[str]) -> str:
        """See `Encoder`; the weights are read once."""
        text = f"{type(self).__qualname__}\0{sorted(settings.items())}\0{columns}\0{self._weights_digest}"
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def _weights_digest(self) -> str:
        weights = hashlib.sha256()
        update_with_tensors(weights, self.tower.network)
        return weights.hexdigest()

    def windows(self, waveform: torch.Tensor) -> torch.Tensor:
        """See `AudioTower.windows`."""
        return self.tower.windows(waveform)

    def embed_layers(self, windows: torch.Tensor) -> list[torch.Tensor]:
        """See `LayeredEncoder`."""
        return [self.tower.pooled(state) for state in self.tower.hidden_states(windows)]
