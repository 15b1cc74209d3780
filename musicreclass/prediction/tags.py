"""Genres from the tags of a pretrained tagger, without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from musicreclass.classifiers.model_folder import ModelCard


class TagClassifier:
    """Turns the probabilities of tags into those of genres.

    A genre is as probable as the most probable of its tags; the probabilities of all genres are then divided by their sum. These are
    not calibrated: tags are not exclusive, and the most frequent tags have the highest probabilities.

    Args:
        columns: the tags.
        genres: the tags of each genre.
        floor: the probability that the most probable tag of any genre must have.

    Raises:
        ValueError: if a genre has a tag that is not a column.
    """

    def __init__(self, columns: Sequence[str], genres: Mapping[str, Sequence[str]], floor: float) -> None:
        for genre, tags in genres.items():
            unknown = [tag for tag in tags if tag not in columns]
            if unknown or not tags:
                raise ValueError(f"genres.{genre}: {unknown[0] if unknown else 'no tag'} is not a tag")
        self.card = ModelCard("estimator", "", {}, "table", list(genres), list(columns))
        self.genres, self.floor = genres, floor
        number = {tag: i for i, tag in enumerate(columns)}
        self.rows = [[number[tag] for tag in tags] for tags in genres.values()]

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """Probabilities of the genres (n, C) from those of the tags (n, D)."""
        highest = self.highest(x)
        return highest / highest.sum(axis=1, keepdims=True).clip(1e-12)

    def highest(self, x: np.ndarray) -> np.ndarray:
        """The probability of the most probable tag of each genre, (n, C)."""
        return np.stack([x[:, rows].max(axis=1) for rows in self.rows], axis=1).astype(np.float64)

    def unlike(self, x: np.ndarray) -> list[str | None]:
        """Why a recording has no genre: none of the tags is probable."""
        best = self.highest(x).max(axis=1)
        return [
            None if value >= self.floor else f"no tag of a genre is probable (highest {value:.2f})" for value in best
        ]
