"""What a pretrained encoder is to the rest: recordings in, vectors out, and a fingerprint of all that they depend on."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from torch import nn


class Encoder(nn.Module, ABC):
    """A network with weights of its own that turns a recording into vectors; a subclass and a YAML file make one more.

    Attributes:
        sample_rate: of the waveforms it takes, Hz.
        columns: a name for each entry of a vector.
        settings: plain values that its vectors depend on beside the weights: front end, windows, pooling, a version.
        overlaps: datasets whose recordings it is known to have been trained on, each with `dataset`, `what` and `source`.
    """

    sample_rate: int
    columns: list[str]
    settings: dict[str, Any]
    overlaps: list[dict[str, str]] = []  # noqa: RUF012 (a subclass or an instance sets its own)

    @classmethod
    def fetch(cls, **arguments: Any) -> list[Path]:
        """Get weights that anyone may have, for `musicreclass prepare`; the arguments are those of the YAML file.

        Returns:
            the files that are there now; none where weights are the user's to bring.
        """
        return []

    @abstractmethod
    def windows(self, waveform: torch.Tensor) -> torch.Tensor:
        """A whole recording, float32 (n,) in [-1, 1), as what the network reads: (windows, ...), one or more."""

    @abstractmethod
    def embed(self, windows: torch.Tensor) -> torch.Tensor:
        """Windows of any recordings (B, ...) to vectors float32 (B, D)."""

    def fingerprint(self) -> str:
        """A SHA-256 of the class, the settings and the weights: vectors of the same fingerprint are the same."""
        digest = hashlib.sha256(
            f"{type(self).__module__}.{type(self).__qualname__}\0{sorted(self.settings.items())}\0{self.columns}".encode()
        )
        for name, tensor in self.state_dict().items():
            digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()
