"""Tests of two rows on the same tracks. docs/statistics.md says which is used when, and what it assumes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from musicreclass.evaluation.intervals import METRICS, Part, Sample, combined, t_quantile

FLIPS = 10_000  # random ones, where there are too many clusters to try all
ALL_FLIPS = 13  # up to so many clusters every way to flip them is tried
EXACT = 25  # below so many discordant tracks McNemar's test is the exact one, from there on the mid-p
BLOCK = 4_000_000  # signs that are held at a time


@dataclass(frozen=True)
class Pair:
    """Two rows compared by one metric.

    Attributes:
        first, second: the rows.
        metric: `accuracy` or `macro_f1`.
        difference: of the first row's score over the second's.
        low, high: its 95 % interval.
        p: two-sided, of no difference.
        adjusted: p by Holm's method, over all pairs that were tested by this metric.
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


def paired_tests(sample: Sample, among: list[int] | None = None, flips: int = FLIPS) -> list[Pair]:
    """Two and two of a sample's rows, by every metric.

    Two single runs are told apart by their predictions alone: accuracy by McNemar's test, or by flipping the signs of whole
    groups where groups are known; macro-F1 by swapping the two runs' predictions, of whole groups too. Where a row has several
    seeds, the difference of the means is held against its standard error over tracks and over seeds.

    Args:
        sample: the rows.
        among: the rows to test, in the order in which a pair names them; by default all.
        flips: how many random flips, where not all are tried.
    """
    pairs = list(combinations(range(len(sample.guesses)) if among is None else among, 2))
    single = [pair for pair in pairs if all(len(sample.guesses[row]) == 1 for row in pair)]
    swapped = swap_tests(sample, single, flips)
    clustered = sample.clusters.count < len(sample.y_true)
    over = f"permutation over {sample.clusters if clustered else f'{len(sample.y_true)} tracks'}"
    found = []
    for metric in METRICS:
        here = []
        for pair in pairs:
            if pair not in swapped:
                here.append(seeds_test(sample, metric, *pair))
                continue
            p, method = swapped[pair][metric], over
            if metric == "accuracy" and not clustered:
                right = [sample.guesses[row][0] == sample.y_true for row in pair]
                p, method = mcnemar(int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum()))
            drawn = sample.drawn[metric][pair[0]] - sample.drawn[metric][pair[1]]
            low, high = (float(q) for q in np.quantile(drawn, (0.025, 0.975)))
            here.append(Pair(*pair, metric, difference(sample, metric, *pair), low, high, p, p, method))
        adjusted = holm(np.array([pair.p for pair in here]))
        found += [replace(pair, adjusted=float(p)) for pair, p in zip(here, adjusted, strict=True)]
    return found


def difference(sample: Sample, metric: str, first: int, second: int) -> float:
    """How much better the first row is, on the mean over seeds."""
    return float(sample.observed[metric][first].mean() - sample.observed[metric][second].mean())


def mcnemar(only_first: int, only_second: int) -> tuple[float, str]:
    """McNemar's two-sided test.

    Args:
        only_first, only_second: tracks that one of two runs alone has right.

    Returns:
        p, and which form it is: exact (binomial) below 25 discordant tracks, the mid-p from there on.
    """
    from scipy.special import bdtr
    from scipy.stats import binom

    n, fewer = only_first + only_second, min(only_first, only_second)
    tail = float(bdtr(fewer, n, 0.5)) if n else 1.0
    if n < EXACT:
        return min(1.0, 2 * tail), "McNemar, exact"
    return min(1.0, 2 * tail - float(binom.pmf(fewer, n, 0.5))), "McNemar, mid-p"


def swap_tests(sample: Sample, pairs: list[tuple[int, int]], flips: int) -> dict[tuple[int, int], dict[str, float]]:
    """Paired permutation tests: p by metric, for every pair of rows of one seed.

    If two runs are equally good, exchanging their predictions of any cluster changes nothing in distribution. A difference's
    p is the share of exchanges that make it as large; for accuracy that is the sign-flip test of each cluster's difference.
    """
    if not pairs:
        return {}
    classes, all_ways = sample.classes, sample.clusters.count <= ALL_FLIPS
    rows = sorted({row for pair in pairs for row in pair})
    counts = {row: sample.counts[row][0][:, : 2 * classes] for row in rows}
    total = {row: counts[row].sum(0, dtype=float) for row in rows}
    actual = np.bincount(sample.y_true, minlength=classes)

    def gaps(one: np.ndarray, two: np.ndarray) -> dict[str, np.ndarray]:
        """The absolute differences of hits and guesses (..., 2 C), by metric."""
        f1 = [2 * each[..., :classes] / np.maximum(each[..., classes:] + actual, 1) for each in (one, two)]
        return {
            "accuracy": np.abs(one[..., :classes].sum(-1) - two[..., :classes].sum(-1)),
            "macro_f1": np.abs(f1[0].sum(-1) - f1[1].sum(-1)),
        }

    seen = {pair: gaps(total[pair[0]], total[pair[1]]) for pair in pairs}
    as_large = {pair: dict.fromkeys(METRICS, 0) for pair in pairs}
    tried = 0
    for signs in sign_blocks(sample.clusters.count, flips):
        tried += len(signs)
        signed = {row: (signs @ counts[row]).astype(float) for row in rows}
        for pair in pairs:
            middle = (total[pair[0]] + total[pair[1]]) / 2
            apart = (signed[pair[0]] - signed[pair[1]]) / 2
            for metric, gap in gaps(middle + apart, middle - apart).items():
                as_large[pair][metric] += int((gap >= seen[pair][metric] - 1e-9).sum())
    ours = 0 if all_ways else 1  # what was seen is one of all ways, and is added to a random choice of them
    return {pair: {m: (n + ours) / (tried + ours) for m, n in found.items()} for pair, found in as_large.items()}


def sign_blocks(clusters: int, flips: int) -> Iterator[np.ndarray]:
    """Signs for each cluster, (some, clusters) float32 of -1 and 1: all ways for a few clusters, else random ones."""
    if clusters <= ALL_FLIPS:
        ways = np.arange(2**clusters)[:, None] >> np.arange(clusters) & 1
        yield (2 * ways - 1).astype(np.float32)
        return
    rng = np.random.default_rng(1)
    step = max(1, BLOCK // clusters)
    for start in range(0, flips, step):
        ways = rng.integers(0, 2, (min(step, flips - start), clusters), dtype=np.int8)
        yield (2 * ways - 1).astype(np.float32)


def seeds_test(sample: Sample, metric: str, first: int, second: int) -> Pair:
    """Two rows of which one at least has several seeds.

    The standard error has a part from the tracks, by the paired bootstrap over clusters of the difference of means, and one
    from each row's seeds. A row of a single seed is taken to vary as the other does.
    """
    from scipy.special import stdtr

    rows = (first, second)
    gap = difference(sample, metric, first, second)
    drawn = sample.drawn[metric][first] - sample.drawn[metric][second]
    parts = [sample.tracks(drawn)]
    seeds = [sample.seeds(metric, row) for row in rows]
    sizes = [len(sample.guesses[row]) for row in rows]
    for own, other, size in zip(seeds, seeds[::-1], sizes[::-1], strict=True):
        if own is not None:
            parts.append(own)
        elif other is not None:
            parts.append(Part(other.variance * size, other.estimated * size, other.freedom))
    error, freedom = combined(parts)
    if sample.clusters.count == 1:  # nothing is known of how tracks vary
        p = 1.0
    elif error:
        p = 2 * float(stdtr(freedom, -abs(gap) / error))
    else:  # every cluster differs alike
        p = 2.0 ** (1 - sample.clusters.count) if gap else 1.0
    reach = t_quantile(freedom) * error
    method = f"t test over seeds ({sizes[0]}, {sizes[1]}) and {sample.clusters}"
    return Pair(first, second, metric, gap, gap - reach, gap + reach, p, p, method)


def holm(p: np.ndarray) -> np.ndarray:
    """p values adjusted by Holm's method: the chance of any false alarm among them is held."""
    order = np.argsort(p, kind="stable")
    found = np.empty_like(p)
    found[order] = np.minimum(1, np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))))
    return found
