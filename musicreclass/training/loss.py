"""The training loss: cross-entropy, or focal loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F

MIN_REST = 1e-6  # of 1 - p, whose powers below 1 have no finite gradient at 0


def summed_loss(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    label_smoothing: float = 0.0,
    focal_gamma: float | None = None,
) -> torch.Tensor:
    """The sum of the losses of a batch.

    Focal loss multiplies the term of class c of cross-entropy by (1 - p_c)^gamma, so that tracks that are already classified well
    count less (Lin, Goyal, Girshick, He, Dollár: Focal loss for dense object detection, ICCV 2017).

    Args:
        logits: (B, C).
        target: class numbers (B,), or probabilities (B, C).
        weight: of each class, (C,).
        label_smoothing: as in `torch.nn.functional.cross_entropy`.
        focal_gamma: None for cross-entropy, which 0 is too.
    """
    if not focal_gamma:
        return F.cross_entropy(logits, target, weight, reduction="sum", label_smoothing=label_smoothing)
    classes = logits.shape[1]
    probability = F.one_hot(target, classes).to(logits.dtype) if target.ndim == 1 else target
    probability = probability * (1 - label_smoothing) + label_smoothing / classes
    logarithm = F.log_softmax(logits, 1)
    terms = -probability * logarithm * (1 - logarithm.exp()).clamp(min=MIN_REST) ** focal_gamma
    return (terms if weight is None else terms * weight).sum()
