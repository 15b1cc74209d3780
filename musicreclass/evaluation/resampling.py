"""The scores of a run on resamples of its tracks: whole clusters drawn with replacement, or left out one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from musicreclass.evaluation.ranking import Rankings
from musicreclass.plurals import agreeing

REPLICATES = 2000
WEIGHTS_PER_BLOCK = 4_000_000  # limits memory
ROUNDING = 1e-9  # smaller differences of scores are rounding errors
MAX_LEFT_OUT = 400  # clusters up to which each is left out by itself in the jackknife of rankings


@dataclass(frozen=True)
class Clusters:
    """The units of resampling: groups of tracks, and each track without a group by itself.

    Attributes:
        codes: the cluster of each track, (n,) int64.
        count: number of clusters.
        has_groups: whether the group of any track is known.
        has_single_tracks: whether the group of others is not.
    """

    codes: np.ndarray
    count: int
    has_groups: bool
    has_single_tracks: bool = False

    @classmethod
    def of(cls, groups: list[str | None]) -> Clusters:
        """The clusters of tracks with these groups, None where unknown."""
        group_codes, names = pd.factorize(pd.Series(groups, dtype=object), use_na_sentinel=True)
        ungrouped = group_codes < 0
        codes = np.where(ungrouped, len(names) + np.cumsum(ungrouped) - 1, group_codes)
        return cls(codes, int(codes.max()) + 1, len(names) > 0, len(names) > 0 and bool(ungrouped.any()))

    @property
    def df(self) -> float:
        """Satterthwaite's degrees of freedom of the variance over clusters, at least 1: one less than their number if sizes are equal.

        A cluster's contribution to the variance is taken to be proportional to its squared number of tracks, as if its tracks
        were fully correlated; few large clusters then determine the variance.
        """
        squared_sizes = np.bincount(self.codes).astype(float) ** 2
        return max(1.0, float(squared_sizes.sum() ** 2 / (squared_sizes**2).sum()) - 1)

    @property
    def effective_count(self) -> float:
        """Kish's effective number of clusters: the number of equally large ones that would determine a mean as precisely."""
        sizes = np.bincount(self.codes).astype(float)
        return float(sizes.sum() ** 2 / (sizes**2).sum())

    def __str__(self) -> str:
        if self.has_single_tracks:  # at least one group and one track
            return f"{self.count} {agreeing(self.count, 'group or track', 'groups and single tracks')}"
        return f"{self.count} {agreeing(self.count, 'group' if self.has_groups else 'track')}"

    def class_counts(self, y_true: np.ndarray, y_pred: np.ndarray, classes: int) -> np.ndarray:
        """Hits, predictions and tracks of each class by cluster, (count, 3 C); accuracy and macro-F1 depend on nothing else."""
        counts = np.zeros((self.count, 3 * classes), np.float32)  # exact: integers below 2^24
        np.add.at(counts, (self.codes, y_true), y_true == y_pred)
        np.add.at(counts, (self.codes, classes + y_pred), 1)
        np.add.at(counts, (self.codes, 2 * classes + y_true), 1)
        return counts

    def resampling_weights(self) -> Iterator[np.ndarray]:
        """How often each cluster is drawn in a bootstrap replicate: `count` draws with replacement.

        Yields:
            blocks (replicates, count) float32; REPLICATES rows in total, from a fixed seed.
        """
        rng = np.random.default_rng(0)
        block_size = max(1, WEIGHTS_PER_BLOCK // self.count)
        for start in range(0, REPLICATES, block_size):
            size = min(block_size, REPLICATES - start)
            yield rng.multinomial(self.count, np.full(self.count, 1 / self.count), size=size).astype(np.float32)


def classes_present(y_true: np.ndarray, classes: int) -> np.ndarray:
    """Which classes have tracks, (C,) bool."""
    return np.bincount(y_true, minlength=classes) > 0


def scores_from_counts(counts: np.ndarray, present: np.ndarray) -> dict[str, np.ndarray]:
    """`accuracy` and `macro_f1` from summed counts.

    Args:
        counts: (..., 3 C), hits, predictions and tracks of each class.
        present: (C,), classes with tracks in the split; a replicate's macro-F1 leaves out those that it has no tracks of.
    """
    hits, predicted, actual = np.split(counts, 3, axis=-1)
    f1 = 2 * hits / np.maximum(predicted + actual, 1)
    averaged = (actual > 0) | ~present
    return {
        "accuracy": hits.sum(-1) / np.maximum(actual.sum(-1), 1),
        "macro_f1": (f1 * averaged).sum(-1) / np.maximum(averaged.sum(-1), 1),
    }


@dataclass(frozen=True)
class ClassCounts:
    """Accuracy and macro-F1 of one run, of any resample of its clusters.

    Attributes:
        y_true, y_pred: class numbers, (n,).
        counts: of each cluster, see `Clusters.class_counts`.
        present: which classes have tracks, (C,).
    """

    y_true: np.ndarray
    y_pred: np.ndarray
    counts: np.ndarray
    present: np.ndarray

    @classmethod
    def of(cls, clusters: Clusters, y_true: np.ndarray, y_pred: np.ndarray, classes: int) -> ClassCounts:
        """The counts of some predictions."""
        counts = clusters.class_counts(y_true, y_pred, classes)
        return cls(y_true, y_pred, counts, classes_present(y_true, classes))

    def scores(self) -> dict[str, float]:
        """On all tracks."""
        scores = scores_from_counts(self.counts.sum(0, dtype=float), self.present)
        return {metric: float(score) for metric, score in scores.items()}

    def resampled(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """The scores with weights of the clusters, (R, clusters)."""
        return scores_from_counts(weights @ self.counts, self.present)

    def jackknife(self) -> Jackknife:
        """The scores without each cluster and without each track."""
        return Jackknife.of(self.counts, self.y_true, self.y_pred)


@dataclass(frozen=True)
class Jackknife:
    """The scores without each cluster, and without each track.

    Attributes:
        clusters: by metric: the score without each cluster, (clusters,).
        tracks: by metric: the score without each track, (n,).
    """

    clusters: dict[str, np.ndarray]
    tracks: dict[str, np.ndarray]

    @classmethod
    def of(cls, counts: np.ndarray, y_true: np.ndarray, y_pred: np.ndarray) -> Jackknife:
        """Leave out one cluster or track at a time.

        Args:
            counts: of each cluster, see `Clusters.class_counts`.
            y_true, y_pred: class numbers, (n,).
        """
        classes, total = counts.shape[1] // 3, counts.sum(0, dtype=float)
        # Tracks with the same true and predicted class have the same effect.
        cells, cell = np.unique(y_true * classes + y_pred, return_inverse=True)
        units = Clusters(np.arange(len(cells)), len(cells), False)
        cell_counts = units.class_counts(cells // classes, cells % classes, classes)
        present = total[2 * classes :] > 0
        return cls(
            scores_from_counts(total - counts, present),
            {m: scores[cell] for m, scores in scores_from_counts(total - cell_counts, present).items()},
        )

    @classmethod
    def mean(cls, of_seeds: list[Jackknife]) -> Jackknife:
        """The same for the mean score of several seeds."""
        metrics = of_seeds[0].clusters
        return cls(
            {m: np.mean([seed.clusters[m] for seed in of_seeds], axis=0) for m in metrics},
            {m: np.mean([seed.tracks[m] for seed in of_seeds], axis=0) for m in metrics},
        )

    def minus(self, other: Jackknife) -> Jackknife:
        """The same for the difference of two scores."""
        return Jackknife(
            {m: scores - other.clusters[m] for m, scores in self.clusters.items()},
            {m: scores - other.tracks[m] for m, scores in self.tracks.items()},
        )

    def standard_error(self, metric: str) -> float:
        """The jackknife standard error over clusters, at least that over tracks: groups can only add variance.

        Clusters with equal scores would otherwise have no error.
        """
        return max(jackknife_error(self.clusters[metric]), jackknife_error(self.tracks[metric]))

    def minority_count(self, metric: str, score: float) -> int:
        """The number of clusters that raise the score, or of those that lower it if they are fewer.

        For an accuracy near 1 these are the clusters with an error.

        Args:
            metric: of the score.
            score: on all tracks.
        """
        change = self.clusters[metric] - score
        return int(min((change > ROUNDING).sum(), (change < -ROUNDING).sum()))


@dataclass(frozen=True)
class TagRankings:
    """The macro averages of the areas under the ROC and precision-recall curves of one run, of any resample of its clusters.

    Attributes:
        clusters: of the tracks.
        rankings: of the tags.
    """

    clusters: Clusters
    rankings: Rankings

    @classmethod
    def of(cls, clusters: Clusters, y_true: np.ndarray, probability: np.ndarray) -> TagRankings:
        """The rankings of some predictions: indicators and probabilities of tags, (n, C)."""
        return cls(clusters, Rankings(y_true, probability))

    def scores(self) -> dict[str, float]:
        """On all tracks."""
        scores = self.rankings.macro(np.ones((1, self.rankings.n)))
        return {metric: float(score[0]) for metric, score in scores.items()}

    def resampled(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """The scores with weights of the clusters, (R, clusters)."""
        return self.rankings.macro(weights, self.clusters.codes)

    def jackknife(self) -> Jackknife:
        """The scores without each cluster and without each track; without one of `MAX_LEFT_OUT` parts of them, if there are more."""
        tracks = np.arange(self.rankings.n)
        by_cluster, by_track = (self.without_each(parts_of(units)) for units in (self.clusters.codes, tracks))
        return Jackknife(by_cluster, by_track)

    def without_each(self, unit: np.ndarray) -> dict[str, np.ndarray]:
        """The scores without each unit.

        Args:
            unit: of each track, (n,).
        """
        return self.rankings.macro(1 - np.eye(unit.max() + 1, dtype=np.float32), unit)


def parts_of(units: np.ndarray) -> np.ndarray:
    """Units in at most `MAX_LEFT_OUT` random parts of equal size: the delete-a-group jackknife."""
    count = int(units.max()) + 1
    if count <= MAX_LEFT_OUT:
        return units
    return np.asarray((np.random.default_rng(0).permutation(count) % MAX_LEFT_OUT)[units])


def jackknife_error(scores: np.ndarray) -> float:
    """The standard error of a score from its values with one unit left out at a time, (units,); 0 for a single unit."""
    return float(np.sqrt(len(scores) - 1) * scores.std()) if len(scores) > 1 else 0.0
