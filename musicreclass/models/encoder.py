"""The interface of pretrained encoders: recordings in, vectors out, and a fingerprint of everything that the vectors depend on."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from torch import nn


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
        digest = hashlib.sha256(
            f"{type(self).__module__}.{type(self).__qualname__}\0{sorted(self.settings.items())}\0{self.columns}".encode()
        )
        for name, tensor in self.state_dict().items():
            digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()
