"""Paired tests of rows scored on the same tracks; docs/statistics.md explains which test is used when, and its assumptions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from musicreclass.evaluation.bootstrap import difference_interval, t_quantile, with_unseen_clusters
from musicreclass.evaluation.intervals import (
    Sample,
    TagSample,
    VarianceComponent,
    combine_components,
)
from musicreclass.evaluation.resampling import ROUNDING
from musicreclass.plurals import agreeing

PERMUTATIONS = 10_000  # random ones, if there are too many clusters for all
MAX_EXHAUSTIVE = 13  # clusters up to which all permutations are computed
MIN_MID_P = 25  # discordant tracks from which McNemar's test is the mid-p variant instead of the exact one
SIGNS_PER_BLOCK = 4_000_000  # limits memory


@dataclass(frozen=True)
class Pair:
    """Two rows compared by one metric.

    Attributes:
        first, second: indices of the rows.
        metric: one of the main metrics.
        difference: score of the first row minus score of the second.
        low, high: its 95 % interval.
        p: two-sided p value of no difference.
        adjusted: p adjusted by Holm's method over all pairs tested by this metric.
        method: the test.
    """

    first: int
    second: int
    metric: str
    difference: float
    low: float
    high: float
    p: float
    adjusted: float
    method: str


def paired_tests(sample: Sample, rows: list[int] | None = None, flips: int = PERMUTATIONS) -> list[Pair]:
    """Compare every two rows of a sample by every metric.

    Two single runs are compared by their predictions: accuracy by McNemar's test, or by flipping the signs of whole groups if
    groups are known; macro-F1 by swapping predictions of the two runs, also by whole groups. If a row has several seeds, or the
    runs predict tags, the difference of means is compared with its standard error over tracks and seeds.

    Args:
        sample: the rows.
        rows: indices of the rows to test, in the order in which a pair lists them; None for all.
        flips: number of random permutations, if not all are computed.
    """
    pairs = list(combinations(range(len(sample.y_pred)) if rows is None else rows, 2))
    single_seed = (
        []
        if isinstance(sample, TagSample)
        else [pair for pair in pairs if all(len(sample.y_pred[row]) == 1 for row in pair)]
    )
    p_values = permutation_tests(sample, single_seed, flips)
    return adjusted_by_metric([
        single_run_test(sample, metric, *pair, p_values[pair][metric])
        if pair in p_values
        else seeds_test(sample, metric, *pair)
        for metric in sample.metrics
        for pair in pairs
    ])  # fmt: skip


def adjusted_by_metric(pairs: list[Pair]) -> list[Pair]:
    """The pairs, grouped by metric, with p adjusted by Holm's method over all pairs of a metric."""
    adjusted_pairs = []
    for metric in dict.fromkeys(pair.metric for pair in pairs):
        tested = [pair for pair in pairs if pair.metric == metric]
        adjusted = holm(np.array([pair.p for pair in tested]))
        adjusted_pairs += [replace(pair, adjusted=float(p)) for pair, p in zip(tested, adjusted, strict=True)]
    return adjusted_pairs


def single_run_test(sample: Sample, metric: str, first: int, second: int, permutation_p: float) -> Pair:
    """Compare two rows of one seed each: McNemar's test for accuracy without groups, else the permutation test.

    Args:
        sample: the rows.
        metric: `accuracy` or `macro_f1`.
        first, second: indices of the rows.
        permutation_p: see `permutation_tests`.
    """
    clustered = sample.clusters.count < len(sample.y_true)
    if metric == "accuracy" and not clustered:
        first_right, second_right = (sample.y_pred[row][0] == sample.y_true for row in (first, second))
        p, method = mcnemar(int((first_right & ~second_right).sum()), int((second_right & ~first_right).sum()))
    else:
        units = sample.clusters if clustered else f"{len(sample.y_true)} {agreeing(len(sample.y_true), 'track')}"
        p, method = permutation_p, f"permutation over {units}"
    difference = mean_difference(sample, metric, first, second)
    replicates = sample.replicates[metric][first] - sample.replicates[metric][second]
    jackknife = sample.jackknives[first].minus(sample.jackknives[second])
    low, high = difference_interval(difference, replicates, jackknife, metric, sample.clusters)
    return Pair(first, second, metric, difference, low, high, p, p, method)


def mean_difference(sample: Sample, metric: str, first: int, second: int) -> float:
    """Mean score of the first row over its seeds, minus that of the second."""
    return float(sample.scores[metric][first].mean() - sample.scores[metric][second].mean())


def mcnemar(only_first: int, only_second: int) -> tuple[float, str]:
    """McNemar's two-sided test.

    Args:
        only_first, only_second: tracks that only the first or only the second of two runs classifies correctly.

    Returns:
        p and the name of the variant: exact (binomial) below 25 discordant tracks, otherwise mid-p.
    """
    from scipy.special import bdtr
    from scipy.stats import binom

    n, fewer = only_first + only_second, min(only_first, only_second)
    tail = float(bdtr(fewer, n, 0.5)) if n else 1.0
    if n < MIN_MID_P:
        return min(1.0, 2 * tail), "McNemar, exact"
    return min(1.0, 2 * tail - float(binom.pmf(fewer, n, 0.5))), "McNemar, mid-p"


def permutation_tests(
    sample: Sample, pairs: list[tuple[int, int]], flips: int
) -> dict[tuple[int, int], dict[str, float]]:
    """Paired permutation tests of pairs of single-seed rows: p by pair and metric.

    If two runs are equally good, swapping their predictions of any cluster does not change the distribution of the difference. p
    is the share of permutations with a difference at least as large as the observed one; for accuracy, this is the sign-flip
    test of the differences per cluster.
    """
    if not pairs:
        return {}
    classes = sample.classes
    rows = sorted({row for pair in pairs for row in pair})
    counts = {row: sample.statistics[row][0].counts[:, : 2 * classes] for row in rows}
    total = {row: counts[row].sum(0, dtype=float) for row in rows}
    actual = np.bincount(sample.y_true, minlength=classes)
    observed = {pair: score_gaps(total[pair[0]], total[pair[1]], actual) for pair in pairs}
    as_large = {pair: dict.fromkeys(sample.metrics, 0) for pair in pairs}
    permutations = 0
    for signs in sign_blocks(sample.clusters.count, flips):
        permutations += len(signs)
        signed = {row: (signs @ counts[row]).astype(float) for row in rows}
        for pair in pairs:
            mean = (total[pair[0]] + total[pair[1]]) / 2
            half_difference = (signed[pair[0]] - signed[pair[1]]) / 2
            for metric, gap in score_gaps(mean + half_difference, mean - half_difference, actual).items():
                as_large[pair][metric] += int((gap >= observed[pair][metric] - 1e-9).sum())
    # The observed assignment is among all permutations, but must be added to random ones.
    added = 0 if sample.clusters.count <= MAX_EXHAUSTIVE else 1
    return {
        pair: {metric: (n + added) / (permutations + added) for metric, n in by_metric.items()}
        for pair, by_metric in as_large.items()
    }


def score_gaps(first: np.ndarray, second: np.ndarray, actual: np.ndarray) -> dict[str, np.ndarray]:
    """Absolute differences of two runs by metric, up to a constant factor.

    Args:
        first, second: hits and predictions of each class, (..., 2 C).
        actual: tracks of each class, (C,).
    """
    classes = len(actual)
    first_f1, second_f1 = (
        2 * counts[..., :classes] / np.maximum(counts[..., classes:] + actual, 1) for counts in (first, second)
    )
    return {
        "accuracy": np.abs(first[..., :classes].sum(-1) - second[..., :classes].sum(-1)),
        "macro_f1": np.abs(first_f1.sum(-1) - second_f1.sum(-1)),
    }


def sign_blocks(clusters: int, flips: int) -> Iterator[np.ndarray]:
    """Blocks of signs for each cluster, (permutations, clusters) float32 of -1 and 1: all for few clusters, otherwise random ones."""
    if clusters <= MAX_EXHAUSTIVE:
        bits = np.arange(2**clusters)[:, None] >> np.arange(clusters) & 1
        yield (2 * bits - 1).astype(np.float32)
        return
    rng = np.random.default_rng(1)
    block_size = max(1, SIGNS_PER_BLOCK // clusters)
    for start in range(0, flips, block_size):
        bits = rng.integers(0, 2, (min(block_size, flips - start), clusters), dtype=np.int8)
        yield (2 * bits - 1).astype(np.float32)


def seeds_test(sample: Sample, metric: str, first: int, second: int) -> Pair:
    """A t test of two rows, of several seeds or of predicted tags.

    The variance has a component from the tracks, by the jackknife over clusters of the difference of means, and one from each
    row's seeds. A row with a single seed is assumed to vary as the other row does.
    """
    from scipy.special import stdtr

    rows = (first, second)
    difference = mean_difference(sample, metric, first, second)
    jackknife = sample.jackknives[first].minus(sample.jackknives[second])
    components = [sample.track_component(jackknife, metric)]
    seed_components = [sample.seed_component(metric, row) for row in rows]
    sizes = [len(sample.y_pred[row]) for row in rows]
    for component, other, other_size in zip(seed_components, seed_components[::-1], sizes[::-1], strict=True):
        if component is not None:
            components.append(component)
        elif other is not None:  # the variance of one seed, from that of the other row's mean
            components.append(VarianceComponent(other.variance * other_size, other.uncorrected * other_size, other.df))
    error, df = combine_components(components)
    if sample.clusters.count == 1:  # the variance over tracks is unknown
        p = 1.0
    elif error > ROUNDING:
        p = 2 * float(stdtr(df, -abs(difference) / error))
    else:  # all clusters have the same difference: the sign-flip test
        p = 2.0 ** (1 - sample.clusters.count) if abs(difference) > ROUNDING else 1.0
    interval = (difference - t_quantile(df) * error, difference + t_quantile(df) * error)
    minority = jackknife.minority_count(metric, difference)
    low, high = with_unseen_clusters(interval, difference, -1.0, minority, sample.clusters)
    seeds = f"seeds ({sizes[0]}, {sizes[1]}) and " if max(sizes) > 1 else ""
    method = f"t test over {seeds}{sample.clusters}"
    return Pair(first, second, metric, difference, low, high, p, p, method)


def holm(p: np.ndarray) -> np.ndarray:
    """p values adjusted by Holm's method, which controls the probability of any false positive among them."""
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))))
    return adjusted
