"""What a verification says: problems by kind, and the text for readers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain

import pandas as pd

from musicreclass.config.settings.data import SPLITS
from musicreclass.data.groups import albums_of_unknown_artists, artists_of
from musicreclass.data.tracks import some
from musicreclass.data.verification.examined import INTACT, SILENT
from musicreclass.data.verification.verify import COPY_COLUMNS
from musicreclass.errors import Problem
from musicreclass.plurals import counted

BAD_FILE, COPY, GROUP = "bad_file", "copy_across_splits", "artist_across_splits"  # kinds of problems
COPY_TEXTS = {
    "byte": "byte-identical files",
    "sound": "files with the same sound",
    "near": "near-copies (other encoding, level or start, or an excerpt)",
}


def find_problems(table: pd.DataFrame, tracks: pd.DataFrame) -> list[Problem]:
    """Everything that is wrong: bad files, and what two splits have in common.

    Args:
        table: from `verify`.
        tracks: the Tracks table of the usable recordings, with `split` assigned.
    """
    return [*_bad_files(table), *_copies_across_splits(table, tracks), *_groups_across_splits(tracks)]


def _bad_files(table: pd.DataFrame) -> Iterator[Problem]:
    """A problem for each file that is not intact; the value is the reason."""
    bad = table[table.status != INTACT]
    for path, status, detail in zip(bad.path.tolist(), bad.status.tolist(), bad.detail.tolist(), strict=True):
        yield Problem(f"{path}: {status}" + (f" ({detail})" if detail else ""), BAD_FILE, path, status)


def _copies_across_splits(table: pd.DataFrame, tracks: pd.DataFrame) -> Iterator[Problem]:
    """A problem for each pair in two splits; the value is the kind of copy, the suggestion the other id."""
    split = dict(zip(tracks.track_id, tracks.split, strict=True))
    reported: set[tuple[str, str]] = set()
    rows = zip(table.track_id, *(table[column] for column in COPY_COLUMNS), strict=True)
    for track_id, *copies in rows:
        for other, kind, overlap, difference in zip(*copies, strict=True):
            ends = split.get(track_id), split.get(other)
            if None in ends or ends[0] == ends[1] or (other, track_id) in reported:
                continue
            reported.add((track_id, other))
            text = f"{track_id} ({ends[0]}) and {other} ({ends[1]}): {kind}"
            if kind == "near":
                text += f", {overlap:.1f} s compared, {100 * difference:.0f} % of the bits differ"
            yield Problem(text, COPY, track_id, kind, other)


def _groups_across_splits(tracks: pd.DataFrame) -> Iterator[Problem]:
    """A problem for each artist, or album of unknown artists, in several splits; the value is the number of its tracks."""
    albums = albums_of_unknown_artists(tracks).map(lambda name: f"album:{name}", na_action="ignore")
    for name, rows in chain(tracks.groupby(artists_of(tracks)), tracks.groupby(albums)):
        splits = [split for split in SPLITS if (rows.split == split).any()]
        if len(splits) > 1:
            yield Problem(f"{name}: {counted(len(rows), 'track')} in {', '.join(splits)}", GROUP, str(name), len(rows))


def summary_lines(table: pd.DataFrame, problems: list[Problem], split: str) -> list[str]:
    """How many recordings are intact, how many have copies, and the number of problems of each kind with examples.

    Args:
        table: from `verify`.
        problems: from `find_problems`.
        split: the name of the split protocol.
    """
    intact = int((table.status == INTACT).sum())
    lines = [f"verified: {counted(len(table), 'recording')}, {intact} intact, {table.seconds.sum() / 3600:.1f} h"]
    bad = [problem for problem in problems if problem.kind == BAD_FILE]
    for reason, count in Counter(problem.value for problem in bad).most_common():
        lines.append(f"{reason}: {count} ({some([p.message for p in bad if p.value == reason])})")
    silent = table.track_id[(table.status == INTACT) & (table.detail == SILENT)].tolist()
    if silent:
        lines.append(f"{SILENT}: {len(silent)} ({some(silent)})")
    for kind, text in COPY_TEXTS.items():
        ids = table.track_id[[kind in kinds for kinds in table.copy_kind]].tolist()
        pairs = [problem.message for problem in problems if (problem.kind, problem.value) == (COPY, kind)]
        across = (
            f"{counted(len(pairs), 'pair')} in two splits ({some(pairs)})"
            if pairs
            else f"none in two splits ({some(ids)})"
        )
        lines.append(f"{text}: {len(ids)}, {across}" if ids else f"{text}: none")
    artists = [problem.message for problem in problems if problem.kind == GROUP]
    text = f"artists, or albums of unknown artists, in two splits (data/split={split})"
    lines.append(f"{text}: {len(artists)} ({some(artists)})" if artists else f"{text}: none")
    return lines


def full_text(lines: list[str], table: pd.DataFrame, problems: list[Problem]) -> str:
    """The summary, followed by every problem and every copy.

    Args:
        lines: from `summary_lines`.
        table: from `verify`.
        problems: from `find_problems`.
    """
    copies = [
        f"{track_id} = {', '.join(f'{other} ({kind})' for other, kind in zip(ids, kinds, strict=True))}"
        for track_id, ids, kinds in zip(table.track_id, table.copy_of, table.copy_kind, strict=True)
        if ids
    ]
    parts = {"Problems": [problem.message for problem in problems], "Copies": copies}
    sections = [
        f"\n{heading}\n" + "\n".join(f"  {item}" for item in items) for heading, items in parts.items() if items
    ]
    return "\n".join([*lines, *sections]) + "\n"


def counts(problems: list[Problem]) -> str:
    """The number of problems of each kind, as a phrase."""
    texts = {
        BAD_FILE: ("bad file", "bad files"),
        COPY: ("pair of copies across splits", "pairs of copies across splits"),
        GROUP: ("artist or album across splits", "artists or albums across splits"),
    }
    return ", ".join(counted(n, *texts[kind]) for kind, n in Counter(problem.kind for problem in problems).items())
