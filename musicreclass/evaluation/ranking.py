"""How well the probabilities of tags rank tracks: areas under the ROC and precision-recall curves, with weights of tracks."""

from __future__ import annotations

import numpy as np

from musicreclass.evaluation.metric_names import TAG_METRICS

VALUES_PER_BLOCK = 4_000_000  # limits memory


class Ranking:
    """The tracks in the order of a tag's probability.

    Args:
        y_true: whether each track has the tag, (n,).
        score: (n,); tracks of equal score are ranked together.
    """

    def __init__(self, y_true: np.ndarray, score: np.ndarray) -> None:
        self.order = np.argsort(-score, kind="stable")
        ranked = score[self.order]
        self.ends = np.flatnonzero(np.append(np.diff(ranked) != 0, True))
        self.is_positive = y_true[self.order].astype(bool)

    def areas(self, weight: np.ndarray) -> np.ndarray:
        """The area under the ROC curve and the average precision, (2, R).

        Both are those of `sklearn.metrics.roc_auc_score` and `average_precision_score`.

        Args:
            weight: of each track, (R, n).

        Returns:
            NaN for rows in which no track with the tag, or none without it, has weight.
        """
        ordered = weight[:, self.order]
        positives, negatives = (
            np.where(chosen, ordered, 0).cumsum(axis=1, dtype=np.float64)[:, self.ends]
            for chosen in (self.is_positive, ~self.is_positive)
        )
        new_positives, new_negatives = (np.diff(counts, axis=1, prepend=0) for counts in (positives, negatives))
        with np.errstate(invalid="ignore", divide="ignore"):
            recall = new_positives / positives[:, -1:]
            roc_auc = ((positives - new_positives / 2) * new_negatives).sum(axis=1)
            roc_auc /= positives[:, -1] * negatives[:, -1]
            precision = positives / np.maximum(positives + negatives, 1e-12)
            pr_auc = (recall * precision).sum(axis=1)
        areas = np.stack([roc_auc, pr_auc])
        areas = areas.round(12)  # sums of rounded terms may be slightly above or below 1
        areas[:, (positives[:, -1] == 0) | (negatives[:, -1] == 0)] = np.nan
        return areas


class Rankings:
    """The rankings of all tags that some tracks have and others lack.

    Args:
        y_true: indicators of tags, (n, C).
        score: (n, C).
    """

    def __init__(self, y_true: np.ndarray, score: np.ndarray) -> None:
        self.scored = scored_tags(y_true)
        self.n = len(y_true)
        self.rankings = [Ranking(y_true[:, tag], score[:, tag]) for tag in np.flatnonzero(self.scored)]

    def per_tag(self) -> dict[str, np.ndarray]:
        """Each area by tag, (C,); NaN for tags that are not scored."""
        full = np.full((2, len(self.scored)), np.nan)
        if self.rankings:
            full[:, self.scored] = np.stack([r.areas(np.ones((1, self.n)))[:, 0] for r in self.rankings], axis=1)
        return dict(zip(TAG_METRICS, full, strict=True))

    def macro(self, weight: np.ndarray, unit: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """The mean of each area over the tags, (R,), of those that tracks with weight both have and lack.

        Args:
            weight: of each unit, (R, units).
            unit: of each track, (n,); None if each track is a unit.
        """
        size = max(1, VALUES_PER_BLOCK // max(1, self.n))
        tracks = slice(None) if unit is None else unit
        blocks = [self._macro(weight[start : start + size][:, tracks]) for start in range(0, len(weight), size)]
        return dict(zip(TAG_METRICS, np.concatenate(blocks, axis=1), strict=True))

    def _macro(self, weight: np.ndarray) -> np.ndarray:
        total, count = np.zeros((2, len(weight))), np.zeros(len(weight))
        for ranking in self.rankings:
            areas = ranking.areas(weight)
            is_defined = ~np.isnan(areas[0])
            count += is_defined
            total += np.where(is_defined, areas, 0)
        return total / np.maximum(count, 1)


def scored_tags(y_true: np.ndarray) -> np.ndarray:
    """Which tags some tracks have and others lack, (C,) bool; no ranking of the others can be scored."""
    count = y_true.sum(axis=0, dtype=int)
    return np.asarray((count > 0) & (count < len(y_true)))


def best_thresholds(y_true: np.ndarray, score: np.ndarray) -> np.ndarray:
    """The threshold of each tag with the highest F1 of these tracks, (C,); 0.5 for tags that no track has.

    It lies halfway between the lowest probability of a track that gets the tag and the highest of one that does not.

    Args:
        y_true: indicators of tags, (n, C).
        score: probabilities, (n, C).
    """
    thresholds = np.full(y_true.shape[1], 0.5)
    for tag in np.flatnonzero(y_true.sum(axis=0)):
        ranking = Ranking(y_true[:, tag], score[:, tag])
        hits = ranking.is_positive.cumsum()[ranking.ends]
        f1 = 2 * hits / (ranking.ends + 1 + ranking.is_positive.sum())
        ranked = score[ranking.order, tag]
        end = ranking.ends[int(f1.argmax())]
        next_lower = ranked[end + 1] if end + 1 < len(ranked) else 0.0
        thresholds[tag] = (ranked[end] + next_lower) / 2 if ranked[end] > next_lower else ranked[end]
    return thresholds


def f1_scores(y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
    """F1 of each tag, (C,); 0 where it is undefined.

    Args:
        y_true, y_pred: indicators of tags, (n, C).
    """
    hits = (y_true.astype(bool) & y_pred.astype(bool)).sum(axis=0)
    return np.asarray(2 * hits / np.maximum(y_true.sum(axis=0, dtype=int) + y_pred.sum(axis=0, dtype=int), 1))
