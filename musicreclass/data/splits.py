"""How tracks come to be in train, valid or test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from musicreclass.config.settings import SPLITS
from musicreclass.errors import DataError

SPELLINGS = {"training": "train", "validation": "valid", "val": "valid", "dev": "valid", "testing": "test"}


@dataclass(frozen=True)
class Split:
    """A protocol, as conf/data/split/ states it.

    Args:
        protocol: `auto`, `random`, `grouped`, `column`, or one that the data brings itself, such as `official`.
        valid: the fraction of tracks to validate on.
        test: the fraction to test on; 0 for none.
        seed: draws the split; apart from a run's seed.
        folds: into how many parts `artist_folds` deals the artists.
    """

    protocol: str
    valid: float = 0.15
    test: float = 0.15
    seed: int = 0
    folds: int = 5


def assign_splits(tracks: pd.DataFrame, split: Split, own: str = "column") -> tuple[str, pd.Series[str]]:
    """The protocol that applies, and each track's split under it.

    Args:
        tracks: a Tracks table; its `split` column is what the data itself says.
        split: the protocol asked for. `auto` takes the data's own split where there is one, else groups, else chance.
        own: what the data calls its own split.

    Raises:
        DataError: if the tracks lack what the protocol needs.
    """
    known_split, known_group = tracks.split.notna(), (tracks.group.notna() | tracks.album.notna())
    protocol = split.protocol
    if protocol == "auto":
        protocol = own if known_split.any() else "grouped" if known_group.any() else "random"
    if protocol == own:
        return protocol, _from_column(tracks)
    if split.valid + split.test >= 1:
        raise DataError(f"data.split.valid={split.valid} and data.split.test={split.test} leave nothing to train on")
    shares = (1 - split.valid - split.test, split.valid, split.test)
    if protocol not in ("random", "grouped"):
        raise DataError(f"data/split: {protocol} is not a protocol of this data; there is {own}, grouped, random")
    if protocol == "grouped" and not known_group.any():
        raise DataError("data/split=grouped: no groups are known; name their column with data.group_column=NAME")
    place = _draw(tracks, _units(tracks, protocol == "grouped"), shares, split.seed)
    return protocol, place.map(dict(enumerate(SPLITS)))


def artist_folds(tracks: pd.DataFrame, folds: int, seed: int) -> pd.Series[int]:
    """Each track's fold, 0 to `folds` - 1: classes in equal shares as far as whole artists allow."""
    return _draw(tracks, _units(tracks, grouped=True), (1 / folds,) * folds, seed, home=None)


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


def _draw(
    tracks: pd.DataFrame, unit: np.ndarray, shares: tuple[float, ...], seed: int, home: int | None = 0
) -> pd.Series[int]:
    """Deal units out, each to the part that lacks most of its classes, until every part has its share of them.

    The order of dealing is drawn from the seed and the track ids alone, so the row order of a file does not matter.

    Args:
        tracks: a Tracks table.
        unit: each track's unit.
        shares: what each part is to have of every class; 0 keeps a part empty.
        seed: draws the order.
        home: the part that takes the units too large for what the others lack. A class that another part is left without
            then gives it its smallest unit, if it keeps one. None: there is no such part.

    Returns:
        Each track's part.
    """
    classes, _ = pd.factorize(tracks.target, sort=True)
    rank = np.empty(len(tracks), np.int64)
    by_id = np.argsort(tracks.track_id.to_numpy(str), kind="stable")
    rank[by_id] = np.random.default_rng(seed).permutation(len(tracks))
    holdings: dict[int, dict[int, int]] = {}  # unit -> class -> tracks
    for i in np.argsort(rank):
        mine = holdings.setdefault(int(unit[i]), {})
        mine[int(classes[i])] = mine.get(int(classes[i]), 0) + 1
    want = np.outer(shares, np.bincount(classes)).tolist()  # parts x classes
    have = np.zeros_like(want).tolist()
    open_parts = [s for s in range(len(shares)) if shares[s] > 0]
    place = {}
    for u, mine in holdings.items():
        best, most = open_parts[0], -np.inf
        for s in open_parts:
            lack = sum(n * (want[s][c] - have[s][c]) / want[s][c] for c, n in mine.items())
            room = sum(want[s][c] - have[s][c] - n for c, n in mine.items()) + 0.5
            if lack > most and (home is None or s == home or room >= 0):
                best, most = s, lack
        place[u] = best
        for c, n in mine.items():
            have[best][c] += n
    for s in open_parts if home is not None else []:
        for c in range(len(want[s])):
            spare = [u for u, mine in holdings.items() if place[u] == home and c in mine]
            if s != home and have[s][c] == 0 and len(spare) > 1:
                given = min(spare, key=lambda u: sum(holdings[u].values()))
                place[given] = s
                for k, n in holdings[given].items():
                    have[s][k] += n
    return pd.Series([place[int(u)] for u in unit], index=tracks.index)
