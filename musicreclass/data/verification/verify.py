"""Verifies the recordings of a source: a row for each with its status, checksum, fingerprint and copies."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import chain, combinations, product
from pathlib import Path

import numpy as np
import pandas as pd

from musicreclass.data.audio.sound_digest import content_digest
from musicreclass.data.recording_files import Recordings
from musicreclass.data.recordings import AudioData
from musicreclass.data.tracks import make_tracks, unify_copies
from musicreclass.data.verification import fingerprint
from musicreclass.data.verification.examined import INTACT, Examined, examine_recordings
from musicreclass.data.verification.index import Match, groups, near_matches
from musicreclass.storage.store import CHUNK, file_digests

WRONG_CHECKSUM, TOO_SHORT, FAULT = "wrong checksum", "too short", "published fault"  # further statuses
FULL_LENGTH = 29.0  # seconds; a shorter clip has the fault that was published about it
MAX_COPIES = 100  # that a row names
COPY_COLUMNS = ("copy_of", "copy_kind", "copy_overlap", "copy_difference")


def verify(data: AudioData, recordings: Recordings) -> pd.DataFrame:
    """Examine every recording, compare checksums with published ones, and look for copies.

    Args:
        data: the source.
        recordings: from `data.read_recordings()`.

    Returns:
        A row for each recording: `track_id`, `path`; `status` (`ok`, a reason such as `truncated`, `wrong checksum`,
        `too short` or `published fault`) with `detail`; `seconds`; `checksum` (SHA-256); `fingerprint`, a digest of it; lists `copy_of`
        (ids), `copy_kind` (`byte`, `sound` or `near`), `copy_overlap` (seconds compared) and `copy_difference` (fraction of the bits);
        and `near_group`, equal for recordings that near-copies connect, None for others.
    """
    paths = recordings.paths
    sums = file_digests(paths, data.store)
    examined = examine_recordings(paths, sums, data.store, data.workers)
    tracks = make_tracks(
        recordings.track_id,
        recordings.target,
        path=[str(path) for path in paths],
        checksum=sums,
        content=file_digests(paths, data.store, content_digest, "contents"),
    )
    table = tracks[["track_id", "path"]].assign(
        status=[result.status for result in examined],
        detail=[result.detail for result in examined],
        seconds=[result.seconds for result in examined],
        checksum=tracks.checksum,
        fingerprint=[fingerprint.digest(result.fingerprint) for result in examined],
    )
    _check_published(table, data, paths)
    short = (table.status == INTACT) & (table.seconds < data.min_seconds)
    table.loc[short, "status"] = TOO_SHORT
    return _with_copies(table, unify_copies(tracks).checksum, examined)


def _check_published(table: pd.DataFrame, data: AudioData, paths: Sequence[Path]) -> None:
    """Set the status of files with another checksum than the published one, and of those with a published fault."""
    published = data.published_checksums()
    rows = [i for i, path in enumerate(paths) if path in published]
    if rows:
        actual = file_digests([paths[i] for i in rows], data.store, sha1, "sha1")
        for i, checksum in zip(rows, actual, strict=True):
            if checksum not in (None, published[paths[i]]):
                broken = table.status[i] != INTACT
                table.loc[i, "detail"] = table.status[i] if broken else f"published: {published[paths[i]]}"
                table.loc[i, "status"] = WRONG_CHECKSUM
    faults = data.published_faults()
    for i, track_id in enumerate(table.track_id.tolist()):
        if track_id not in faults:
            continue
        status, text = table.status[i], faults[track_id]
        if status == INTACT and table.seconds[i] < FULL_LENGTH:
            table.loc[i, ["status", "detail"]] = FAULT, text
        elif status != INTACT:
            table.loc[i, "detail"] = "; ".join(filter(None, [table.detail[i], text]))


def sha1(path: Path) -> str:
    """The SHA-1 of a file's content, as datasets publish it."""
    digest = hashlib.sha1(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _with_copies(table: pd.DataFrame, unified: pd.Series[str], examined: list[Examined]) -> pd.DataFrame:
    """The table with the columns of copies.

    Args:
        table: a row for each recording.
        unified: equal for recordings with the same sound; see `unify_copies`.
        examined: of each recording.
    """
    keys = unified.where(unified.notna(), table.path)
    members = {str(key): rows.index.tolist() for key, rows in table.groupby(keys, sort=False)}
    first_rows = [rows[0] for rows in members.values()]
    matches = near_matches([examined[i].fingerprint for i in first_rows])
    copies = _Copies(table)
    for rows in members.values():
        first = rows[: MAX_COPIES + 1]
        copies.add(chain(combinations(first, 2), ((rows[0], row) for row in rows[len(first) :])))
    for match in matches:
        a, b = (members[keys[first_rows[end]]] for end in (match.first, match.second))
        copies.add(chain(product(a[:MAX_COPIES], b[:MAX_COPIES]), ((a[0], row) for row in b[MAX_COPIES:])), match)
    for position, column in enumerate(COPY_COLUMNS):
        table[column] = [[copy[position] for copy in row[:MAX_COPIES]] for row in copies.of_row]
    return table.assign(near_group=_near_groups(table, members, matches))


class _Copies:
    """The copies of each recording: the id, kind, overlap and difference of each.

    Args:
        table: a row for each recording.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        self._ids, self._seconds, self._checksums = (table[c].tolist() for c in ("track_id", "seconds", "checksum"))
        self.of_row: list[list[tuple[str, str, float, float]]] = [[] for _ in range(len(table))]

    def add(self, pairs: Iterable[tuple[int, int]], match: Match | None = None) -> None:
        """Add pairs of rows to the copies of both.

        Args:
            pairs: of rows.
            match: of near-copies; None for recordings with the same sound.
        """
        for i, j in pairs:
            kind = "near" if match else "byte" if self._checksums[i] == self._checksums[j] else "sound"
            overlap, difference = (match.overlap, match.difference) if match else (self._seconds[i], 0.0)
            self.of_row[i].append((self._ids[j], kind, overlap, difference))
            self.of_row[j].append((self._ids[i], kind, overlap, difference))


def _near_groups(table: pd.DataFrame, members: dict[str, list[int]], matches: list[Match]) -> pd.Series[str]:
    """For each recording that near-copies connect with others, the smallest checksum of them; None for others."""
    group = groups(matches, len(members))
    row_group = np.empty(len(table), np.int64)
    for number, rows in zip(group.tolist(), members.values(), strict=True):
        row_group[rows] = number
    connected = np.isin(row_group, group[sorted({end for match in matches for end in match[:2]})])
    smallest = table.checksum.fillna("").groupby(row_group).transform("min")
    return smallest.astype(object).where(connected, None)
