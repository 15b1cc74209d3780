"""The analysis of a dataset: everything that analysis.json and the figures show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import pandas as pd

from musicreclass.analysis.columns import Projection, describe_columns
from musicreclass.analysis.counts import balance, count_classes, describe_durations
from musicreclass.analysis.formats import describe_formats
from musicreclass.analysis.spectrograms import Spectra, compute_spectra
from musicreclass.analysis.suggestions import suggest
from musicreclass.config.settings.data import SPLITS
from musicreclass.data.recordings import AudioData
from musicreclass.data.table import TableData
from musicreclass.data.track_data import TrackData
from musicreclass.errors import Problem
from musicreclass.features.feature_data import FeatureData
from musicreclass.version import __version__


@dataclass(frozen=True)
class Options:
    """What to read of the recordings.

    Attributes:
        tracks_per_class: tracks of each class in its mean spectrogram, at most.
        example_seconds: of each track, at most.
        seed: draws tracks and rows.
    """

    tracks_per_class: int = 20
    example_seconds: float = 8.0
    seed: int = 0


@dataclass(frozen=True)
class Analysis:
    """What a dataset contains. Features, formats and samples are those of training and validation tracks.

    Attributes:
        summary: the content of analysis.json; docs/analyze.md describes it.
        tracks: the training and validation tracks, as in the Tracks table.
        projection: of feature tables.
        spectra: of recordings.
    """

    summary: dict[str, Any]
    tracks: pd.DataFrame
    projection: Projection | None
    spectra: Spectra | None


def analyze_data(
    data: TrackData, choices: dict[str, str], keys: Collection[str], options: Options, refusal: Problem | None = None
) -> Analysis:
    """Analyze a dataset.

    Args:
        data: opened and split.
        choices: the chosen options of `data` and `features`.
        keys: the settings of `data` that it has.
        options: what to read of the recordings.
        refusal: why training refuses the data; None if it does not.
    """
    tracks = data.tracks[data.tracks.split != "test"]
    classes = count_classes(data.tracks)
    names = [entry["name"] for entry in classes]
    recordings = recordings_of(data)
    columns, projection = describe_columns(data, options.seed) if isinstance(data, TableData) else (None, None)
    spectra = None
    if recordings is not None:
        spectra = compute_spectra(recordings, names, options.tracks_per_class, options.example_seconds, options.seed)
    reasons = Counter(data.bad_files.values())
    summary: dict[str, Any] = {
        "version": __version__,
        "data": choices.get("data", ""),
        "features": choices.get("features", "none"),
        "source": data.source(),
        "has_tags": data.is_multi,
        "tracks": {**{split: data.size(split) for split in SPLITS}, "total": len(data.tracks)},
        "classes": classes,
        "balance": balance([entry["train"] for entry in classes]),
        "durations": describe_durations(tracks, names),
        "formats": None if recordings is None else describe_formats(recordings, tracks, names),
        "left_out": {reason: count for reason, count in data.dropped.items() if count},
        "bad_files": dict(data.bad_files),
        "bad_file_reasons": dict(reasons.most_common()),
        "protocol": data.protocol.as_dict(),
        "notes": list(data.notes),
        "refusal": None if refusal is None else {"kind": refusal.kind, "key": refusal.key, "message": refusal.message},
        "columns": columns,
        "spectrograms": None if spectra is None else describe_spectra(spectra),
    }
    summary["suggestions"] = suggest(summary, data, recordings, keys, refusal)
    return Analysis(summary, tracks, projection, spectra)


def recordings_of(data: TrackData) -> AudioData | None:
    """The recordings of the data, also of features that were computed from them; None for a table."""
    if isinstance(data, FeatureData):
        return data.source_data
    return data if isinstance(data, AudioData) else None


def describe_spectra(spectra: Spectra) -> dict[str, Any]:
    """Which tracks were read, and which is the example of each class."""
    return {
        "tracks": spectra.tracks,
        "examples": {example.target: example.track_id for example in spectra.examples},
        "sample_rate": spectra.sample_rate,
    }
