"""The columns of a feature table: missing and constant ones, correlated pairs, columns that tell the class, and a projection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA

from musicreclass.data.column_checks import Suspicion, accuracies_alone, suspicious_columns, two_folds
from musicreclass.data.table import TableData
from musicreclass.data.table_source import TableSource
from musicreclass.data.targets import main_labels
from musicreclass.evaluation.tag_sets import target_text

MAX_ROWS = 4000  # training rows of correlations and of the projection's fit
MAX_VALUES = 2_000_000  # rows times columns of the classifiers of one column
MAX_COLUMNS = 4000  # columns that are correlated with each other
MAX_POINTS = 5000  # of the projection that is drawn
MIN_ROWS = 10
STRONG = 0.98  # |r| of a pair to list
LISTED = 50  # columns or pairs of a list; the counts are of all


@dataclass(frozen=True)
class Projection:
    """Rows of train and valid in the plane of the first two principal components of the training rows.

    Attributes:
        points: (n, 2) float.
        target: the class of each, or its most frequent tag.
        explained: the fraction of the variance of each axis.
    """

    points: np.ndarray
    target: np.ndarray
    explained: tuple[float, float]


def describe_columns(data: TableData, seed: int) -> tuple[dict[str, Any], Projection | None]:
    """Describe the features of training and validation tracks.

    Args:
        data: opened.
        seed: draws the rows, where not all are used.

    Returns:
        the description, and the projection; None if there are too few training rows or columns.
    """
    split = data.tracks.split.to_numpy(object)[data.row_track]
    train, read = np.flatnonzero(split == "train"), np.flatnonzero(split != "test")
    names = [str(column) for column in data.columns]
    x = data.x[read]
    missing = np.isnan(x).sum(0)
    with np.errstate(invalid="ignore"):
        low, high = np.fmin.reduce(x, initial=np.inf), np.fmax.reduce(x, initial=-np.inf)
    constant = ~(high > low) & (len(read) > 0)
    rng = np.random.default_rng(seed)
    fitted = np.sort(rng.permutation(train)[:MAX_ROWS])
    usable = np.flatnonzero(~constant)
    pairs, compared = correlated_pairs(data.x[fitted], usable, rng)
    description = {
        "rows": len(read),
        "columns": len(names),
        "missing": [
            {"column": names[j], "rows": int(missing[j]), "fraction": float(missing[j] / max(1, len(read)))}
            for j in np.argsort(-missing, kind="stable")[:LISTED]
            if missing[j]
        ],
        "columns_with_missing": int((missing > 0).sum()),
        "constant": [names[j] for j in np.flatnonzero(constant)],
        "correlated_pairs": len(pairs),
        "correlated": [{"columns": [names[i], names[j]], "r": r} for i, j, r in pairs[:LISTED]],
        "redundant": sorted({names[j] for _, j, _ in pairs}, key=names.index),
        "columns_correlated": compared,
        "alone": best_alone(data, names, usable),
        "suspicious": [
            {"column": names[s.column], "kind": s.mark, "certain": s.certain, "reason": s.reason}
            for s in find_suspicious(data, names)
        ],
    }
    return description, project(data, fitted, read, usable, rng)


def find_suspicious(data: TableData, names: list[str]) -> list[Suspicion]:
    """Columns that are probably no features; the columns of an encoder are features."""
    if not isinstance(data, TableSource):
        return []
    arrays = (data.tracks[name].map(target_text).to_numpy(object) for name in ("target", "split", "group"))
    return suspicious_columns(data.x, names, data.row_track, *arrays)


def standardised(x: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Features with missing values replaced by medians, scaled to mean 0 and standard deviation 1.

    Args:
        x: (n, F), NaN where missing.
        reference: (m, F), the rows of which the medians, means and deviations are.

    Returns:
        (n, F) float64; 0 for a column that is constant or missing in the reference.
    """
    observed = np.isfinite(reference).any(0)
    median = np.zeros(reference.shape[1])
    median[observed] = np.nanmedian(reference[:, observed], axis=0)
    filled = np.where(np.isfinite(reference), reference, median).astype(float)
    mean, deviation = filled.mean(0), filled.std(0)
    scale = np.where(deviation > 1e-12 * np.maximum(1.0, np.abs(mean)), deviation, np.inf)
    return (np.where(np.isfinite(x), x, median) - mean) / scale


def correlated_pairs(
    x: np.ndarray, columns: np.ndarray, rng: np.random.Generator
) -> tuple[list[tuple[int, int, float]], int]:
    """Pairs of columns with |r| > `STRONG`, the strongest first, and the number of columns that were compared.

    Args:
        x: training rows (n, F), NaN where missing.
        columns: indices of those that vary.
        rng: draws columns, if there are more than `MAX_COLUMNS`.
    """
    if len(x) < MIN_ROWS or len(columns) < 2:
        return [], 0
    if len(columns) > MAX_COLUMNS:
        columns = np.sort(rng.choice(columns, MAX_COLUMNS, replace=False))
    z = standardised(x[:, columns], x[:, columns])
    r = np.triu(z.T @ z / len(z), 1)
    first, second = np.nonzero(np.abs(r) > STRONG)
    order = np.argsort(-np.abs(r[first, second]), kind="stable")
    pairs = [(int(columns[first[k]]), int(columns[second[k]]), float(r[first[k], second[k]])) for k in order]
    return pairs, len(columns)


def best_alone(data: TableData, names: list[str], columns: np.ndarray) -> list[dict[str, Any]]:
    """The columns that best tell the class of training tracks by themselves: balanced accuracy, cross-validated over two folds.

    None is listed if tracks have sets of tags.

    Args:
        data: opened.
        names: of the columns.
        columns: indices of those to try.
    """
    if data.is_multi:
        return []
    tracks = data.tracks
    first = np.flatnonzero(~pd.Series(data.row_track).duplicated().to_numpy())
    rows = first[(tracks.split == "train").to_numpy()[data.row_track[first]]]
    target = tracks.target.to_numpy(object)[data.row_track[rows]]
    if len(rows) < MIN_ROWS or len(set(target)) < 2 or not len(columns):
        return []
    limit = int(np.clip(MAX_VALUES // len(columns), 500, MAX_ROWS))
    fold, chosen = two_folds(tracks.group.to_numpy(object)[data.row_track[rows]], len(rows), limit)
    codes = pd.factorize(target)[0]
    accuracies = accuracies_alone(data.x[np.ix_(rows[chosen], columns)], codes[chosen], fold[chosen])
    accuracy = dict(zip(columns.tolist(), accuracies.tolist(), strict=True))
    best = sorted(accuracy, key=lambda j: -accuracy[j])[:10]
    return [{"column": names[j], "balanced_accuracy": accuracy[j]} for j in best]


def project(
    data: TableData, fitted: np.ndarray, read: np.ndarray, columns: np.ndarray, rng: np.random.Generator
) -> Projection | None:
    """The plane of the first two principal components.

    Args:
        data: opened.
        fitted: training rows to which scaling and components are fitted.
        read: rows to project; at most `MAX_POINTS` of them are drawn.
        columns: indices of those that vary.
        rng: draws the rows.
    """
    if len(fitted) < MIN_ROWS or len(columns) < 2:
        return None
    reference = data.x[np.ix_(fitted, columns)]
    pca = PCA(2, svd_solver="randomized" if len(columns) > 50 else "full", random_state=0)
    pca.fit(standardised(reference, reference))
    shown = np.sort(rng.permutation(read)[:MAX_POINTS])
    points = pca.transform(standardised(data.x[np.ix_(shown, columns)], reference))
    target = main_labels(data.tracks.target).to_numpy(object)[data.row_track[shown]]
    first, second = (float(fraction) for fraction in pca.explained_variance_ratio_)
    return Projection(points, target, (first, second))
