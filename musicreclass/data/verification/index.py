"""Which recordings of a collection are near-copies, by their fingerprints: an inverted index with votes for time shifts.

Frames of two recordings with equal values vote for the pair and the shift between them. The shifts with most votes are then checked
bit by bit over all that overlaps. Only values chosen by a hash enter the index, the same ones in every recording, so that 25,000
clips of 30 s need about 130 MB of fingerprints and 11 million entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from musicreclass.data.verification.fingerprint import BITS, FRAMES_PER_SECOND, SILENT

VERSION = 2  # of the decision; part of the key of verifications
MAX_DIFFERENCE = 0.30  # of the bits of near-copies; different songs differ in 39 % or more, see docs/datasets.md
MIN_OVERLAP = 64  # frames that are compared: 1.5 s
CHOSEN = 3  # one of so many values enters the index
MAX_ENTRIES = 64  # of a value; more frequent ones, as of sustained notes, tell nothing
MIN_VOTES = 2  # for a shift, give or take a frame
SHIFTS = 3  # of each pair that are checked
PAIRS = 1 << 22  # votes counted at a time


class Match(NamedTuple):
    """Two near-copies.

    Attributes:
        first, second: indices of the recordings.
        shift: seconds from the start of the first to the start of the second.
        overlap: seconds that were compared.
        difference: fraction of the bits that differ.
    """

    first: int
    second: int
    shift: float
    overlap: float
    difference: float


def near_matches(fingerprints: Sequence[np.ndarray]) -> list[Match]:
    """The pairs of near-copies in a collection, each with the shift at which they agree best.

    Args:
        fingerprints: of each recording; see `fingerprint`.
    """
    best: dict[tuple[int, int], Match] = {}
    for first, second, shift in _candidates(fingerprints):
        match = _compare(fingerprints, first, second, shift)
        previous = best.get((first, second))
        if match is not None and (previous is None or match.difference < previous.difference):
            best[first, second] = match
    return [best[pair] for pair in sorted(best)]


def groups(matches: Sequence[Match], n: int) -> np.ndarray:
    """The group of each of n recordings, int64 (n,): those that are connected by matches."""
    ends = np.array([match[:2] for match in matches], np.int64).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _candidates(fingerprints: Sequence[np.ndarray]) -> Iterator[tuple[int, int, int]]:
    """Pairs of recordings and shifts in frames with enough votes."""
    value, track, frame = _entries(fingerprints)
    order = np.argsort(value, kind="stable")
    value, track, frame = value[order], track[order], frame[order]
    longest = int(frame.max(initial=0)) + 2
    n, width = len(fingerprints), 2 * longest + 1
    counted: list[tuple[np.ndarray, np.ndarray]] = []
    for lag in range(1, MAX_ENTRIES):
        rows = np.flatnonzero(value[lag:] == value[:-lag])
        if not len(rows):
            break
        rows = rows[track[rows] != track[rows + lag]]
        for start in range(0, len(rows), PAIRS):
            a = rows[start : start + PAIRS]
            b = a + lag  # of a later track, since entries of a value are in the order of the tracks
            shift = frame[a].astype(np.int64) - frame[b] + longest
            key = (track[a].astype(np.int64) * n + track[b]) * width + shift
            counted.append(np.unique(key, return_counts=True))
    if not counted:
        return
    keys, votes = _sum_votes(counted)
    near = votes.copy()  # with those of the next shift of the pair: no key of another pair follows directly
    follows = np.flatnonzero(np.diff(keys) == 1)
    near[follows] += votes[follows + 1]
    near[follows + 1] = np.maximum(near[follows + 1], votes[follows] + votes[follows + 1])
    enough = near >= MIN_VOTES
    keys, near = keys[enough], near[enough]
    pair = keys // width
    order = np.lexsort((keys, -near, pair))
    rank = np.arange(len(order)) - np.searchsorted(pair[order], pair[order])
    for key in keys[order[rank < SHIFTS]].tolist():
        first, second = divmod(key // width, n)
        yield first, second, key % width - longest


def _sum_votes(counted: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The sums of votes by key, sorted."""
    keys, rows = np.unique(np.concatenate([keys for keys, _ in counted]), return_inverse=True)
    votes = np.bincount(rows, np.concatenate([votes for _, votes in counted]), len(keys))
    return keys, votes.astype(np.int64)


def _entries(fingerprints: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The entries of the index: value, track and frame of each, uint32, int32, int32; of repeated values only the first."""
    values, tracks, frames = [], [], []
    for i, bits in enumerate(fingerprints):
        chosen = (bits * np.uint32(2654435761) >> np.uint32(16)) % np.uint32(CHOSEN) == 0
        chosen &= bits != SILENT
        chosen[1:] &= bits[1:] != bits[:-1]
        at = np.flatnonzero(chosen)
        values.append(bits[at])
        tracks.append(np.full(len(at), i, np.int32))
        frames.append(at.astype(np.int32))
    value, track, frame = (
        np.concatenate(parts) if parts else np.empty(0, np.int32) for parts in (values, tracks, frames)
    )
    _, rows, counts = np.unique(value, return_inverse=True, return_counts=True)
    rare = counts[rows] <= MAX_ENTRIES
    return value[rare], track[rare], frame[rare]


def _compare(fingerprints: Sequence[np.ndarray], first: int, second: int, shift: int) -> Match | None:
    """The match of a pair at a shift in frames, give or take one; None if too many bits differ."""
    compared = ((*difference(fingerprints[first], fingerprints[second], s), s) for s in (shift - 1, shift, shift + 1))
    overlap, fraction, at = min(compared, key=lambda result: result[1])
    if overlap < MIN_OVERLAP or fraction > MAX_DIFFERENCE:
        return None
    return Match(first, second, at / FRAMES_PER_SECOND, overlap / FRAMES_PER_SECOND, fraction)


def difference(first: np.ndarray, second: np.ndarray, shift: int) -> tuple[int, float]:
    """How many frames overlap without silence, and the fraction of their bits that differ; 1 if there are none.

    Args:
        first, second: fingerprints.
        shift: the frame of the first at which the second starts; may be negative.
    """
    a, b = first[max(0, shift) :], second[max(0, -shift) :]
    n = min(len(a), len(b))
    a, b = a[:n], b[:n]
    audible = (a != SILENT) & (b != SILENT)
    count = int(audible.sum())
    if not count:
        return 0, 1.0
    return count, int(np.bitwise_count((a ^ b)[audible]).sum()) / (BITS * count)
