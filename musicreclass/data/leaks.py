"""Whether a protocol leaks, computed from the tracks of its splits."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any

import pandas as pd

from musicreclass.config.settings import SPLITS
from musicreclass.data.splits import group_of

MAX_UNKNOWN = 0.2  # fraction of tracks of unknown artist up to which a split may count as free of leaks


@dataclass(frozen=True)
class Protocol:
    """How tracks were split, and whether the split leaks.

    Attributes:
        split: the protocol's name.
        leaky: `yes` if an artist (or an album, if the artist is unknown) or a byte-identical recording is in two
            splits, `unknown` if the artist is unknown for too many tracks, else `no`.
        why: the counts that support it, one line each.
        cautions: what else may make the scores too high, as a short mark -> details: `shared albums`, ...
        pretraining_overlap: datasets with which a pretrained encoder was trained and that contain recordings scored
            here, one line each.
    """

    split: str
    leaky: str
    why: list[str]
    cautions: dict[str, str] = field(default_factory=dict)
    pretraining_overlap: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The protocol as written to metrics.json."""
        return asdict(self)


def find_leaks(tracks: pd.DataFrame, split: str) -> Protocol:
    """Find artists, albums and recordings that are in more than one split.

    Args:
        tracks: a Tracks table with `split` assigned.
        split: the protocol's name.
    """
    why = []
    groups = group_of(tracks)
    for first, second in combinations(SPLITS, 2):
        left, right = tracks.split == first, tracks.split == second
        shared = set(groups[left].dropna()) & set(groups[right].dropna())
        if shared:
            affected = int((right & groups.isin(shared)).sum())
            artists = groups[right].dropna().nunique()
            why.append(
                f"{len(shared)} of the {artists} artists in {second} are also in {first} "
                f"({affected} of {right.sum()} {second} tracks)"
            )
        copies = set(tracks.checksum[left].dropna()) & set(tracks.checksum[right].dropna())
        if copies:
            ids = tracks.track_id[right & tracks.checksum.isin(copies)].tolist()
            examples = ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")
            why.append(f"{len(copies)} recordings with identical content are in both {first} and {second} ({examples})")
    unknown = int(groups.isna().sum())
    leaky = "yes" if why else "no" if unknown <= MAX_UNKNOWN * len(tracks) else "unknown"
    if unknown:
        why.append(f"the artist is unknown for {unknown if unknown < len(tracks) else 'all'} of {len(tracks)} tracks")
    elif leaky == "no":
        why.append(f"each of the {groups.nunique()} artists is in a single split")
    return Protocol(split, leaky, why)
