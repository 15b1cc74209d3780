"""An epoch's scores."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from musicreclass.evaluation.confusion import class_scores
from musicreclass.training.distributed import all_reduce


@dataclass
class EpochMetrics:
    """What an epoch's scores are made of, put together once at its end: each step would pay for it otherwise."""

    classes: int
    lr: float = 0.0  # the learning rate of the last step
    losses: list[torch.Tensor] = field(default_factory=list)  # summed over a part's tracks
    logits: list[torch.Tensor] = field(default_factory=list)
    truth: list[torch.Tensor] = field(default_factory=list)
    tracks: int = 0  # how many were counted; known with the scores

    def add(self, loss: torch.Tensor, logits: torch.Tensor, y: torch.Tensor) -> None:
        """Count some tracks, given their summed loss; nothing waits for the device."""
        self.losses.append(loss)
        self.logits.append(logits)
        self.truth.append(y)

    def scores(self, prefix: str, device: torch.device) -> dict[str, float]:
        """Mean loss, accuracy and macro-F1 over the tracks of all processes, named `prefix/...`."""
        found = np.zeros(self.classes**2 + 1)
        if self.truth:
            cells = torch.cat(self.truth) * self.classes + torch.cat(self.logits).argmax(1)
            found[:-1] = torch.bincount(cells, minlength=self.classes**2).cpu().numpy()
            found[-1] = float(torch.stack(self.losses).sum())
        found = all_reduce(found, device)
        confusion = found[:-1].reshape(self.classes, self.classes)
        self.tracks = int(confusion.sum())
        return {
            f"{prefix}/loss": float(found[-1]) / max(self.tracks, 1),
            f"{prefix}/accuracy": float(np.trace(confusion) / max(self.tracks, 1)),
            f"{prefix}/macro_f1": float(class_scores(confusion)["f1"].mean()),
        }
