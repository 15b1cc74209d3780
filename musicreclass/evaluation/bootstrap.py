"""Bootstrap intervals: how much a score would vary on other tracks of the same kind."""

from __future__ import annotations

from typing import Any

import numpy as np

from musicreclass.evaluation.resampling import ClassCounts, Clusters, Jackknife, TagRankings

NORMAL_QUANTILE = 1.959964  # the 97.5 % quantile of the standard normal distribution
MIN_DISTINCT = 20  # distinct scores of replicates from which their percentiles are used
MAX_FEW_CLUSTERS = 7  # up to which there are fewer distinct resamples than replicates
MIN_MINORITY = 5  # clusters that must differ from the others before the sample alone shows how clusters vary


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
        metric: [
            *corrected_interval(score, np.concatenate([block[metric] for block in blocks]), jackknife, metric, clusters)
        ]
        for metric, score in statistic.scores().items()
    }
    return {**intervals, "over": str(clusters)}


def corrected_interval(
    score: float, replicates: np.ndarray, jackknife: Jackknife, metric: str, clusters: Clusters
) -> tuple[float, float]:
    """(low, high), 95 %, of a score in [0, 1]: its widened percentile interval, or binomial bounds if replicates are too few.

    Args:
        score: on all tracks.
        replicates: the score in each replicate.
        jackknife: gives the standard error.
        metric: of the score.
        clusters: that were resampled.
    """
    error, minority = jackknife.standard_error(metric), jackknife.minority_count(metric, score)
    if are_too_few(replicates, clusters):
        interval = binomial_interval(score, error, clusters)
    else:
        interval = widened_interval(score, replicates, error, clusters)
    return with_unseen_clusters(interval, score, 0.0, minority, clusters)


def difference_interval(
    difference: float, replicates: np.ndarray, jackknife: Jackknife, metric: str, clusters: Clusters
) -> tuple[float, float]:
    """(low, high), 95 %, of a difference of scores: its widened percentile interval, or a t interval if replicates are too few.

    Args:
        difference, replicates: on all tracks, and in each replicate.
        jackknife: of the difference.
        metric, clusters: as in `corrected_interval`.
    """
    error, minority = jackknife.standard_error(metric), jackknife.minority_count(metric, difference)
    if are_too_few(replicates, clusters):
        half_width = t_quantile(clusters.df) * error
        interval = (difference - half_width, difference + half_width)
    else:
        interval = widened_interval(difference, replicates, error, clusters)
    return with_unseen_clusters(interval, difference, -1.0, minority, clusters)


def are_too_few(replicates: np.ndarray, clusters: Clusters) -> bool:
    """Whether replicates have too few distinct scores for percentiles."""
    return len(np.unique(replicates.round(9))) < MIN_DISTINCT or clusters.count <= MAX_FEW_CLUSTERS


def with_unseen_clusters(
    interval: tuple[float, float], score: float, lowest: float, minority: int, clusters: Clusters
) -> tuple[float, float]:
    """An interval that allows for kinds of clusters that the sample may lack, clipped to the range of the score.

    If all clusters of a sample are equal, 1 - 0.025^(1 / clusters) of all clusters may still be others, with any score (the exact
    binomial bound). A single cluster with an error does not show how errors vary, so that share decreases linearly with the
    number of clusters that differ, to 0 at `MIN_MINORITY` of them or half of all.

    Args:
        interval: low and high.
        score: or a difference of scores.
        lowest: possible score; the highest is 1.
        minority: number of clusters that differ, see `Jackknife.minority_count`.
        clusters: of the sample.
    """
    unseen = 1 - 0.025 ** (1 / clusters.effective_count)
    unseen *= max(0.0, 1 - minority / min(MIN_MINORITY, clusters.count / 2))
    low, high = score - unseen * (score - lowest), score + unseen * (1 - score)
    return max(lowest, min(interval[0], low)), min(1.0, max(interval[1], high))


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
    factor = t_quantile(clusters.df) / NORMAL_QUANTILE * max(1.0, error / deviation)
    return float(score - (score - low) * factor), float(score + (high - score) * factor)


def binomial_interval(score: float, error: float, clusters: Clusters) -> tuple[float, float]:
    """Clopper-Pearson bounds, 95 %, with the number of independent trials that have this standard error (Korn and Graubard).

    Args:
        score: in [0, 1].
        error: its standard error; if it is 0, or the score 0 or 1, there are as many trials as clusters of equal size.
        clusters: give the degrees of freedom of the error.
    """
    from scipy.stats import beta

    score, trials = min(1.0, max(0.0, score)), clusters.effective_count  # sums of areas can exceed 1 by rounding
    if error > 0 and 0 < score < 1:
        design = score * (1 - score) / error**2 * (NORMAL_QUANTILE / t_quantile(clusters.df)) ** 2
        trials = min(float(len(clusters.codes)), design)
    low = float(beta.ppf(0.025, trials * score, trials * (1 - score) + 1)) if score > 0 else 0.0
    high = float(beta.ppf(0.975, trials * score + 1, trials * (1 - score))) if score < 1 else 1.0
    return low, high


def t_quantile(df: float) -> float:
    """The 97.5 % quantile of Student's t distribution."""
    from scipy.special import stdtrit

    return NORMAL_QUANTILE if np.isinf(df) else float(stdtrit(df, 0.975))
