"""Metrics of an epoch."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from musicreclass.evaluation.confusion import class_scores
from musicreclass.evaluation.ranking import Rankings
from musicreclass.training.distributed import all_reduce, gather_rows, global_rank


@dataclass
class EpochMetrics:
    """Collects losses and logits during an epoch, and computes metrics once at its end, which is cheaper than per step.

    Of a table of segments the training metrics are those of rows; for validation, `SegmentOutputs` joins the rows of a track first.
    """

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
        """Mean loss, accuracy and macro-F1 over all that was added in any process, named `prefix/...`."""
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
        """Mean loss and the macro averages of the areas over all that was added in any process, named `prefix/...`.

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


@dataclass
class SegmentOutputs:
    """Collects the logits of a table of segments during an epoch, and averages the probabilities of each track's rows at its end."""

    num_classes: int
    is_multi: bool
    logits: list[torch.Tensor] = field(default_factory=list)
    y_true: list[torch.Tensor] = field(default_factory=list)
    track: list[torch.Tensor] = field(default_factory=list)

    def add(self, logits: torch.Tensor, y: torch.Tensor, track: torch.Tensor) -> None:
        """Add the logits (B, C), class numbers (B,) or indicators (B, C), and track numbers (B,) of some rows."""
        self.logits.append(logits.float())
        self.y_true.append(y)
        self.track.append(track)

    def of_tracks(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits of the mean probabilities of each track, (T, C) float64, and the class numbers (T,) or indicators (T, C).

        All tracks are in the first process, and none in the others.
        """
        shapes = (0, self.num_classes), (0, self.num_classes) if self.is_multi else (0,), (0,)
        logits, y_true, track = (
            gather_rows(torch.cat(part).cpu().numpy() if part else np.empty(shape, np.int64))
            for part, shape in zip((self.logits, self.y_true, self.track), shapes, strict=True)
        )
        _, first, row_track = np.unique(track, return_index=True, return_inverse=True)
        first = first[: None if global_rank() == 0 else 0]
        index, rows = torch.from_numpy(row_track), torch.from_numpy(logits).double()

        def log_mean(probability: torch.Tensor) -> torch.Tensor:
            total = torch.zeros(int(index.max()) + 1, self.num_classes, dtype=torch.float64).index_add(
                0, index, probability
            )
            return (
                (total / torch.bincount(index)[:, None]).clamp(min=torch.finfo(torch.float64).tiny).log()[: len(first)]
            )

        if self.is_multi:
            averaged = log_mean(torch.sigmoid(rows)) - log_mean(torch.sigmoid(-rows))
        else:
            averaged = log_mean(torch.softmax(rows, 1))
        return averaged, torch.from_numpy(y_true[first])
