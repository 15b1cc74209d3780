"""Finds columns of a feature table that are no features: row numbers, ids, split codes, and columns that tell the class.

Two kinds of evidence: certain columns, which no measurement produces, and doubtful ones, which a very good feature could be.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import gammaln

INDEX_COLUMN = re.compile(
    r"\s*|Unnamed: \d+([._]\w+)*|__index_level_\d+__"
)  # names of an index that pandas has written
ID_NAME = re.compile(r"(.*[_ .-])?(id|ids|uid|gid)|idx|index|.*[a-z](Id|ID)|track_?num(ber)?|row_?num(ber)?", re.ASCII)
SPLIT_NAME = re.compile(r"((data_?)?(split|fold|subset|partition)|is_(train|valid|val|test)\w*)(_?(id|code|no))?", re.I)
SAMPLE = 64  # rows of the cheap tests
MIN_ROWS = 12  # in a shorter table, anything may be a coincidence
MAX_INTEGER = 2**24  # above, float32 does not tell integers from other numbers
SURE = 12.0  # -log of the probability, per table, of a column that is certain only by coincidence
FEW_VALUES = 24  # codes of splits; a code of the musical key has as many
MAX_FIT_ROWS = 4000  # training tracks to which the classifiers of one column are fitted
MAX_BINS = 128
BLOCK = 1000  # columns that are tested at a time, to save memory
ACCURATE, EXACT = 0.9, 0.99  # balanced accuracy of a column alone, cross-validated: doubtful, certain
FEWER_ERRORS = 0.2, 0.05  # its errors relative to those of the best other column: doubtful, certain

ROW_NUMBERS, IDS, SPLIT_CODES, CLASS_CODES = "row numbers", "ids as features", "split codes", "class codes"


@dataclass(frozen=True)
class Suspicion:
    """A column that is probably no feature.

    Attributes:
        column: its index.
        mark: `ROW_NUMBERS`, `IDS`, `SPLIT_CODES` or `CLASS_CODES`.
        certain: whether no measurement looks like it.
        reason: short; follows the column's name.
    """

    column: int
    mark: str
    certain: bool
    reason: str


def suspicious_columns(
    x: np.ndarray, columns: list[str], track: np.ndarray, target: np.ndarray, split: np.ndarray, group: np.ndarray
) -> list[Suspicion]:
    """Columns that are probably no features; classes are read of training tracks only.

    Args:
        x: features in the order of the file, float32 (rows, features), NaN if missing.
        columns: their names.
        track: the track of each row, int (rows,).
        target: the class of each track.
        split: the split of each track.
        group: the artist of each track; None if unknown.
    """
    if len(x) < MIN_ROWS or not len(columns):
        return []
    first = np.flatnonzero(~pd.Series(track).duplicated().to_numpy())
    suspicions = {s.column: s for s in _split_columns(x[first], columns, split[track[first]])}
    suspicions |= {s.column: s for s in _numbering_columns(x, columns) if s.column not in suspicions}
    if len(first) < len(x):
        suspicions |= {s.column: s for s in _numbering_columns(x[first], columns) if s.column not in suspicions}
    trained = split[track[first]] == "train"
    rows, tracks = first[trained], track[first[trained]]
    codes, classes = pd.factorize(target[tracks])
    if len(rows) >= MIN_ROWS and len(classes) > 1:
        others = np.array([j for j in range(len(columns)) if j not in suspicions], int)
        coded = [s for s in _class_functions(x, rows, codes, others) if s.column not in suspicions]
        suspicions |= {s.column: s for s in coded}
        others = np.array([j for j in others if j not in suspicions], int)
        suspicions |= {s.column: s for s in _telling_columns(x, rows, codes, group[tracks], others)}
    return [suspicions[j] for j in sorted(suspicions)]


def _numbering_columns(x: np.ndarray, columns: list[str]) -> Iterator[Suspicion]:
    """Columns of numbers that differ in every row, although measurements would repeat some, or rise with the row."""
    n = len(x)
    if n < MIN_ROWS:
        return
    sample = x[np.unique(np.linspace(0, n - 1, SAMPLE).astype(int))].astype(float)
    integer = np.nan_to_num(np.abs(sample)).max(0) < MAX_INTEGER
    integer &= ((sample == np.rint(sample)) | np.isnan(sample)).all(0)
    distinct = (np.diff(np.sort(sample, axis=0), axis=0) != 0).all(0)
    with np.errstate(all="ignore"):
        low, high = np.fmin.reduce(x), np.fmax.reduce(x)
        position = (sample - low) / (high.astype(float) - low) * (n - 1)
        even = (np.abs(position - np.rint(position)) < 0.1).all(0)
    start = np.diff(x[:SAMPLE].astype(float), axis=0)
    counts = (np.abs(start - np.median(start, axis=0)) < 1e-6).mean(0) > 0.8
    named = np.array([ID_NAME.fullmatch(name) is not None for name in columns])
    candidates = (integer & distinct) | (distinct & even) | (counts & integer) | (named & integer)
    sure = SURE + np.log(len(columns))
    for j in np.flatnonzero(candidates).tolist():
        suspicion = _numbering(x[:, j].astype(float), j, bool(integer[j]), bool(named[j]), sure)
        if suspicion is not None:
            yield suspicion


def _numbering(column: np.ndarray, j: int, integer: bool, named: bool, sure: float) -> Suspicion | None:
    """What a candidate column numbers; None if it is a feature."""
    values = column[np.isfinite(column)]
    n = len(values)
    if n < max(MIN_ROWS, 0.9 * len(column)):
        return None
    steps, ordered = np.diff(values), np.unique(values)
    all_distinct = len(ordered) == n
    integer = integer and bool((values == np.rint(values)).all()) and np.abs(values).max() < MAX_INTEGER
    rising = bool((steps > 0).all() or (steps < 0).all())
    gaps = np.diff(ordered)
    even = all_distinct and float(np.ptp(gaps)) <= 0.1 * float(gaps.mean())
    counting = integer and np.median(steps) != 0 and float((steps == np.median(steps)).mean()) >= 0.9
    if even or counting or (integer and rising):
        return Suspicion(j, ROW_NUMBERS, True, "numbers the rows")
    if not integer:
        return None
    span = float(ordered[-1] - ordered[0] + 1)
    if all_distinct and n * n / (2 * span) > sure:  # the birthday problem: some of n measurements would be equal
        return Suspicion(j, IDS, True, "differs in every row, as an id does")
    if named and len(ordered) > FEW_VALUES:
        return Suspicion(j, IDS, len(ordered) >= 0.9 * n, "is named as an id, and contains integers")
    if len(ordered) >= 0.95 * n and abs(np.corrcoef(np.arange(n), pd.Series(values).rank())[0, 1]) > 0.95:
        return Suspicion(j, ROW_NUMBERS, False, "rises or falls with the row")
    return None


def _split_columns(x: np.ndarray, columns: list[str], split: np.ndarray) -> Iterator[Suspicion]:
    """Columns of a few integers that differ between training tracks and all others, or are named as a split."""
    train = split == "train"
    codes = _few_integers(x)
    enough = min(train.sum(), (~train).sum()) >= MIN_ROWS
    for j in np.flatnonzero(codes).tolist():
        values = x[:, j]
        if not 1 < len(np.unique(values)) <= FEW_VALUES:
            continue
        if SPLIT_NAME.fullmatch(columns[j]) is not None:
            yield Suspicion(j, SPLIT_CODES, True, "is named as a split")
        elif enough and not np.isin(values[train], values[~train]).any():
            yield Suspicion(j, SPLIT_CODES, True, "tells the split")


def _few_integers(x: np.ndarray) -> np.ndarray:
    """Which columns may contain a few integers only, judged by a sample, bool (features,)."""
    sample = np.sort(x[np.unique(np.linspace(0, len(x) - 1, SAMPLE).astype(int))], axis=0)
    return np.asarray((sample == np.rint(sample)).all(0) & ((np.diff(sample, axis=0) != 0).sum(0) < FEW_VALUES))


def _class_functions(x: np.ndarray, rows: np.ndarray, codes: np.ndarray, columns: np.ndarray) -> Iterator[Suspicion]:
    """Columns with one value for each class, and not the same for all, that is no coincidence."""
    order = np.argsort(codes, kind="stable")
    ends = np.flatnonzero(np.diff(codes[order], append=-1))
    starts = np.concatenate([[0], ends[:-1] + 1])
    two = np.stack([rows[order[starts]], rows[order[ends]]])  # two rows of each class: the cheap test
    constant = (x[two[0]][:, columns] == x[two[1]][:, columns]).all(0)
    sizes = np.bincount(codes)
    sure = SURE + np.log(max(1, x.shape[1])) + len(sizes) * np.log(2)
    for j in columns[constant].tolist():
        values = x[rows[order], j]
        low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
        if (low == high).all():
            _, value_of = np.unique(low, return_inverse=True)
            counts = np.bincount(value_of, weights=sizes)
            if gammaln(len(rows) + 1) - gammaln(counts + 1).sum() > sure:
                yield Suspicion(j, CLASS_CODES, True, "has one value for each class")


def _telling_columns(
    x: np.ndarray, rows: np.ndarray, codes: np.ndarray, group: np.ndarray, columns: np.ndarray
) -> list[Suspicion]:
    """Columns that alone tell the class, far better than all others do."""
    if len(columns) < 2:
        return []
    fold, chosen = two_folds(group, len(rows), MAX_FIT_ROWS if len(columns) <= 2000 else MAX_FIT_ROWS // 2)
    blocks = np.array_split(columns, -(-len(columns) // BLOCK))
    accuracy = np.concatenate(
        [accuracies_alone(x[np.ix_(rows[chosen], block)], codes[chosen], fold[chosen]) for block in blocks]
    )
    accurate = accuracy >= ACCURATE
    count = int(accurate.sum())
    if not 0 < count <= max(1, len(columns) // 10) or count == len(columns):
        return []  # of several such columns, none stands out: the classes are easy to tell apart
    rest = 1 - accuracy[~accurate].max()
    n_classes = codes.max() + 1
    return [
        Suspicion(
            int(j),
            CLASS_CODES,
            bool(n_classes > 2 and a >= EXACT and 1 - a <= FEWER_ERRORS[1] * rest),
            f"alone tells {100 * a:.0f} % of the training tracks' classes, the best other column {100 * (1 - rest):.0f} %",
        )
        for j, a in zip(columns, accuracy, strict=True)
        if a >= ACCURATE and 1 - a <= FEWER_ERRORS[0] * rest
    ]


def two_folds(group: np.ndarray, n: int, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """One of two folds of each track, which do not divide artists, and the tracks to use, in random order."""
    rng = np.random.default_rng(0)
    artist = pd.factorize(pd.Series(group, dtype=object))[0].astype(np.int64)
    artist = np.where(artist < 0, artist.max(initial=-1) + 1 + np.arange(n), artist)
    fold = rng.integers(0, 2, artist.max(initial=0) + 1)[artist]
    return fold, rng.permutation(n)[:limit]


def accuracies_alone(columns: np.ndarray, codes: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Balanced accuracy of each column alone, (columns,): that of the better of two classifiers, cross-validated over two folds:
    the class that is most frequent in the bin of a value, and the class with the nearest median. 0 if too few classes have tracks
    in both folds."""
    columns = np.where(np.isfinite(columns), columns, np.inf)
    numbers = [_bins(column) for column in columns.T]
    recalls = [_recalls(columns, numbers, codes, fold == k, fold != k) for k in (0, 1)]
    available = [r for r in recalls if r is not None]
    return np.mean(available, axis=0).max(axis=1) if available else np.zeros(columns.shape[1])


def _bins(values: np.ndarray) -> tuple[np.ndarray, int]:
    """The bin of each value of a column, (rows,), and the number of bins."""
    distinct = np.unique(values)
    limit = max(4, min(MAX_BINS, len(values) // 8))
    if len(distinct) > limit:
        distinct = np.unique(np.quantile(values[np.isfinite(values)], np.linspace(0, 1, limit), method="lower"))
    return np.searchsorted(distinct, values, side="right"), len(distinct) + 1


def _recalls(
    columns: np.ndarray, numbers: list[tuple[np.ndarray, int]], codes: np.ndarray, fit: np.ndarray, test: np.ndarray
) -> np.ndarray | None:
    """Mean recall of both classifiers of each column, (columns, 2); None if too few classes have tracks to fit and to test."""
    n_classes = int(codes.max()) + 1
    fitted, tested = codes[fit], codes[test]
    sizes, support = np.bincount(fitted, minlength=n_classes), np.bincount(tested, minlength=n_classes)
    scored = np.flatnonzero((sizes > 0) & (support > 0))
    if len(scored) < n_classes / 2:  # among few classes, a guess is right too often
        return None
    medians = pd.DataFrame(columns[fit]).groupby(fitted).median().reindex(range(n_classes)).to_numpy()
    recalls = np.empty((columns.shape[1], 2))
    for j, (bins, n_bins) in enumerate(numbers):
        counts = np.bincount(bins[fit] * n_classes + fitted, minlength=n_bins * n_classes)
        frequent = (counts.reshape(n_bins, n_classes) / np.maximum(sizes, 1)).argmax(1)[bins[test]]
        ranked = np.argsort(medians[:, j])[: int(np.isfinite(medians[:, j]).sum())]
        middles = (medians[ranked, j][1:] + medians[ranked, j][:-1]) / 2
        nearest = ranked[np.searchsorted(middles, columns[test, j])] if len(ranked) else frequent
        for i, predicted in enumerate((frequent, nearest)):
            hits = np.bincount(tested, weights=predicted == tested, minlength=n_classes)
            recalls[j, i] = (hits[scored] / support[scored]).mean()
    return recalls


def named(suspicions: Iterable[Suspicion], columns: list[str], limit: int = 6) -> str:
    """The columns with their reasons, for a message."""
    listed = [f"{columns[s.column]!r} {s.reason}" for s in suspicions]
    return "; ".join(listed[:limit]) + ("; ..." if len(listed) > limit else "")
