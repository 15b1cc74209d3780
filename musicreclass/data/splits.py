"""Assigns tracks to the train, valid and test splits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from musicreclass.config.messages import suggestion
from musicreclass.config.settings.data import SPLITS
from musicreclass.data.groups import albums_of_unknown_artists, group_of
from musicreclass.errors import DataError
from musicreclass.evaluation.tag_sets import has_tag_sets
from musicreclass.plurals import counted

SPELLINGS = {"training": "train", "validation": "valid", "val": "valid", "dev": "valid", "testing": "test"}


@dataclass(frozen=True)
class Split:
    """A split protocol, as configured in conf/data/split/.

    Args:
        protocol: `auto`, `random`, `grouped`, `folds`, or the name that the dataset gives to its `split` column, such as `official`.
        valid: fraction of tracks for validation.
        test: fraction of tracks for testing; 0 for none.
        seed: of the split, independent of the run's seed.
        folds: number of folds of `folds` and `artist_folds`.
        fold: the test fold of `folds`; the next one is for validation.
    """

    protocol: str
    valid: float = 0.15
    test: float = 0.15
    seed: int = 0
    folds: int = 5
    fold: int = 0


def check_protocol(protocol: str, split_name: str) -> None:
    """Check that data has a protocol.

    Args:
        protocol: the requested one.
        split_name: the protocol name of the split that the dataset defines.

    Raises:
        DataError: if the data does not have it.
    """
    available = (split_name, "grouped", "folds", "random")
    if protocol not in ("auto", *available):
        raise DataError(
            f"data/split={protocol}: not a protocol of this data; available: {', '.join(available)}",
            kind="unknown_protocol",
            key="data/split",
            value=protocol,
            suggestion=suggestion(protocol, available),
        )


def assign_splits(tracks: pd.DataFrame, split: Split, split_name: str = "column") -> tuple[str, pd.Series[str]]:
    """The protocol that applies, and each track's split under it.

    Args:
        tracks: a Tracks table; its `split` column is the split that the dataset defines, if any.
        split: the requested protocol. `auto` uses the `split` column if there is one, else groups if any are known,
            else a random split.
        split_name: the protocol name of the `split` column.

    Raises:
        DataError: if the tracks lack what the protocol needs.
    """
    check_protocol(split.protocol, split_name)
    has_split, has_group = tracks.split.notna(), group_of(tracks).notna()
    protocol = split.protocol
    if protocol == "auto":
        protocol = split_name if has_split.any() else "grouped" if has_group.any() else "random"
    if protocol == split_name:
        return protocol, _from_column(tracks)
    if protocol == "folds":
        return protocol, _folds(tracks, split)
    if split.valid + split.test >= 1:
        raise DataError(
            f"data.split.valid={split.valid} and data.split.test={split.test} leave no tracks for training; their sum "
            "must be less than 1",
            kind="no_training_fraction",
            key="data.split",
        )
    if protocol == "grouped" and not has_group.any():
        raise DataError(
            "data/split=grouped: no groups are known; name their column with data.group_column=NAME",
            kind="no_groups",
            key="data/split",
        )
    fractions = (1 - split.valid - split.test, split.valid, split.test)
    unit = _units(tracks, protocol == "grouped")
    fixed = _units_without_group(tracks, unit) if protocol == "grouped" else frozenset()
    part = _draw_parts(tracks, unit, fractions, split.seed, fixed=fixed)
    return protocol, part.map(dict(enumerate(SPLITS)))


def _folds(tracks: pd.DataFrame, split: Split) -> pd.Series[str]:
    """Each track's split if one fold is for testing and the next for validation, stratified by class.

    Groups are not divided if any are known; tracks without one are then in training in every fold, as in a grouped split.

    Raises:
        DataError: if there is no such fold.
    """
    if not 0 <= split.fold < split.folds:
        line = f"data.split.fold={split.fold}: must be from 0 to {split.folds - 1} (data.split.folds={split.folds})"
        raise DataError(line, "invalid_fold", "data.split.fold", split.fold)
    grouped = bool(group_of(tracks).notna().any())
    unit = _units(tracks, grouped)
    always = np.isin(unit, list(_units_without_group(tracks, unit))) if grouped else np.zeros(len(tracks), bool)
    part = pd.Series(-1, index=tracks.index)
    drawn = tracks[~always]
    part[~always] = _draw_parts(drawn, unit[~always], (1 / split.folds,) * split.folds, split.seed, main_part=None)
    offset = (part - split.fold) % split.folds
    return offset.map({0: "test", 1: "valid"}).where(~always).fillna("train")


def artist_folds(tracks: pd.DataFrame, folds: int, seed: int) -> pd.Series[int]:
    """Each track's fold, 0 to `folds` - 1: stratified by class as far as undivided artists allow."""
    return _draw_parts(tracks, _units(tracks, grouped=True), (1 / folds,) * folds, seed, main_part=None)


def _from_column(tracks: pd.DataFrame) -> pd.Series[str]:
    missing = int(tracks.split.isna().sum())
    if missing == len(tracks):
        raise DataError(
            "data/split=column: the data has no split column; name it with data.split_column=NAME",
            kind="no_split_column",
            key="data/split",
        )
    if missing:
        raise DataError(
            f"the split column is empty for {missing} of {counted(len(tracks), 'track')}; every track needs a split",
            kind="incomplete_split_column",
            key="data.split_column",
        )
    splits = tracks.split.str.lower().replace(SPELLINGS)
    invalid = sorted(set(splits) - set(SPLITS))
    if invalid:
        raise DataError(
            f"the split column contains {', '.join(map(repr, invalid[:3]))}: only train, valid and test are allowed",
            kind="invalid_split",
            key="data.split_column",
        )
    return splits


def _units_without_group(tracks: pd.DataFrame, unit: np.ndarray) -> frozenset[int]:
    """The units in which no track has a group. In a grouped split they are training tracks, since the artist of a scored
    track must be known to be absent from training."""
    return frozenset(unit.tolist()) - frozenset(unit[group_of(tracks).notna().to_numpy()].tolist())


def _units(tracks: pd.DataFrame, grouped: bool) -> np.ndarray:
    """The number of the unit that each track belongs to; a unit is never divided between splits.

    Copies of a recording are one unit under every protocol, since no protocol tests on training data; so are near-copies, if the
    files were verified. With `grouped`, so are the tracks of a group, those of an album with tracks of unknown artist, and groups
    that share a recording.
    """
    keys = [tracks.checksum] + ([group_of(tracks), albums_of_unknown_artists(tracks)] if grouped else [])
    keys += [tracks.copy_group] if "copy_group" in tracks else []
    n = len(tracks)
    edges: list[tuple[np.ndarray, np.ndarray]] = []  # from each track to the first track of the same key
    for key in keys:
        codes, names = pd.factorize(key, use_na_sentinel=True)
        rows = np.flatnonzero(codes >= 0)
        first = np.full(len(names), -1)
        first[codes[rows][::-1]] = rows[::-1]
        edges.append((rows, first[codes[rows]]))
    a, b = (np.concatenate(ends) for ends in zip(*edges, strict=True))
    _, unit = connected_components(coo_matrix((np.ones(len(a)), (a, b)), shape=(n, n)), directed=False)
    return np.asarray(unit)


def _draw_parts(
    tracks: pd.DataFrame,
    unit: np.ndarray,
    fractions: tuple[float, ...],
    seed: int,
    main_part: int | None = 0,
    fixed: frozenset[int] = frozenset(),
) -> pd.Series[int]:
    """Assign each unit to the part that lacks most of its classes, until every part has its fraction of them.

    The order of the units depends on the seed and the track ids alone, so the row order of a file does not matter.

    Args:
        tracks: a Tracks table.
        unit: each track's unit.
        fractions: the fraction of every class for each part; a part with 0 stays empty.
        seed: of the order.
        main_part: receives the units too large for the other parts. It then gives its smallest unit of a class to each
            part without that class, if it has another one. None: no part is treated specially.
        fixed: units that belong to the first part.

    Returns:
        Each track's part.
    """
    classes = codes_of_tracks(tracks.target)
    rank = np.empty(len(tracks), np.int64)
    by_id = np.argsort(tracks.track_id.to_numpy(str), kind="stable")
    rank[by_id] = np.random.default_rng(seed).permutation(len(tracks))
    unit_counts: dict[int, dict[int, int]] = {}  # unit -> class -> tracks
    for i in np.argsort(rank):
        counts = unit_counts.setdefault(int(unit[i]), {})
        for code in classes[i]:
            counts[code] = counts.get(code, 0) + 1
    class_size = np.bincount([code for codes in classes for code in codes])
    targets = np.outer(fractions, class_size).tolist()  # parts x classes
    if has_tag_sets(tracks.target):  # rare tags first, while every part has room for them (Sechidis et al. 2011)
        rarest = {u: min(class_size[code] for code in counts) for u, counts in unit_counts.items()}
        unit_counts = dict(sorted(unit_counts.items(), key=lambda item: int(rarest[item[0]])))
    part_counts = np.zeros_like(targets).tolist()
    parts = [s for s in range(len(fractions)) if fractions[s] > 0]
    part_of: dict[int, int] = {}
    for u, counts in sorted(unit_counts.items(), key=lambda item: item[0] not in fixed):
        part_of[u] = 0 if u in fixed else _neediest_part(counts, targets, part_counts, parts, main_part)
        for c, n in counts.items():
            part_counts[part_of[u]][c] += n
    if main_part is not None:
        movable = {u: counts for u, counts in unit_counts.items() if u not in fixed}
        _fill_missing_classes(part_of, movable, part_counts, parts, main_part)
    return pd.Series([part_of[int(u)] for u in unit], index=tracks.index)


def codes_of_tracks(target: pd.Series[Any]) -> list[list[int]]:
    """The class numbers of each track; that of a track without tags is one more than the largest."""
    labels = target.reset_index(drop=True).explode()
    codes, names = pd.factorize(labels, sort=True)
    codes = np.where(codes < 0, len(names), codes)
    return (
        pd.Series(codes, labels.index).groupby(level=0).agg(list).tolist()
        if len(target) < len(labels)
        else [[int(code)] for code in codes]
    )


def _neediest_part(
    counts: dict[int, int],
    targets: list[list[float]],
    part_counts: list[list[float]],
    parts: list[int],
    main_part: int | None,
) -> int:
    """The part, of those with room for a unit, that lacks the largest fraction of the unit's classes."""
    best, largest_lack = parts[0], -np.inf
    for s in parts:
        lack = sum(n * (targets[s][c] - part_counts[s][c]) / targets[s][c] for c, n in counts.items())
        room = sum(targets[s][c] - part_counts[s][c] - n for c, n in counts.items()) + 0.5
        if lack > largest_lack and (main_part is None or s == main_part or room >= 0):
            best, largest_lack = s, lack
    return best


def _fill_missing_classes(
    part_of: dict[int, int],
    unit_counts: dict[int, dict[int, int]],
    part_counts: list[list[float]],
    parts: list[int],
    main_part: int,
) -> None:
    """Move the smallest unit of a class from the main part to each part without that class."""
    for s in parts:
        for c in range(len(part_counts[s])):
            spare = [u for u, counts in unit_counts.items() if part_of[u] == main_part and c in counts]
            if s != main_part and part_counts[s][c] == 0 and len(spare) > 1:
                moved = min(spare, key=lambda u: sum(unit_counts[u].values()))
                part_of[moved] = s
                for k, n in unit_counts[moved].items():
                    part_counts[s][k] += n
