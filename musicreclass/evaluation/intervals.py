"""Scores of several runs on the same tracks: mean and standard deviation over seeds, intervals over tracks and seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from musicreclass.evaluation.bootstrap import corrected_interval, t_quantile
from musicreclass.evaluation.metric_names import CLASS_METRICS, TAG_METRICS
from musicreclass.evaluation.resampling import ClassCounts, Clusters, Jackknife, TagRankings
from musicreclass.plurals import counted

MIN_TRACKS = 10  # with fewer, one track changes the accuracy by more than ten points


def few_tracks(n: int) -> str:
    """A note on a score over too few tracks; empty if they are enough."""
    return "" if n >= MIN_TRACKS else f"only {counted(n, 'track')}: too few for a score"


@dataclass(frozen=True)
class Estimate:
    """A score of a row.

    Attributes:
        mean: over seeds.
        sd: standard deviation over seeds, with n - 1 in the denominator; None for a single seed.
        low, high: the 95 % interval.
    """

    mean: float
    sd: float | None
    low: float
    high: float


@dataclass(frozen=True)
class VarianceComponent:
    """One independent part of the variance of a score.

    Attributes:
        variance: its contribution.
        uncorrected: the variance estimate from which other components were subtracted; determines its precision.
        df: degrees of freedom of that estimate.
    """

    variance: float
    uncorrected: float
    df: float


class Sample:
    """Predictions of the same tracks by several rows, each with one or more seeds, and their bootstrap replicates.

    All runs share the clusters drawn for a replicate, so that replicates of two runs are paired.

    Args:
        y_true: class numbers, (n,).
        y_pred: for each row, for each of its seeds: class numbers, (n,).
        groups: each track's group, or None.
        classes: number of classes.
    """

    metrics = CLASS_METRICS

    def __init__(
        self, y_true: np.ndarray, y_pred: list[list[np.ndarray]], groups: list[str | None], classes: int
    ) -> None:
        self.y_true, self.y_pred, self.classes = y_true, y_pred, classes
        self.clusters = Clusters.of(groups)
        self.statistics = [[self.statistic(seed) for seed in seeds] for seeds in y_pred]
        self.jackknives = [Jackknife.mean([seed.jackknife() for seed in seeds]) for seeds in self.statistics]
        scores = [[seed.scores() for seed in seeds] for seeds in self.statistics]
        # By metric and row: the score of each seed, (seeds,).
        self.scores = {m: [np.array([score[m] for score in seeds]) for seeds in scores] for m in self.metrics}
        blocks: dict[str, list[list[np.ndarray]]] = {m: [[] for _ in y_pred] for m in self.metrics}
        for weights in self.clusters.resampling_weights():
            for row, seeds in enumerate(self.statistics):
                resampled = [seed.resampled(weights) for seed in seeds]
                for m in self.metrics:
                    blocks[m][row].append(np.array([score[m] for score in resampled]))
        # By metric and row: the score of each seed in each replicate, (seeds, REPLICATES), and its mean over seeds, (REPLICATES,).
        self.seed_replicates = {m: [np.concatenate(row, axis=1) for row in blocks[m]] for m in self.metrics}
        self.replicates = {m: [row.mean(0) for row in self.seed_replicates[m]] for m in self.metrics}

    def statistic(self, y_pred: np.ndarray) -> Any:
        """The scores of one run's predictions, of any resample."""
        return ClassCounts.of(self.clusters, self.y_true, y_pred, self.classes)

    def estimate(self, metric: str, row: int) -> Estimate:
        """A row's score.

        The interval over tracks is that of `corrected_interval`. For several seeds it is widened by as much as the seeds increase
        the standard error, with Student's t for their small number, and clipped to [0, 1].
        """
        scores, replicates = self.scores[metric][row], self.replicates[metric][row]
        mean, seeds = float(scores.mean()), self.seed_component(metric, row)
        tracks = self.track_component(self.jackknives[row], metric)
        low, high = corrected_interval(mean, replicates, self.jackknives[row], metric, self.clusters)
        if seeds is None:
            return Estimate(mean, None, low, high)
        if tracks.variance and seeds.variance:
            error = float(np.sqrt(tracks.variance))
            total_error, df = combine_components([tracks, seeds])
            factor = max(1.0, t_quantile(df) * total_error / (t_quantile(self.clusters.df) * error))
            low, high = max(0.0, mean - (mean - low) * factor), min(1.0, mean + (high - mean) * factor)
        return Estimate(mean, float(scores.std(ddof=1)), low, high)

    def seed_component(self, metric: str, row: int) -> VarianceComponent | None:
        """The contribution of a row's seeds to the variance of its mean; None for a single seed.

        Seeds also differ because each errs on other tracks, which the bootstrap over tracks already covers; that part is
        subtracted, as in an analysis of variance.
        """
        scores, replicates = self.scores[metric][row], self.seed_replicates[metric][row]
        n = len(scores)
        if n < 2:
            return None
        total = float(scores.var(ddof=1))
        from_tracks = sum(self.track_variance(deviation) for deviation in replicates - replicates.mean(0)) / (n - 1)
        return VarianceComponent(max(0.0, total - from_tracks) / n, total / n, n - 1)

    def track_component(self, jackknife: Jackknife, metric: str) -> VarianceComponent:
        """The contribution of the tracks to the variance of a score, or of a difference of scores."""
        variance = jackknife.standard_error(metric) ** 2
        return VarianceComponent(variance, variance, self.clusters.df)

    def track_variance(self, replicates: np.ndarray) -> float:
        """The variance of a score over samples of tracks, from its replicates, with the small-sample factor n / (n - 1)."""
        n = self.clusters.count
        return float(replicates.var(dtype=float)) * n / (n - 1) if n > 1 else 0.0


class TagSample(Sample):
    """As `Sample`, of runs that predict sets of tags.

    Args:
        y_true: indicators of tags, (n, C).
        y_pred: for each row, for each of its seeds: probabilities of tags, (n, C).
        groups, classes: as in `Sample`.
    """

    metrics = TAG_METRICS

    def statistic(self, y_pred: np.ndarray) -> Any:
        """See `Sample`."""
        return TagRankings.of(self.clusters, self.y_true, y_pred)


def combine_components(components: list[VarianceComponent]) -> tuple[float, float]:
    """The standard error of a sum of independent components, and its degrees of freedom after Welch and Satterthwaite.

    A component from which most was subtracted would give degrees of freedom near 0; they are at least those of the component
    with the fewest.
    """
    total = sum(component.variance for component in components)
    denominator = sum(component.uncorrected**2 / component.df for component in components)
    fewest = min(component.df for component in components)
    return float(np.sqrt(total)), max(fewest, total**2 / denominator) if denominator else np.inf
