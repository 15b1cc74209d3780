"""Arrays of class probabilities: softmax, the floor of log losses, and the shape that ensembles take."""

from __future__ import annotations

import numpy as np

LOSS_FLOOR = 1e-15  # a lower probability of what is true counts as this in a log loss


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def check_stack(stack: np.ndarray, members: int, classes: int) -> None:
    """Make sure that the probabilities of the members of an ensemble have the shape (m, n, C).

    Raises:
        ValueError: for another number of members or classes.
    """
    if stack.ndim != 3 or (stack.shape[0], stack.shape[2]) != (members, classes):
        raise ValueError(f"the probabilities have shape {stack.shape}; needs ({members}, n, {classes})")
