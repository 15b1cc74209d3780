"""Tables: rows on the same tracks, scored, ranked by validation, tested pair by pair."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

from musicreclass.compare.differences import describe
from musicreclass.compare.entries import Entry
from musicreclass.compare.rows import Row, rows_of
from musicreclass.evaluation.intervals import METRICS, Sample
from musicreclass.evaluation.paired import Pair, paired_tests
from musicreclass.runs.signature import hashed

SPLITS = ("valid", "test")
TESTED = 10  # so many rows, the best, are tested pair by pair


@dataclass
class Table:
    """Rows whose scores compare.

    Attributes:
        ranked: by macro-F1 on validation, the best first.
        unranked: leaky protocols, random encoders, rows without a validation score: never ranked beside the others.
        sizes: for each split, how many tracks and groups: `n = 36 in 12 groups`.
        pairs: for each split, the tests of every two of the best ranked rows; `first` and `second` count in `ranked`.
        looks: how many configurations, seeds and folds aside, have been scored on the test set.
        mixed: the splits on which some rows were scored on other tracks.
    """

    ranked: list[Row]
    unranked: list[Row]
    sizes: dict[str, str]
    pairs: dict[str, list[Pair]]
    looks: int
    mixed: list[str]

    @property
    def rows(self) -> list[Row]:
        """All rows, the ranked ones first."""
        return [*self.ranked, *self.unranked]

    @property
    def data(self) -> str:
        """The names of the data its rows were trained on."""
        return " / ".join(dict.fromkeys(run.data for row in self.rows for run in row.runs))

    @property
    def split(self) -> str:
        """The protocols of its rows, with the fold if all are of one."""
        runs = [run for row in self.rows for run in row.runs]
        names, folds = dict.fromkeys(run.split for run in runs), {run.fold for run in runs}
        single = len(folds) == 1 and folds != {None} and all("fold" in name for name in names)
        return " / ".join(names) + (f", fold {folds.pop()}" if single else "")

    @property
    def stale(self) -> int:
        """How many of its runs other code has made."""
        return sum(row.stale for row in self.rows)


def tables_of(runs: list[Entry], each: bool = False) -> list[Table]:
    """Every table that finished runs make.

    Args:
        runs: finished ones.
        each: a row for every run, seeds and folds apart.
    """
    found: dict[str, list[Row]] = {}
    for row in sorted(rows_of(runs, each), key=lambda row: "valid" not in row.scored):
        place = row.tracks
        if "valid" not in row.scored:  # it joins rows that were tested on the same tracks
            joined = (key for key, rows in found.items() for other in rows if row.tracks == tested_on(other))
            place = next(joined, place)
        found.setdefault(place, []).append(row)
    return sorted((table_of(rows) for rows in found.values()), key=lambda table: (table.data, table.split))


def tested_on(row: Row) -> str | None:
    """The test tracks a row was scored on."""
    return row.scored["test"][0].tracks if "test" in row.scored else None


def table_of(rows: list[Row]) -> Table:
    """Score, rank and test rows on the same tracks."""
    describe(rows)
    samples, mixed = [], []
    sizes: dict[str, str] = {}
    for split in SPLITS:
        alike: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            if split in row.scored:
                alike[row.scored[split][0].tracks].append(row)
        for same in alike.values():
            sample = sample_of(same, split)
            samples.append((split, same, sample))
            sizes.setdefault(split, size(sample))
            for i, row in enumerate(same):
                row.scores |= {(split, metric): sample.estimate(metric, i) for metric in METRICS}
        mixed += [split] if len(alike) > 1 else []
    ranked = sorted(
        (row for row in rows if not row.marks), key=lambda row: (-row.scores["valid", "macro_f1"].mean, row.label)
    )
    unranked = sorted((row for row in rows if row.marks), key=lambda row: row.label)
    pairs: dict[str, list[Pair]] = defaultdict(list)
    place = {id(row): i for i, row in enumerate(ranked[:TESTED])}
    for split, same, sample in samples:
        among = sorted((i for i, row in enumerate(same) if id(row) in place), key=lambda i: place[id(same[i])])
        for pair in paired_tests(sample, among):
            pairs[split].append(replace(pair, first=place[id(same[pair.first])], second=place[id(same[pair.second])]))
    tested = {hashed(run.settings) for row in rows for run in row.runs if "test" in run.scored}
    return Table(ranked, unranked, sizes, {s: found for s, found in pairs.items() if found}, len(tested), mixed)


def sample_of(rows: list[Row], split: str) -> Sample:
    """The predictions of rows on the same tracks; the groups are those of whichever row knows most of them."""
    first = rows[0].scored[split][0]
    guesses = [[found.y_pred for found in row.scored[split]] for row in rows]
    groups = max((row.scored[split][0].groups for row in rows), key=lambda groups: sum(g is not None for g in groups))
    return Sample(first.y_true, guesses, groups, len(first.classes))


def size(sample: Sample) -> str:
    """How many tracks and groups."""
    return f"n = {len(sample.y_true)}" + (f" in {sample.clusters}" if sample.clusters.has_groups else "")
