"""The interface of pretrained encoders: recordings in, vectors out, and a fingerprint of everything that the vectors depend on."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from torch import nn

ALL_LAYERS = "all"


class Encoder(nn.Module, ABC):
    """A pretrained network that turns a recording into vectors. To add one, write a subclass and a YAML file.

    Attributes:
        sample_rate: of the input waveforms, Hz.
        columns: one name per entry of a vector.
        settings: plain values that the vectors depend on besides the weights: front end, windows, pooling, a version.
        overlaps: datasets that the training data is known to overlap with, each with `dataset`, `what` and `source`.
    """

    sample_rate: int
    columns: list[str]
    settings: dict[str, Any]
    overlaps: list[dict[str, str]] = []  # noqa: RUF012 (subclasses or instances replace it)

    @classmethod
    def fetch(cls, **arguments: Any) -> list[Path]:
        """Download weights that are publicly available; called by `musicreclass prepare` with the arguments of the YAML file.

        Returns:
            the files on disk; empty if users must provide the weights themselves.
        """
        return []

    @abstractmethod
    def windows(self, waveform: torch.Tensor) -> torch.Tensor:
        """Cut a whole recording, float32 (n,) in [-1, 1), into one or more inputs of the network, (windows, ...)."""

    @abstractmethod
    def embed(self, windows: torch.Tensor) -> torch.Tensor:
        """Embed windows of any recordings, (B, ...), as vectors, float32 (B, D)."""

    def fingerprint(self) -> str:
        """SHA-256 of the class, settings, columns and weights: equal fingerprints mean equal vectors."""
        return self.fingerprint_with(self.settings, self.columns)

    def fingerprint_with(self, settings: dict[str, Any], columns: list[str]) -> str:
        """As `fingerprint`, for other settings and columns."""
        digest = hashlib.sha256(
            f"{type(self).__module__}.{type(self).__qualname__}\0{sorted(settings.items())}\0{columns}".encode()
        )
        update_with_tensors(digest, self)
        return digest.hexdigest()


class LayeredEncoder(Encoder):
    """An encoder that computes the vectors of several layers in one pass.

    The store keeps the mean vector of every layer of a recording, so that another layer costs no extraction. Each layer has the
    fingerprint that an encoder of this layer alone has. A subclass calls `select` when `layers` is set.

    Attributes:
        layers: the columns of each layer, by name, from the input to the output.
        layer: the selected layer, or `all`.
    """

    layers: dict[str, list[str]]
    layer: str

    @abstractmethod
    def embed_layers(self, windows: torch.Tensor) -> list[torch.Tensor]:
        """The vectors of windows (B, ...) from each layer, in the order of `layers`, float32 (B, D of the layer)."""

    @abstractmethod
    def settings_of(self, layer: str) -> dict[str, Any]:
        """`settings` with this layer selected."""

    def select(self, layer: str) -> None:
        """Select a layer, or `all`: sets `layer`, `columns` and `settings`."""
        self.layer, self.columns, self.settings = layer, self.columns_of(layer), self.settings_of(layer)

    def columns_of(self, layer: str) -> list[str]:
        """The columns of a layer; of `all` layers `layer_NAME/0`, `layer_NAME/1`, ..."""
        if layer != ALL_LAYERS:
            return self.layers[layer]
        return [f"layer_{name}/{i}" for name, columns in self.layers.items() for i in range(len(columns))]

    def fingerprint_of(self, layer: str) -> str:
        """`fingerprint` with this layer selected."""
        return self.fingerprint_with(self.settings_of(layer), self.columns_of(layer))

    def embed(self, windows: torch.Tensor) -> torch.Tensor:
        """See `Encoder`."""
        vectors = dict(zip(self.layers, self.embed_layers(windows), strict=True))
        return torch.cat(list(vectors.values()), 1) if self.layer == ALL_LAYERS else vectors[self.layer]


def update_with_tensors(digest: hashlib._Hash, module: nn.Module) -> None:
    """Add the names, types, shapes and values of a module's tensors to a hash."""
    for name, tensor in module.state_dict().items():
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
