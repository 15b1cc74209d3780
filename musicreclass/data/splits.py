"""How tracks come to be in train, valid or test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from musicreclass.errors import DataError
from musicreclass.schema import SPLITS

SPELLINGS = {"training": "train", "validation": "valid", "val": "valid", "dev": "valid", "testing": "test"}


@dataclass(frozen=True)
class Split:
    """A protocol, as conf/data/split/ states it.

    Args:
        protocol: `auto`, `random`, `grouped` or `column`.
        valid: the fraction of tracks to validate on.
        test: the fraction to test on.
        seed: draws the split; apart from a run's seed.
    """

    protocol: str
    valid: float = 0.15
    test: float = 0.15
    seed: int = 0


def assign_splits(tracks: pd.DataFrame, split: Split) -> tuple[str, pd.Series[str]]:
    """The protocol that applies, and each track's split under it.

    Args:
        tracks: a Tracks table; its `split` column is what the data itself says.
        split: the protocol asked for. `auto` takes the data's own split where there is one, else groups, else chance.

    Raises:
        DataError: if the tracks lack what the protocol needs.
    """
    known_split, known_group = tracks.split.notna(), (tracks.group.notna() | tracks.album.notna())
    protocol = split.protocol
    if protocol == "auto":
        protocol = "column" if known_split.any() else "grouped" if known_group.any() else "random"
    if protocol == "column":
        return protocol, _from_column(tracks)
    if split.valid + split.test >= 1:
        raise DataError(f"data.split.valid={split.valid} and data.split.test={split.test} leave nothing to train on")
    if protocol == "random":
        return protocol, _draw(tracks, _units(tracks, grouped=False), split)
    if protocol == "grouped":
        if not known_group.any():
            raise DataError("data/split=grouped: no groups are known; name their column with data.group_column=NAME")
        return protocol, _draw(tracks, _units(tracks, grouped=True), split)
    raise DataError(f"data/split: {protocol} is not a protocol of this data; there is auto, random, grouped, column")


def _from_column(tracks: pd.DataFrame) -> pd.Series[str]:
    missing = int(tracks.split.isna().sum())
    if missing == len(tracks):
        raise DataError("data/split=column: the data has no split column; name it with data.split_column=NAME")
    if missing:
        raise DataError(f"the split column is empty for {missing} of {len(tracks)} tracks")
    named = tracks.split.str.lower().replace(SPELLINGS)
    wrong = sorted(set(named) - set(SPLITS))
    if wrong:
        raise DataError(f"the split column holds {', '.join(map(repr, wrong[:3]))}: it must hold train, valid, test")
    return named


def group_of(tracks: pd.DataFrame) -> pd.Series[str]:
    """What ties tracks together: the artist, else the album; None where neither is known."""
    album = tracks.album.map(lambda name: None if name is None else f"album:{name}")
    return tracks.group.where(tracks.group.notna(), album)


def _units(tracks: pd.DataFrame, grouped: bool) -> np.ndarray:
    """The number of the unit that each track belongs to; a unit is never divided between splits.

    Copies of one recording are a unit under every protocol, since no protocol means to test on training data. With
    `grouped`, so are a group's tracks, and groups that share a recording.
    """
    ties = [tracks.checksum] + ([group_of(tracks)] if grouped else [])
    n = len(tracks)
    ends: list[tuple[np.ndarray, np.ndarray]] = []
    for tie in ties:
        codes, names = pd.factorize(tie, use_na_sentinel=True)
        rows = np.flatnonzero(codes >= 0)
        first = np.full(len(names), -1)
        first[codes[rows][::-1]] = rows[::-1]
        ends.append((rows, first[codes[rows]]))
    a, b = (np.concatenate(side) for side in zip(*ends, strict=True))
    _, unit = connected_components(coo_matrix((np.ones(len(a)), (a, b)), shape=(n, n)), directed=False)
    return np.asarray(unit)


def _draw(tracks: pd.DataFrame, unit: np.ndarray, split: Split) -> pd.Series[str]:
    """Deal units out, each to the split that lacks most of its classes, until every split has its share of them.

    The order of dealing is drawn from the seed and the track ids alone, so the row order of a file does not matter. A class
    that is left without validation or test tracks, since its units are large, gives its smallest unit, if it keeps one.
    """
    classes, _ = pd.factorize(tracks.target, sort=True)
    rank = np.empty(len(tracks), np.int64)
    rank[np.argsort(tracks.track_id.to_numpy(str), kind="stable")] = np.random.default_rng(split.seed).permutation(
        len(tracks)
    )
    holdings: dict[int, dict[int, int]] = {}  # unit -> class -> tracks
    for i in np.argsort(rank):
        mine = holdings.setdefault(int(unit[i]), {})
        mine[int(classes[i])] = mine.get(int(classes[i]), 0) + 1
    shares = (1 - split.valid - split.test, split.valid, split.test)
    want = np.outer(shares, np.bincount(classes)).tolist()  # splits x classes
    have = np.zeros_like(want).tolist()
    place = {}
    for u, mine in holdings.items():
        best, most = 0, -np.inf
        for s in range(len(SPLITS)):
            lack = sum(n * (want[s][c] - have[s][c]) / want[s][c] for c, n in mine.items())
            room = sum(want[s][c] - have[s][c] - n for c, n in mine.items()) + 0.5
            if s and room < 0:
                continue  # what fits nowhere is trained on
            if lack > most:
                best, most = s, lack
        place[u] = best
        for c, n in mine.items():
            have[best][c] += n
    for s in range(1, len(SPLITS)):
        for c in np.flatnonzero(np.array(have[s]) == 0).tolist():
            spare = [u for u, mine in holdings.items() if place[u] == 0 and c in mine]
            if len(spare) > 1:
                given = min(spare, key=lambda u: sum(holdings[u].values()))
                place[given] = s
                for k, n in holdings[given].items():
                    have[s][k] += n
    return pd.Series([SPLITS[place[int(u)]] for u in unit], index=tracks.index, dtype=object)
