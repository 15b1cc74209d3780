"""Scores of groups of runs on the same tracks: mean and standard deviation over seeds, intervals over tracks and seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from musicreclass.evaluation.bootstrap import Clusters, percentile_interval, present, scores

METRICS = ("accuracy", "macro_f1")
NORMAL = 1.959964  # the 97.5 % point of the normal distribution


@dataclass(frozen=True)
class Estimate:
    """A score of a row.

    Attributes:
        mean: over seeds.
        sd: over seeds, n - 1 in the denominator; None for a single one.
        low, high: the 95 % interval.
    """

    mean: float
    sd: float | None
    low: float
    high: float


@dataclass(frozen=True)
class Part:
    """A part of the variance of a score.

    Attributes:
        variance: what it adds.
        estimated: the variance that this was taken from, before anything was taken off.
        freedom: the degrees of freedom of that estimate.
    """

    variance: float
    estimated: float
    freedom: int


class Sample:
    """Predictions of the same tracks by several rows, each of one seed or more, and their bootstrap replicates.

    The clusters of a replicate are the same for every run, so that replicates of two runs are paired.

    Args:
        y_true: class numbers, (n,).
        guesses: for each row, for each of its seeds: class numbers, (n,).
        groups: each track's group, or None.
        classes: number of classes.
    """

    def __init__(
        self, y_true: np.ndarray, guesses: list[list[np.ndarray]], groups: list[str | None], classes: int
    ) -> None:
        self.y_true, self.guesses, self.classes = y_true, guesses, classes
        self.clusters = Clusters.of(groups)
        self.counts = [[self.clusters.counts(y_true, y_pred, classes) for y_pred in seeds] for seeds in guesses]
        there = present(y_true, classes)
        whole = [[scores(counts.sum(0, dtype=float), there) for counts in seeds] for seeds in self.counts]
        self.observed = {m: [np.array([float(found[m]) for found in seeds]) for seeds in whole] for m in METRICS}
        blocks: dict[str, list[list[np.ndarray]]] = {m: [[] for _ in guesses] for m in METRICS}
        for weights in self.clusters.weights():
            for row, seeds in enumerate(self.counts):
                drawn = [scores(weights @ counts, there) for counts in seeds]
                for m in METRICS:
                    blocks[m][row].append(np.array([found[m] for found in drawn]))
        self.by_seed = {m: [np.concatenate(each, axis=1) for each in blocks[m]] for m in METRICS}
        # by metric and row: the mean over the seeds in each replicate, (REPLICATES,)
        self.drawn = {m: [each.mean(0) for each in self.by_seed[m]] for m in METRICS}

    def seeds(self, metric: str, row: int) -> Part | None:
        """What a row's seeds add to the error of its mean; None for a single seed.

        Scores of several seeds on the same tracks differ also because each seed errs on other tracks, and that is among what
        the bootstrap over tracks finds already: it is taken off, as in an analysis of variance.
        """
        values, drawn = self.observed[metric][row], self.by_seed[metric][row]
        n = len(values)
        if n < 2:
            return None
        raw = float(values.var(ddof=1))
        found_already = sum(self.track_variance(each) for each in drawn - drawn.mean(0)) / (n - 1)
        return Part(max(0.0, raw - found_already) / n, raw / n, n - 1)

    def estimate(self, metric: str, row: int) -> Estimate:
        """A row's score.

        The interval of one seed is the percentile interval over tracks. That of several is as much wider as the seeds add to
        the standard error, with Student's t for their small number; both ends stay between 0 and 1.
        """
        values, drawn = self.observed[metric][row], self.drawn[metric][row]
        mean, seeds = float(values.mean()), self.seeds(metric, row)
        low, high = percentile_interval(drawn, self.clusters.count)
        if seeds is None:
            return Estimate(mean, None, low, high)
        tracks = self.tracks(drawn)
        if tracks.variance and seeds.variance:
            error, freedom = combined([tracks, seeds])
            wider = max(1.0, t_quantile(freedom) * error / (NORMAL * float(np.sqrt(tracks.variance))))
            low, high = max(0.0, mean - (mean - low) * wider), min(1.0, mean + (high - mean) * wider)
        return Estimate(mean, float(values.std(ddof=1)), low, high)

    def tracks(self, drawn: np.ndarray) -> Part:
        """What the tracks add to the error of a score, or of a difference of scores, from its replicates."""
        variance = self.track_variance(drawn)
        return Part(variance, variance, self.clusters.count - 1)

    def track_variance(self, drawn: np.ndarray) -> float:
        """The variance of a score over samples of tracks, from its replicates; with the factor that small samples need."""
        n = self.clusters.count
        return float(drawn.var(dtype=float)) * n / (n - 1) if n > 1 else 0.0


def combined(parts: list[Part]) -> tuple[float, float]:
    """The standard error of a sum of independent parts, and its degrees of freedom by Welch and Satterthwaite."""
    total = sum(part.variance for part in parts)
    spread = sum(part.estimated**2 / part.freedom for part in parts if part.freedom)
    return float(np.sqrt(total)), total**2 / spread if spread else np.inf


def t_quantile(freedom: float) -> float:
    """The 97.5 % point of Student's t."""
    from scipy.special import stdtrit

    return NORMAL if np.isinf(freedom) else float(stdtrit(freedom, 0.975))
