"""Metrics of an epoch."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from musicreclass.evaluation.confusion import class_scores
from musicreclass.training.distributed import all_reduce


@dataclass
class EpochMetrics:
    """Collects losses and logits during an epoch, and computes metrics once at its end, which is cheaper than per step."""

    num_classes: int
    lr: float = 0.0  # of the last step
    losses: list[torch.Tensor] = field(default_factory=list)  # each summed over the tracks of a forward pass
    logits: list[torch.Tensor] = field(default_factory=list)
    y_true: list[torch.Tensor] = field(default_factory=list)
    tracks: int = 0  # set by `scores`

    def add(self, loss: torch.Tensor, logits: torch.Tensor, y: torch.Tensor) -> None:
        """Add the summed loss, logits (B, C) and class numbers (B,) of some tracks, without waiting for the device."""
        self.losses.append(loss)
        self.logits.append(logits)
        self.y_true.append(y)

    def scores(self, prefix: str, device: torch.device) -> dict[str, float]:
        """Mean loss, accuracy and macro-F1 over the tracks of all processes, named `prefix/...`."""
        sums = np.zeros(self.num_classes**2 + 1)  # confusion matrix, then the loss
        if self.y_true:
            cells = torch.cat(self.y_true) * self.num_classes + torch.cat(self.logits).argmax(1)
            sums[:-1] = torch.bincount(cells, minlength=self.num_classes**2).cpu().numpy()
            sums[-1] = float(torch.stack(self.losses).sum())
        sums = all_reduce(sums, device)
        confusion = sums[:-1].reshape(self.num_classes, self.num_classes)
        self.tracks = int(confusion.sum())
        return {
            f"{prefix}/loss": float(sums[-1]) / max(self.tracks, 1),
            f"{prefix}/accuracy": float(np.trace(confusion) / max(self.tracks, 1)),
            f"{prefix}/macro_f1": float(class_scores(confusion)["f1"].mean()),
        }
