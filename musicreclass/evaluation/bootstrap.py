"""Bootstrap intervals: how much a score would vary on other tracks of the same kind."""

from __future__ import annotations

from typing import Any

import numpy as np

from musicreclass.evaluation.resampling import ClassCounts, Clusters, TagRankings

NORMAL_QUANTILE = 1.959964  # the 97.5 % quantile of the standard normal distribution
MIN_DISTINCT = 20  # distinct scores of replicates from which their percentiles are used
MAX_FEW_CLUSTERS = 7  # up to which there are fewer distinct resamples than replicates


def bootstrap_interval(
    y_true: np.ndarray, y_pred: np.ndarray, groups: list[str | None], classes: int
) -> dict[str, Any]:
    """95 % bootstrap intervals of accuracy and macro-F1, see `corrected_interval`.

    Whole clusters are resampled: tracks of one artist are correlated, and treating them as independent would make intervals too
    narrow. A track without a known group is its own cluster. A replicate's macro-F1 leaves out classes of the split that the
    replicate has no tracks of. Replicates come from a fixed seed.

    Args:
        y_true, y_pred: class numbers, (n,).
        groups: each track's group, or None.
        classes: number of classes.

    Returns:
        `accuracy` and `macro_f1`, each [low, high], and `over`, what was resampled: `24 tracks` or `12 groups`.
    """
    clusters = Clusters.of(groups)
    return bootstrap_intervals(ClassCounts.of(clusters, y_true, y_pred, classes), clusters)


def bootstrap_intervals(statistic: ClassCounts | TagRankings, clusters: Clusters) -> dict[str, Any]:
    """95 % bootstrap intervals of each score of a run, as in `bootstrap_interval`."""
    blocks = [statistic.resampled(weights) for weights in clusters.resampling_weights()]
    jackknife = statistic.jackknife()
    intervals = {
        metric: corrected_interval(
            score, np.concatenate([block[metric] for block in blocks]), jackknife.standard_error(metric), clusters
        )
        for metric, score in statistic.scores().items()
    }
    return {**intervals, "over": str(clusters)}


def corrected_interval(score: float, replicates: np.ndarray, error: float, clusters: Clusters) -> list[float]:
    """[low, high], 95 %, of a score in [0, 1]: its widened percentile interval, or binomial bounds if replicates are too few.

    Args:
        score: on all tracks.
        replicates: the score in each replicate.
        error: the jackknife standard error.
        clusters: that were resampled.
    """
    if len(np.unique(replicates.round(9))) < MIN_DISTINCT or clusters.count <= MAX_FEW_CLUSTERS:
        return binomial_interval(score, error, clusters)
    low, high = widened_interval(score, replicates, error, clusters)
    return [max(0.0, low), min(1.0, high)]


def widened_interval(score: float, replicates: np.ndarray, error: float, clusters: Clusters) -> tuple[float, float]:
    """The 95 % percentile interval, shifted by the bias of the replicates and widened for few or unequal clusters.

    The bias is the mean of the replicates minus the score: in a replicate, macro-F1 is too low. Percentiles treat the standard
    error as known, and replicates vary too little where a class has few clusters. Hence the factor of Student's t to the normal
    quantile, and that of the jackknife's standard error to the bootstrap's.

    Args:
        score: on all tracks; or a difference of scores.
        replicates: the score in each replicate.
        error: the jackknife standard error.
        clusters: that were resampled.
    """
    low, high = np.quantile(replicates, (0.025, 0.975)) - (replicates.mean(dtype=float) - score)
    deviation = float(replicates.std(dtype=float))
    factor = t_quantile(clusters.df) / NORMAL_QUANTILE * (max(1.0, error / deviation) if deviation else 1.0)
    return float(score - (score - low) * factor), float(score + (high - score) * factor)


def binomial_interval(score: float, error: float, clusters: Clusters) -> list[float]:
    """Clopper-Pearson bounds, 95 %, with the number of independent trials that have this standard error (Korn and Graubard).

    Args:
        score: in [0, 1].
        error: its standard error; if it is 0, or the score 0 or 1, every cluster is one trial.
        clusters: give the degrees of freedom of the error.
    """
    from scipy.stats import beta

    score, trials = min(1.0, max(0.0, score)), float(clusters.count)  # sums of areas can exceed 1 by rounding
    if error > 0 and 0 < score < 1:
        design = score * (1 - score) / error**2 * (NORMAL_QUANTILE / t_quantile(clusters.df)) ** 2
        trials = min(float(len(clusters.codes)), design)
    low = float(beta.ppf(0.025, trials * score, trials * (1 - score) + 1)) if score > 0 else 0.0
    high = float(beta.ppf(0.975, trials * score + 1, trials * (1 - score))) if score < 1 else 1.0
    return [low, high]


def t_quantile(df: float) -> float:
    """The 97.5 % quantile of Student's t distribution."""
    from scipy.special import stdtrit

    return NORMAL_QUANTILE if np.isinf(df) else float(stdtrit(df, 0.975))
