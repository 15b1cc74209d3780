"""Comparison tables: rows scored on the same tracks, ranked by validation, tested pair by pair."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace

from musicreclass.comparison.differences import differing_data, label_rows
from musicreclass.comparison.entries import Entry
from musicreclass.comparison.rows import UNKNOWN_LEAKS, Row, build_rows
from musicreclass.evaluation.intervals import Sample, TagSample
from musicreclass.evaluation.paired import Pair, adjusted_by_metric, paired_tests
from musicreclass.runs.score_log import ScoreLog, SetUse, TrackSet

SCORED_SPLITS = ("valid", "test")
EQUAL_DIGITS = 9  # decimals in which equal scores agree, whatever the order of summation
MAX_TESTED_ROWS = 10  # paired tests cover only the best rows


@dataclass
class Table:
    """Rows with comparable scores.

    Attributes:
        ranked: by macro-F1, or PR-AUC, on validation, best first.
        unranked: rows with a leaky protocol, a random encoder, or no validation score; and those whose leaks are unknown, if
            another row is free of leaks.
        sizes: for each split, the number of tracks and groups: `n = 36 in 12 groups`.
        pairs: for each split, the tests of every pair of the best ranked rows; `first` and `second` are indices into `ranked`.
        test_sets: how much each test set of the rows was used.
        is_ordered_by_score: False if rows are not ranked, since they were validated on tracks that they are tested on.
        split_mismatches: splits on which some rows were scored on other tracks than others.
        distinction: short name -> value of the data settings in which the table differs from others of the same heading.
    """

    ranked: list[Row]
    unranked: list[Row]
    sizes: dict[str, str]
    pairs: dict[str, list[Pair]]
    test_sets: list[SetUse]
    split_mismatches: list[str]
    is_ordered_by_score: bool = True
    distinction: dict[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> list[Row]:
        """All rows, the ranked ones first."""
        return [*self.ranked, *self.unranked]

    def numbered_rows(self, unranked: str = "-") -> list[tuple[str, Row]]:
        """All rows with their ranks, and a text in place of the rank for rows that are not ranked."""
        ranked = [(str(rank), row) for rank, row in enumerate(self.ranked, start=1)]
        return [*ranked, *((unranked, row) for row in self.unranked)]

    @property
    def metrics(self) -> tuple[str, str]:
        """The main metrics of the rows."""
        return self.rows[0].metrics

    @property
    def data(self) -> str:
        """The names of the datasets."""
        return " / ".join(dict.fromkeys(run.data for row in self.rows for run in row.runs))

    @property
    def split(self) -> str:
        """The names of the split protocols, with the fold if all runs share one, and with what distinguishes the table."""
        runs = [run for row in self.rows for run in row.runs]
        names, folds = dict.fromkeys(run.split for run in runs), {run.fold for run in runs}
        single = len(folds) == 1 and folds != {None} and all("fold" in name for name in names)
        distinction = "".join(f", {name}={value}" for name, value in self.distinction.items())
        return " / ".join(names) + (f", fold {folds.pop()}" if single else "") + distinction

    @property
    def stale(self) -> int:
        """The number of stale runs."""
        return sum(row.stale for row in self.rows)


def build_tables(runs: list[Entry], each: bool = False, log: ScoreLog | None = None) -> list[Table]:
    """Build a table for each set of validation tracks.

    Args:
        runs: finished runs.
        each: make a row of every run instead of joining seeds and folds.
        log: of scores; those of the runs are added.
    """
    log = log or ScoreLog()
    for run in runs:
        run.add_to(log)
    rows_by_tracks: dict[str, list[Row]] = {}
    for row in sorted(build_rows(runs, each), key=lambda row: "valid" not in row.predictions):
        key = row.tracks_hash
        if "valid" not in row.predictions:  # joins the first table with a row scored on the same test tracks
            matching = (
                tracks
                for tracks, rows in rows_by_tracks.items()
                for other in rows
                if row.tracks_hash == tracks_hash_on_test(other)
            )
            key = next(matching, key)
        rows_by_tracks.setdefault(key, []).append(row)
    tables = [build_table(rows, log) for rows in rows_by_tracks.values()]
    distinguish(tables)
    return sorted(tables, key=lambda table: (table.data, table.split))


def distinguish(tables: list[Table]) -> None:
    """Set the distinction of tables that would have the same heading."""
    by_heading: dict[tuple[str, str], list[Table]] = defaultdict(list)
    for table in tables:
        by_heading[table.data, table.split].append(table)
    for same in by_heading.values():
        if len(same) > 1:
            for table, distinction in zip(same, differing_data([table.rows for table in same]), strict=True):
                table.distinction = distinction


def tracks_hash_on_test(row: Row) -> str | None:
    """The hash of the test tracks of a row, None if it was not scored on test."""
    return row.predictions["test"][0].tracks_hash if "test" in row.predictions else None


def build_table(rows: list[Row], log: ScoreLog) -> Table:
    """Score, rank and test rows on the same tracks."""
    label_rows(rows)
    samples, mismatches = [], []
    sizes: dict[str, str] = {}
    for split in SCORED_SPLITS:
        by_tracks: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            if split in row.predictions:
                by_tracks[row.predictions[split][0].tracks_hash].append(row)
        for same_tracks in by_tracks.values():
            sample = build_sample(same_tracks, split)
            samples.append((split, same_tracks, sample))
            sizes.setdefault(split, size_text(sample))
            for i, row in enumerate(same_tracks):
                row.scores |= {(split, metric): sample.estimate(metric, i) for metric in sample.metrics}
        mismatches += [split] if len(by_tracks) > 1 else []
    by_score = not any(tested_on_validation(row) for row in rows)
    if any(row.leaky == "no" for row in rows if not row.exclusions):
        for row in rows:
            row.apart = row.leaky == "unknown"
    ranked = in_order([row for row in rows if not row.exclusions], by_score)
    apart = in_order([row for row in rows if row.exclusions == [UNKNOWN_LEAKS]], by_score)
    others = [row for row in rows if row.exclusions and row.exclusions != [UNKNOWN_LEAKS]]
    unranked = [*apart, *sorted(others, key=lambda row: row.label)]
    pairs = compare_pairs(ranked, samples)
    return Table(ranked, unranked, sizes, pairs, used_test_sets(rows, log), mismatches, by_score)


def tested_on_validation(row: Row) -> bool:
    """Whether a row was tested on tracks that it was validated on, as are folds: each is validated in one and tested in another."""
    ids = [set(row.predictions[split][0].ids) if split in row.predictions else set() for split in SCORED_SPLITS]
    return not ids[0].isdisjoint(ids[1])


def used_test_sets(rows: list[Row], log: ScoreLog) -> list[SetUse]:
    """How much each set of tracks that rows were tested on was used."""
    sets: dict[str, TrackSet] = {}
    for row in rows:
        if "test" in row.predictions:
            runs = {run.fold: run for run in reversed(row.runs) if "test" in run.predictions}
            tracks = TrackSet.union(run.scored_tracks("test", log) for run in runs.values())
            sets.setdefault(row.predictions["test"][0].tracks_hash, tracks)
    return [log.use_of(tracks) for tracks in sets.values()]


def in_order(rows: list[Row], by_score: bool) -> list[Row]:
    """Rows by the second main metric on validation, best first, or by name; of equal scores, single models before ensembles."""

    def order(row: Row) -> tuple[float, int, str]:
        score = round(row.scores["valid", row.metrics[1]].mean, EQUAL_DIGITS) if by_score else 0.0
        return -score, len(row.runs[0].members), row.label

    return sorted(rows, key=order)


def compare_pairs(ranked: list[Row], samples: list[tuple[str, list[Row], Sample]]) -> dict[str, list[Pair]]:
    """Test every pair of the best ranked rows that were scored on the same tracks.

    Args:
        ranked: rows, best first.
        samples: (split, rows, their predictions).

    Returns:
        for each split with any pairs: tests, with indices into `ranked`, and p adjusted over all pairs of the split and metric,
        also over those on different tracks.
    """
    pairs: dict[str, list[Pair]] = defaultdict(list)
    ranks = {id(row): i for i, row in enumerate(ranked[:MAX_TESTED_ROWS])}
    for split, rows, sample in samples:
        among = sorted((i for i, row in enumerate(rows) if id(row) in ranks), key=lambda i: ranks[id(rows[i])])
        for pair in paired_tests(sample, among):
            pairs[split].append(replace(pair, first=ranks[id(rows[pair.first])], second=ranks[id(rows[pair.second])]))
    return {split: adjusted_by_metric(of_split) for split, of_split in pairs.items()}


def build_sample(rows: list[Row], split: str) -> Sample:
    """The predictions of rows on the same tracks, with the groups of the row that has most of them; equal seeds once."""
    first = rows[0].predictions[split][0]
    seeds = [row.predictions[split][: 1 if row.has_equal_seeds else None] for row in rows]
    y_pred = [[predicted.y_pred for predicted in of_row] for of_row in seeds]
    groups = max(
        (row.predictions[split][0].groups for row in rows), key=lambda groups: sum(g is not None for g in groups)
    )
    kind = TagSample if first.is_multi else Sample
    return kind(first.y_true, y_pred, groups, len(first.classes))


def size_text(sample: Sample) -> str:
    """The number of tracks, and of groups where they are known."""
    return f"n = {len(sample.y_true)}" + (f" in {sample.clusters}" if sample.clusters.has_groups else "")
