"""Whether other data, scored with a finished run, contains what the run was trained on."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from musicreclass.data.leaks import NEAR_AUDIO, NEAR_COPIES, Protocol, examples, find_leaks, near_copies_line
from musicreclass.data.names import artist_key, vocabulary_form
from musicreclass.data.near_copies import Sketches
from musicreclass.data.recordings import NOT_COMPARED, AudioData
from musicreclass.data.table import TableData
from musicreclass.data.track_data import TrackData
from musicreclass.data.tracks import unify_copies
from musicreclass.data.verification.examined import stored_fingerprints
from musicreclass.data.verification.index import near_matches
from musicreclass.features.feature_data import FeatureData
from musicreclass.plurals import agreeing, counted
from musicreclass.runs.folder import SKETCHES, TRACKS, Run
from musicreclass.storage.regular import read_regular
from musicreclass.storage.store import Store


def leaks_from_training(run: Run, data: TrackData, split: str) -> Protocol:
    """The protocol of scoring other data: whether its artists or recordings were trained on, as far as is known.

    Args:
        run: finished; its training and validation tracks count as trained on.
        data: the other data.
        split: the scored split, or `all`.
    """
    if data.fingerprint() == run.identity.fingerprint:
        return Protocol(data.protocol.split, "yes", ["the run's own training tracks are among them"])
    try:
        tracks = pd.read_parquet(io.BytesIO(read_regular(run.folder / TRACKS)))
        trained = tracks[tracks.split != "test"].assign(split="train")
        in_split = (data.tracks.split == split) | (split == "all")
        scored = data.tracks[in_split].assign(split="test")
        trained, scored = without_dataset(trained), without_dataset(scored)
        both = unify_copies(pd.concat([trained, scored], ignore_index=True))
        protocol = find_leaks(both, data.protocol.split)
        protocol = protocol.with_leaks(shared_ids(trained, scored), "track ids")
        near = near_copies_of_training(run, tracks, data, in_split.to_numpy())
        if near is not None:
            protocol = protocol.with_leaks(near, NEAR_COPIES)
        store = store_of_recordings(data)
        if store is not None:
            protocol = with_near_audio(protocol, trained, scored, stored_fingerprints(store))
    except (OSError, ValueError, KeyError, AttributeError, IndexError):
        reason = "other data than the run's own: whether its artists or recordings were trained on is not known"
        return Protocol(data.protocol.split, "unknown", [reason])
    pairs = product(by_dataset(trained), by_dataset(scored))
    vocabularies = list(dict.fromkeys(line for pair in pairs for line in different_vocabularies(*pair)))
    if protocol.leaky == "no" and vocabularies:
        return replace(protocol, leaky="unknown", why=vocabularies)
    return protocol


def without_dataset(tracks: pd.DataFrame) -> pd.DataFrame:
    """Tracks of combined datasets with the ids and groups that they have in their dataset; others unchanged."""
    if "dataset" not in tracks:
        return tracks
    ids, groups = tracks.track_id.copy(), tracks.group.copy()
    for dataset in tracks.dataset.unique():
        rows = tracks.dataset == dataset
        ids[rows] = ids[rows].str.removeprefix(f"{dataset}/")
        groups[rows] = groups[rows].map(
            lambda name, prefix=f"{dataset}:": name.removeprefix(prefix), na_action="ignore"
        )
    return tracks.assign(track_id=ids, group=groups)


def by_dataset(tracks: pd.DataFrame) -> list[pd.DataFrame]:
    """The tracks of each of combined datasets."""
    return [rows for _, rows in tracks.groupby("dataset")] if "dataset" in tracks else [tracks]


def shared_ids(trained: pd.DataFrame, scored: pd.DataFrame) -> list[str]:
    """A line on the scored ids that are also ids of training tracks, if there are any."""
    ids = scored.track_id[scored.track_id.isin(set(trained.track_id))].tolist()
    return (
        [
            f"{len(ids)} of {counted(len(scored), 'scored id')} {agreeing(len(ids), 'is the id of a training track', 'are ids of training tracks')} ({examples(ids)})"
        ]
        if ids
        else []
    )


def near_copies_of_training(run: Run, tracks: pd.DataFrame, data: TrackData, in_split: Any) -> list[str] | None:
    """A line on the scored rows that are near-copies of training rows, if there are any; None if rows cannot be compared.

    Args:
        run: the run.
        tracks: its Tracks table.
        data: the other data.
        in_split: which of its tracks are scored, bool (n,).
    """
    trained = Sketches.load(run.folder / SKETCHES)
    if trained is None or not isinstance(data, TableData) or not set(trained.sketcher.columns) <= set(data.columns):
        return None
    order = [data.columns.index(name) for name in trained.sketcher.columns]
    rows = in_split[data.row_track]
    scored = Sketches(trained.sketcher, trained.sketcher.sketch(data.x[rows][:, order]), data.row_track[rows])
    pairs = scored.near_copies_in(trained)
    ids = [(data.tracks.track_id.iloc[i], tracks.track_id.iloc[j]) for i, j in pairs.items()]
    return [near_copies_line(ids, int(in_split.sum()), "scored", "training")] if ids else []


def store_of_recordings(data: TrackData) -> Store | None:
    """The store of data that reads recordings; None for tables."""
    source = data.source_data if isinstance(data, FeatureData) else data
    return source.store if isinstance(source, AudioData) else None


def with_near_audio(
    protocol: Protocol, trained: pd.DataFrame, scored: pd.DataFrame, fingerprints: Mapping[str, np.ndarray]
) -> Protocol:
    """The protocol after a comparison of recordings with those of training, also in other encodings.

    Args:
        protocol: of the scored tracks.
        trained: the Tracks table of the tracks that were trained on.
        scored: the Tracks table of the scored tracks.
        fingerprints: of verified recordings, by their checksum.
    """
    tracks = pd.concat([trained, scored], ignore_index=True)
    rows = np.flatnonzero(tracks.checksum.isin(fingerprints.keys()))
    n_trained, ids, checksums = len(trained), tracks.track_id.tolist(), tracks.checksum.tolist()
    copies: dict[str, str] = {}  # scored id -> training id
    for match in near_matches([fingerprints[checksums[row]] for row in rows]):
        first, second = int(rows[match.first]), int(rows[match.second])
        if first < n_trained <= second and checksums[first] != checksums[second]:
            copies.setdefault(ids[second], ids[first])
    lines = []
    if copies:
        pairs = examples([f"{scored_id} ~ {trained_id}" for scored_id, trained_id in copies.items()], 2)
        lines = [
            f"{len(copies)} of {counted(len(scored), 'scored track')} {agreeing(len(copies), 'is', 'are')} near-copies of training tracks, in another encoding or an "
            f"excerpt ({pairs})"
        ]
    if lines or len(rows) == len(tracks):
        return protocol.with_leaks(lines, NEAR_AUDIO)
    return replace(protocol, why=[*protocol.why, NOT_COMPARED])


def different_vocabularies(trained: pd.DataFrame, scored: pd.DataFrame) -> list[str]:
    """A line if the artists of two tables have no name in common and are written in different forms, as numbers and names."""
    ours, theirs = (set(tracks.group.dropna().map(artist_key).dropna()) for tracks in (trained, scored))
    forms = vocabulary_form(ours), vocabulary_form(theirs)
    if ours & theirs or None in forms or forms[0] == forms[1]:
        return []
    return [
        f"the artists of the training tracks are {forms[0]} ({examples(sorted(ours), 2)}), those of the scored tracks "
        f"{forms[1]} ({examples(sorted(theirs), 2)}): they cannot be compared"
    ]
