"""The training loss: cross-entropy or focal loss, of classes or of tags."""

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


def summed_tag_loss(
    logits: torch.Tensor,
    target: torch.Tensor,
    positive_weight: torch.Tensor | None = None,
    label_smoothing: float = 0.0,
    focal_gamma: float | None = None,
) -> torch.Tensor:
    """The sum over a batch of the binary losses of each track, averaged over its tags.

    Focal loss multiplies the term of a tag by (1 - p)^gamma, where p is the probability of what is true of the track.

    Args:
        logits: (B, C).
        target: indicators of tags, or probabilities with mixup, (B, C).
        positive_weight: of the tracks that have each tag, relative to those that do not, (C,).
        label_smoothing: targets become (1 - s) * target + s / 2.
        focal_gamma: None for binary cross-entropy, which 0 is too.
    """
    target = target.to(logits.dtype) * (1 - label_smoothing) + label_smoothing / 2
    if not focal_gamma:
        terms = F.binary_cross_entropy_with_logits(logits, target, reduction="none", pos_weight=positive_weight)
        return terms.mean(dim=1).sum()
    positive, negative = F.logsigmoid(logits), F.logsigmoid(-logits)
    weight = 1.0 if positive_weight is None else positive_weight
    terms = -weight * target * positive * negative.exp().clamp(min=MIN_REST) ** focal_gamma
    terms = terms - (1 - target) * negative * positive.exp().clamp(min=MIN_REST) ** focal_gamma
    return terms.mean(dim=1).sum()
