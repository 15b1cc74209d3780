"""Metrics of an epoch."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from musicreclass.evaluation.confusion import class_scores
from musicreclass.evaluation.ranking import Rankings
from musicreclass.training.distributed import all_reduce, gather_rows


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


@dataclass
class TagEpochMetrics(EpochMetrics):
    """As `EpochMetrics`, for tags: `y_true` has indicators (B, C)."""

    def scores(self, prefix: str, device: torch.device) -> dict[str, float]:
        """Mean loss and the macro averages of the areas over the tracks of all processes, named `prefix/...`.

        The areas are 0 if no tag can be scored.
        """
        loss = all_reduce(np.array([float(torch.stack(self.losses).sum()) if self.losses else 0.0]), device)
        parts = (self.y_true, self.logits)
        y_true, logits = (
            gather_rows(torch.cat(part).cpu().float().numpy() if part else np.empty((0, self.num_classes), np.float32))
            for part in parts
        )
        self.tracks = len(y_true)
        rankings = Rankings(y_true, np.nan_to_num(logits))
        areas = rankings.macro(np.ones((1, max(self.tracks, 1))))
        return {
            f"{prefix}/loss": float(loss[0]) / max(self.tracks, 1),
            **{f"{prefix}/{metric}": float(value[0]) for metric, value in areas.items()},
        }
