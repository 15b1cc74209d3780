"""Answers and abstention: the accuracy among tracks above a confidence, and the threshold that promises a precision.

Confidences are the largest probability of a track, calibrated (`calibration.calibrated`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from musicreclass.evaluation.bootstrap import bootstrap_interval
from musicreclass.evaluation.calibration import fold_of_tracks
from musicreclass.evaluation.predictions import Predictions
from musicreclass.evaluation.resampling import Clusters
from musicreclass.plurals import counted

ASSURANCE = 0.9  # probability that the precision is at least the promised one
CANDIDATES = 25  # thresholds that are tested


@dataclass(frozen=True)
class CoverageCurve:
    """How accuracy falls as more tracks are labelled, from the most confident one on.

    Attributes:
        confidence: of each distinct threshold, descending, (m,).
        coverage: share of the tracks with at least this confidence, (m,).
        accuracy: among them, (m,).
    """

    confidence: np.ndarray
    coverage: np.ndarray
    accuracy: np.ndarray

    @property
    def area(self) -> float:
        """The mean error rate over all coverages (area under the risk-coverage curve)."""
        shares = np.diff(self.coverage, prepend=0.0)
        return float(((1 - self.accuracy) * shares).sum())


@dataclass(frozen=True)
class Threshold:
    """A confidence from which tracks are labelled, and what it achieved on tracks of other groups.

    Attributes:
        precision: the promised share of correct labels.
        value: the lowest confidence of a labelled track; None if no threshold keeps the promise.
        reason: why there is none; empty if there is one.
        coverage: share of held-out tracks that were labelled with the threshold of the other folds.
        accuracy: share of correct labels among these; None if none was labelled.
        interval: of the accuracy, 95 %; None if fewer than two tracks were labelled.
        labelled: number of these.
        n: number of tracks.
        over: what the folds and the interval consist of, such as `52 groups`.
    """

    precision: float
    value: float | None
    reason: str
    coverage: float
    accuracy: float | None
    interval: tuple[float, float] | None
    labelled: int
    n: int
    over: str


def coverage_curve(predictions: Predictions) -> CoverageCurve:
    """The accuracy at each coverage; tracks of equal confidence are labelled together."""
    confidence, correct = confidence_and_correct(predictions)
    order = np.argsort(-confidence, kind="stable")
    confidence = confidence[order]
    last = np.flatnonzero(np.append(np.diff(confidence) != 0, True))
    labelled = last + 1
    return CoverageCurve(confidence[last], labelled / len(confidence), correct[order].cumsum()[last] / labelled)


def confidence_threshold(
    predictions: Predictions, precision: float, calibrated_on: Callable[[np.ndarray], Predictions] | None = None
) -> Threshold:
    """The threshold that promises a precision among labelled tracks, with an estimate from tracks of other groups.

    The promise: of 100 validation splits drawn from the same kind of tracks, at least 90 give a threshold with this precision,
    or none (`lowest_threshold`). It does not hold for recordings of another kind. Where the epoch of the model was chosen on
    the validation tracks, their accuracy is optimistic.

    Args:
        predictions: of the validation split, calibrated.
        precision: above 0 and below 1.
        calibrated_on: the same predictions, calibrated on some of the tracks, (n,) bool; None if no calibration was fitted.

    Raises:
        ValueError: for another precision.
    """
    if not 0 < precision < 1:
        raise ValueError(f"precision={precision}: must be above 0 and below 1")
    confidence, correct = confidence_and_correct(predictions)
    groups = predictions.groups()
    clusters, n = Clusters.of(groups), len(predictions)
    labelled, right = np.zeros((2, n), bool)  # held-out tracks, with the fit and the threshold of the other folds
    if clusters.count > 1:
        fold = fold_of_tracks(clusters)
        for held_out in np.unique(fold):
            rest = fold != held_out
            fitted, is_correct = confidence_and_correct(predictions if calibrated_on is None else calibrated_on(rest))
            value = lowest_threshold(fitted[rest], is_correct[rest], clusters.codes[rest], precision)
            labelled[~rest] = False if value is None else fitted[~rest] >= value
            right[~rest] = is_correct[~rest]
    value = lowest_threshold(confidence, correct, clusters.codes, precision)
    right, interval = right[labelled], None
    if labelled.sum() > 1:
        labelled_groups = [group for group, keep in zip(groups, labelled, strict=True) if keep]
        low, high = bootstrap_interval(np.zeros(len(right), int), (~right).astype(int), labelled_groups, 2)["accuracy"]
        interval = (low, high)
    return Threshold(
        precision=precision,
        value=value,
        reason="" if value is not None else why_unreachable(n, clusters.count, precision),
        coverage=float(labelled.mean()),
        accuracy=float(right.mean()) if labelled.any() else None,
        interval=interval,
        labelled=int(labelled.sum()),
        n=n,
        over=str(clusters),
    )


def confidence_and_correct(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """The confidence of each track, and whether its most probable class is true, (n,) each."""
    probability = predictions.probabilities()
    return probability.max(axis=1), probability.argmax(axis=1) == predictions.y_true()


def lowest_threshold(
    confidence: np.ndarray, correct: np.ndarray, cluster: np.ndarray, precision: float
) -> float | None:
    """The lowest confidence above which precision is at least the promised one, with probability `ASSURANCE`.

    Fixed-sequence testing (Angelopoulos et al., Learn then test, 2021), with Clopper-Pearson bounds that groups widen. It starts
    with the candidate for which the confidences predict the highest bound, which the labels influence only through the temperature,
    and continues with lower thresholds until one fails. Choosing the lowest threshold with a sufficient accuracy on these tracks, without bounds, would
    break the promise in half of the cases.

    Args:
        confidence, correct: of each track, (n,).
        cluster: of each track, (n,) int64.
        precision: the promised one.

    Returns:
        None if no candidate passes.
    """
    order = np.argsort(-confidence, kind="stable")
    confidence, correct, cluster = confidence[order], correct[order], cluster[order]
    lowest = None
    for size in candidate_sizes(confidence, precision):
        if precision_bound(np.ones(size, bool), cluster[:size]) < precision:
            continue  # too few groups, whatever the labels
        if precision_bound(correct[:size], cluster[:size]) < precision:
            break
        lowest = float(confidence[size - 1])
    return lowest


def candidate_sizes(confidence: np.ndarray, precision: float) -> Iterator[int]:
    """Numbers of labelled tracks to test, ascending; those of equal confidence are labelled together.

    Args:
        confidence: descending, (n,).
        precision: the promised one.
    """
    from scipy.stats import beta

    smallest = min_tracks(precision)
    if smallest > len(confidence):
        return
    spaced = np.geomspace(smallest, len(confidence), CANDIDATES).round().astype(int)
    sizes = np.unique(np.searchsorted(-confidence, -confidence[spaced - 1], side="right"))
    errors = (1 - confidence).cumsum()[sizes - 1]
    predicted = beta.ppf(1 - ASSURANCE, sizes - errors, errors + 1)
    yield from sizes[np.argmax(predicted) :].tolist()


def min_tracks(precision: float) -> int:
    """The number of tracks, or of groups, that must all be correct to show a precision."""
    return int(np.ceil(np.log(1 - ASSURANCE) / np.log(precision)))


def precision_bound(correct: np.ndarray, cluster: np.ndarray) -> float:
    """The lower Clopper-Pearson bound of a share with probability `ASSURANCE`, for the effective number of independent tracks.

    Without an error, that is Kish's effective number of clusters; an error never raises the bound above this one. With errors, it
    is the number of tracks divided by the design effect, reduced by (z / t)^2 as in Korn and Graubard (1998).

    Args:
        correct, cluster: of each track, (k,).
    """
    count, wrong = len(correct), int((~correct).sum())
    _, codes = np.unique(cluster, return_inverse=True)
    clusters = Clusters(codes, int(codes.max()) + 1, True)
    if wrong == count or (clusters.count == 1 and count > 1):
        return 0.0
    kish = clusters.effective_count
    without_error = binomial_bound(kish, 0.0)
    if not wrong:
        return without_error
    trials = float(count)
    if clusters.count < count:
        design_effect = 1 + intraclass_correlation(correct, codes) * (count / kish - 1)
        trials = max(kish, count / design_effect * t_reduction(clusters.df))
    return min(without_error, binomial_bound(trials, wrong / count))


def binomial_bound(trials: float, errors: float) -> float:
    """The lower bound of a share with probability `ASSURANCE`, from the share of errors in independent trials."""
    from scipy.stats import beta

    return float(beta.ppf(1 - ASSURANCE, trials * (1 - errors), trials * errors + 1))


def intraclass_correlation(correct: np.ndarray, codes: np.ndarray) -> float:
    """How strongly errors are correlated within clusters, from 0 to 1 (Fleiss and Cuzick, 1979).

    Unlike the variance over clusters, it does not depend on whether the few largest clusters happen to have errors.

    Args:
        correct: (n,), not all equal.
        codes: the cluster of each track, (n,), fewer clusters than tracks.
    """
    sizes, wrong = np.bincount(codes), np.bincount(codes, ~correct)
    error_rate = float(wrong.sum() / len(correct))
    within = float((wrong * (sizes - wrong) / sizes).sum()) / (
        (len(correct) - len(sizes)) * error_rate * (1 - error_rate)
    )
    return min(1.0, max(0.0, 1 - within))


def t_reduction(df: float) -> float:
    """(z / t)^2 of the normal quantile and that of Student's t at `ASSURANCE`: a design effect is estimated from few clusters."""
    from scipy.special import ndtri, stdtrit

    return float(ndtri(ASSURANCE) / stdtrit(df, ASSURANCE)) ** 2


def why_unreachable(n: int, clusters: int, precision: float) -> str:
    """Why no threshold promises a precision."""
    least = min_tracks(precision)
    if clusters < least:
        unit = "tracks" if clusters == n else "groups"
        return f"a precision of {precision:.0%} cannot be shown with {clusters} {unit}; at least {least} are needed"
    return f"not even the most confident of the {counted(n, 'track')} show a precision of {precision:.0%}"
