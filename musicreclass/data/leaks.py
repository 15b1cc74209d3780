"""Whether a protocol leaks, computed from the tracks on its two sides and never declared."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any

import pandas as pd

from musicreclass.config.settings import SPLITS
from musicreclass.data.splits import group_of

TOLERATED = 0.2  # the share of tracks of unknown artist up to which a split may be called free of leaks


@dataclass(frozen=True)
class Protocol:
    """How tracks were split, and what that is worth.

    Attributes:
        split: the protocol's name.
        leaky: `yes` if an artist (an album, where the artist is unknown) or a byte-identical recording lies on two
            sides, `unknown` if the artist is unknown for too many tracks to tell, else `no`.
        why: the counts behind it, a line each.
        pretraining_overlap: where a pretrained encoder is known to have heard recordings that are scored here, a line each.
    """

    split: str
    leaky: str
    why: list[str]
    pretraining_overlap: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The protocol as metrics.json holds it."""
        return asdict(self)


def find_leaks(tracks: pd.DataFrame, split: str) -> Protocol:
    """Look for artists, albums and recordings that lie in more than one split.

    Args:
        tracks: a Tracks table with its `split` filled in.
        split: the protocol's name.
    """
    why = []
    groups = group_of(tracks)
    for one, two in combinations(SPLITS, 2):
        left, right = tracks.split == one, tracks.split == two
        shared = set(groups[left].dropna()) & set(groups[right].dropna())
        if shared:
            n = int((right & groups.isin(shared)).sum())
            of = groups[right].dropna().nunique()
            why.append(
                f"{len(shared)} of the {of} artists in {two} are in {one} too ({n} of {right.sum()} {two} tracks)"
            )
        copies = set(tracks.checksum[left].dropna()) & set(tracks.checksum[right].dropna())
        if copies:
            ids = tracks.track_id[right & tracks.checksum.isin(copies)].tolist()
            named = ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")
            why.append(f"{len(copies)} recordings of identical content are in {one} and in {two} ({named})")
    unknown = int(groups.isna().sum())
    leaky = "yes" if why else "no" if unknown <= TOLERATED * len(tracks) else "unknown"
    if unknown:
        why.append(f"the artist is unknown for {unknown if unknown < len(tracks) else 'all'} of {len(tracks)} tracks")
    elif leaky == "no":
        why.append(f"all {groups.nunique()} artists lie on one side each")
    return Protocol(split, leaky, why)
