"""Whether a protocol leaks, computed from the tracks of its splits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from typing import Any

import pandas as pd

from musicreclass.config.settings.data import SPLITS
from musicreclass.data.groups import albums_of, albums_of_unknown_artists, artists_of
from musicreclass.data.near_copies import Sketches
from musicreclass.data.segments import segment_stems
from musicreclass.plurals import agreeing, counted

ARTISTS = ("artist", "artists")
ALBUMS_OF_UNKNOWN_ARTISTS = ("album of an unknown artist", "albums of unknown artists")
MAX_UNKNOWN_ARTISTS = (
    0.02  # fraction of the tracks of a split of unknown artist up to which it may count as free of leaks
)
SHARED_ALBUMS = "shared albums"  # a caution
NEAR_COPIES = "nearly identical rows of features"
NEAR_AUDIO = "copies of recordings in other encodings"
CHECKED = ("artists", "albums of unknown artists", "identical recordings", "parts of one recording by their ids")


@dataclass(frozen=True)
class Protocol:
    """How tracks were split, and whether the split leaks.

    Attributes:
        split: the protocol's name.
        leaky: `yes` if an artist (or an album of which a track is of unknown artist), an identical or nearly identical recording, or
            parts of one recording are in two splits; `unknown` if the artist is unknown for too many tracks of a split
            (more than `MAX_UNKNOWN_ARTISTS`, unless the source allows more); else `no`.
        why: the counts that support it, one line each.
        cautions: what else may make the scores too high, as a short mark -> details: `shared albums`, ...
        pretraining_overlap: datasets with which a pretrained encoder was trained and that contain recordings scored
            here, one line each.
        checked: what was compared between splits.
    """

    split: str
    leaky: str
    why: list[str]
    cautions: dict[str, str] = field(default_factory=dict)
    pretraining_overlap: list[str] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The protocol as written to metrics.json."""
        return asdict(self)

    def with_leaks(self, lines: list[str], checked: str) -> Protocol:
        """The protocol after one more comparison.

        Args:
            lines: the leaks that it found, one line each.
            checked: what was compared.
        """
        why = [*self.why, *lines] if self.leaky == "yes" else [*lines, *self.why]
        return replace(self, leaky="yes" if lines else self.leaky, why=why, checked=[*self.checked, checked])


def find_leaks(tracks: pd.DataFrame, split: str, max_unknown: float = MAX_UNKNOWN_ARTISTS) -> Protocol:
    """Find artists, albums, recordings and parts of recordings that are in more than one split.

    Args:
        tracks: a Tracks table with `split` assigned.
        split: the protocol's name.
        max_unknown: largest fraction of the tracks of a split of unknown artist with which it counts as free of leaks.
    """
    artist, album = artists_of(tracks), albums_of_unknown_artists(tracks)
    why: list[str] = []
    for first, second in combinations(SPLITS, 2):
        left, right = tracks.split == first, tracks.split == second
        why += shared_names(artist, ARTISTS, left, right, first, second)
        why += shared_names(album, ALBUMS_OF_UNKNOWN_ARTISTS, left, right, first, second)
        why += shared_recordings(tracks, left, right, first, second)
    why += divided_recordings(tracks, segment_stems(tracks))
    cautions = shared_albums(tracks, album)
    unknown = artist.isna()
    doubtful = splits_of_unknown_artists(tracks, unknown, max_unknown)
    leaky = "yes" if why else "unknown" if doubtful else "no"
    if unknown.any():
        why.append(
            f"the artist is unknown for {'all' if unknown.all() else unknown.sum()} of {counted(len(tracks), 'track')}"
        )
    elif leaky == "no":
        why.append(f"each of the {counted(artist.nunique(), 'artist')} is in a single split")
    if leaky == "unknown" and not unknown.all():
        why.append(
            f"too many for a check of shared artists: {', '.join(doubtful)}; at most {100 * max_unknown:g} % may be"
        )
    return Protocol(split, leaky, why, cautions, checked=list(CHECKED))


def shared_names(
    names: pd.Series[Any], what: tuple[str, str], left: pd.Series[bool], right: pd.Series[bool], first: str, second: str
) -> Iterator[str]:
    """A line on the names that are in both of two splits, if there are any; `what` is the noun for one and for several."""
    shared = set(names[left].dropna()) & set(names[right].dropna())
    if shared:
        affected = int((right & names.isin(shared)).sum())
        yield (
            f"{len(shared)} of the {counted(names[right].nunique(), *what)} in {second} {agreeing(len(shared), 'is', 'are')} also in {first} "
            f"({affected} of {counted(right.sum(), f'{second} track')})"
        )


def shared_recordings(
    tracks: pd.DataFrame, left: pd.Series[bool], right: pd.Series[bool], first: str, second: str
) -> Iterator[str]:
    """A line on the identical recordings that are in both of two splits, if there are any."""
    copies = set(tracks.checksum[left].dropna()) & set(tracks.checksum[right].dropna())
    if copies:
        ids = tracks.track_id[right & tracks.checksum.isin(copies)].tolist()
        yield f"{counted(len(copies), 'recording with identical content is', 'recordings with identical content are')} in both {first} and {second} ({examples(ids)})"


def divided_recordings(tracks: pd.DataFrame, stems: pd.Series[Any]) -> Iterator[str]:
    """A line on the recordings that have parts in several splits, as their ids show, if there are any.

    Args:
        tracks: a Tracks table.
        stems: from `segment_stems`.
    """
    per_stem = tracks.groupby(stems).split.nunique()
    divided = per_stem.index[per_stem > 1]
    if len(divided):
        ids = sorted(tracks.track_id[stems == divided[0]])
        yield (
            f"{counted(int(stems.notna().sum()), 'id has', 'ids have')} {counted(len(per_stem), 'stem')} ({examples(ids, 2)}), as the segments of a recording do: "
            f"{len(divided)} of these {agreeing(len(divided), 'is', 'are')} in several splits; name a column of the recordings with data.group_column=NAME"
        )


def find_near_copies(tracks: pd.DataFrame, sketches: Sketches) -> list[str]:
    """A line for each two splits with nearly identical rows of features; identical ones are found by their checksums.

    Args:
        tracks: a Tracks table with `split` assigned.
        sketches: of its tracks.
    """
    lines = []
    for first, second in combinations(SPLITS, 2):
        left, right = ((tracks.split == split).to_numpy() for split in (first, second))
        pairs = sketches.of_tracks(right).near_copies_in(sketches.of_tracks(left))
        checksum = tracks.checksum.tolist()
        pairs = {i: j for i, j in pairs.items() if checksum[i] is None or checksum[i] != checksum[j]}
        if pairs:
            ids = tracks.track_id.tolist()
            lines.append(
                near_copies_line([(ids[i], ids[j]) for i, j in pairs.items()], int(right.sum()), second, first)
            )
    return lines


def near_copies_line(pairs: list[tuple[str, str]], n: int, scored: str, reference: str) -> str:
    """The line on nearly identical rows, with the ids of a scored track and its reference in each of `pairs`."""
    shown = examples([f"{scored_id} ~ {reference_id}" for scored_id, reference_id in pairs], 2)
    return (
        f"{len(pairs)} of {counted(n, f'{scored} track')} {agreeing(len(pairs), 'has', 'have')} nearly the same features as a track in {reference} ({shown}), as copies and "
        "segments of a recording do; name a column of the recordings with data.group_column=NAME"
    )


def shared_near_groups(tracks: pd.DataFrame) -> list[str]:
    """A line for each two splits with near-copies of a recording, as a verification of the files has found them.

    Args:
        tracks: a Tracks table with `split` assigned and, if there are near-copies, `copy_group`, None for other tracks.
    """
    if "copy_group" not in tracks:
        return []
    lines = []
    for first, second in combinations(SPLITS, 2):
        left, right = tracks.split == first, tracks.split == second
        copies = tracks.copy_group.isin(set(tracks.copy_group[left].dropna()))
        ids = tracks.track_id[right & copies & tracks.copy_group.notna()].tolist()
        if ids:
            lines.append(
                f"{len(ids)} of {counted(right.sum(), f'{second} track')} {agreeing(len(ids), 'is', 'are')} near-copies of tracks in {first}, in another encoding or an "
                f"excerpt ({examples(ids)})"
            )
    return lines


def shared_albums(tracks: pd.DataFrame, of_unknown: pd.Series[Any]) -> dict[str, str]:
    """A caution on the albums of several splits by artists that are known and differ, such as a compilation or a wrong artist.

    Args:
        tracks: a Tracks table with `split` assigned.
        of_unknown: from `albums_of_unknown_artists`; these albums are leaks.
    """
    album = albums_of(tracks).where(of_unknown.isna())
    lines = []
    for first, second in combinations(SPLITS, 2):
        left, right = tracks.split == first, tracks.split == second
        shared = set(album[left].dropna()) & set(album[right].dropna())
        if shared:
            affected = int((right & album.isin(shared)).sum())
            lines.append(
                f"{len(shared)} of the {counted(album[right].nunique(), 'album')} in {second} {agreeing(len(shared), 'is', 'are')} also in {first} "
                f"({affected} of {counted(right.sum(), f'{second} track')})"
            )
    return {SHARED_ALBUMS: "; ".join(lines)} if lines else {}


def splits_of_unknown_artists(tracks: pd.DataFrame, unknown: pd.Series[bool], limit: float) -> list[str]:
    """The splits with too many tracks of unknown artist, such as `30 of 90 train tracks`."""
    sizes, counts = tracks.split.value_counts(), tracks.split[unknown].value_counts()
    return [
        f"{counts[split]} of {counted(sizes[split], f'{split} track')}"
        for split in SPLITS
        if counts.get(split, 0) > limit * sizes.get(split, 0)
    ]


def examples(ids: list[str], limit: int = 3) -> str:
    """The first few of many ids."""
    return ", ".join(ids[:limit]) + (", ..." if len(ids) > limit else "")
