"""The technical format of recordings by genre, and how far it tells the genre."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musicreclass.data.format_check import FormatScores, format_of
from musicreclass.data.recordings import AudioData
from musicreclass.data.targets import has_label
from musicreclass.storage.store import file_digests

PROPERTIES = ("sample rate", "bit depth", "channels", "codec")
FLOATS = {"FLOAT": "32 float", "DOUBLE": "64 float"}
NO_DEPTH = "none"  # of lossy codecs
MAX_BINS = 10  # of a property with many values


def describe_formats(data: AudioData, tracks: pd.DataFrame, classes: Sequence[str]) -> dict[str, Any]:
    """Formats of recordings as their headers state them.

    Args:
        data: the recordings, opened.
        tracks: the rows of its Tracks table to describe.
        classes: the order of the result.

    Returns:
        `per_class`: the number of tracks by property, class and value; `association` of each property that varies with the
        class of training tracks (`balanced_accuracy`, `cramers_v`), the best first; `compared` training tracks; `guess_rate`;
        `chance` and `tells_genre` as in `FormatScores`.
    """
    texts = file_digests([Path(path) for path in tracks.path], data.store, format_of, "formats") if len(tracks) else []
    rows = [properties_of(text) for text in texts]
    per_class: dict[str, dict[str, dict[str, int]]] = {}
    for property_name in PROPERTIES:
        values = pd.Series([row[property_name] for row in rows], dtype=object)
        counts = {name: Counter(values[has_label(tracks.target, name).to_numpy()]) for name in classes}
        per_class[property_name] = {name: dict(count.most_common()) for name, count in counts.items() if count}
    return {"per_class": per_class, **association(data.format_scores)}


def properties_of(text: str | None) -> dict[str, str]:
    """The values of `PROPERTIES` in a text of `format_of`; `unknown` for what the header does not state."""
    rate, channels, codec = (text or "\0\0").split("\0")
    subtype = codec.rpartition(" ")[2]
    pcm = re.fullmatch(r"(?:DPCM|PCM|ALAC)_[SU]?(\d+)", subtype)
    depth = pcm[1] if pcm else FLOATS.get(subtype, NO_DEPTH)
    return {
        "sample rate": f"{rate} Hz" if rate else "unknown",
        "bit depth": depth if rate else "unknown",
        "channels": channels or "unknown",
        "codec": codec or "unknown",
    }


def association(scores: FormatScores | None) -> dict[str, Any]:
    """How strongly each property of the format is associated with the genre; see `describe_formats`."""
    if scores is None:
        return {"association": {}, "compared": 0, "guess_rate": None, "chance": None, "tells_genre": False}
    ranked = sorted(scores.accuracy, key=lambda name: -scores.accuracy[name])
    strengths = {
        name: {
            "balanced_accuracy": scores.accuracy[name],
            "cramers_v": cramers_v(scores.properties[name].to_numpy(float), scores.codes),
        }
        for name in ranked
    }
    return {
        "association": strengths,
        "compared": len(scores.codes),
        "guess_rate": scores.guess_rate,
        "chance": scores.chance,
        "tells_genre": scores.tells_genre,
    }


def cramers_v(values: np.ndarray, codes: np.ndarray) -> float:
    """Cramer's V of two categorical variables with Bergsma's correction of its bias, from 0 (none) to 1.

    Args:
        values: numbers (n,); of more than `MAX_BINS` distinct values, quantile bins are used.
        codes: class numbers (n,).
    """
    if len(np.unique(values)) > MAX_BINS:
        edges = np.unique(np.quantile(values, np.linspace(0, 1, MAX_BINS + 1)[1:-1]))
        values = np.searchsorted(edges, values, side="right")
    table = pd.crosstab(values, codes).to_numpy(float)
    n, (rows, columns) = table.sum(), table.shape
    if n < 2 or min(rows, columns) < 2:
        return 0.0
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / n
    phi2 = float(((table - expected) ** 2 / expected).sum() / n)
    corrected = max(0.0, phi2 - (rows - 1) * (columns - 1) / (n - 1))
    sides = (side - (side - 1) ** 2 / (n - 1) for side in (rows, columns))
    smaller = min(sides) - 1
    return float(min(1.0, np.sqrt(corrected / smaller))) if smaller > 0 else 0.0
