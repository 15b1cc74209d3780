"""Overrides that remedy what an analysis shows, each with its reason."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from musicreclass.data.groups import albums_of_unknown_artists, artists_of, group_of
from musicreclass.data.leaks import ALBUMS_OF_UNKNOWN_ARTISTS, ARTISTS
from musicreclass.data.recordings import AudioData
from musicreclass.data.table_source import TableSource, as_list
from musicreclass.data.track_data import TrackData
from musicreclass.data.tracks import some
from musicreclass.errors import Problem
from musicreclass.plurals import agreeing, counted

DRAWN = ("random", "grouped")  # protocols that do not divide copies
IMBALANCED = 3.0  # ratio of the largest to the smallest class of the training split
SMALL_CLASS = 10  # tracks
MOSTLY_MISSING = 0.5  # fraction of a column
COPY = 0.9999  # |r| of a column that repeats another
SHORT = 0.1  # fraction of the recordings that may be shorter than a clip
FORMAT_EFFECT = 0.25  # of the way from chance to 100 %
MAX_COLUMNS = 30  # of an override


@dataclass(frozen=True)
class Suggestion:
    """An override.

    Attributes:
        kind: what it remedies: `imbalance`, `leak`, `columns`, ...
        override: as on the command line, quoted for the shell.
        reason: one sentence without a full stop.
    """

    kind: str
    override: str
    reason: str


def suggest(
    summary: dict[str, Any],
    data: TrackData,
    recordings: AudioData | None,
    keys: Collection[str],
    refusal: Problem | None,
) -> list[dict[str, str]]:
    """Suggestions for what applies to the data.

    Args:
        summary: the other parts of analysis.json.
        data: opened.
        recordings: those of the data; None for a table.
        keys: the settings of `data` that it has.
        refusal: why training refuses the data; None if it does not.
    """
    suggestions = [
        *of_refusal(refusal, data),
        *of_leaks(data, keys),
        *of_columns(summary["columns"], data),
        *of_balance(summary, data, keys),
        *of_recordings(summary, data, recordings),
    ]
    unique = {suggestion.override: suggestion for suggestion in reversed(suggestions)}
    return [asdict(suggestion) for suggestion in reversed(unique.values())]


def of_refusal(refusal: Problem | None, data: TrackData) -> Iterator[Suggestion]:
    """What lets training start; columns to ignore are listed with their reasons by `of_columns`."""
    if refusal is None or refusal.key == "data.ignore_columns":
        return
    if refusal.kind == "too_many_bad_files":
        limit = min(1.0, math.ceil(100 * float(refusal.value)) / 100)
        reason = "training is refused because of the files that cannot be used: repair them, or leave them out"
        yield Suggestion("bad_files", f"data.max_bad_fraction={limit:g}", reason)
    elif refusal.kind == "untrained_classes" and data.protocol.split not in DRAWN:
        name = "grouped" if group_of(data.tracks).notna().any() else "random"
        yield Suggestion(
            "refusal",
            f"data/split={name}",
            f"{counted(refusal.value, 'genre has', 'genres have')} no training track; this draws a new split",
        )
    elif "=" in refusal.suggestion:
        yield Suggestion("refusal", refusal.suggestion, "training is refused otherwise")


def of_leaks(data: TrackData, keys: Collection[str]) -> Iterator[Suggestion]:
    """Splits that do not divide artists or copies, and the column that says who the artists are."""
    tracks, protocol = data.tracks, data.protocol
    artist = artists_of(tracks)
    names = {ARTISTS: artist, ALBUMS_OF_UNKNOWN_ARTISTS: albums_of_unknown_artists(tracks)}
    divided = {what: int((tracks.groupby(name).split.nunique() > 1).sum()) for what, name in names.items()}
    copies = int((tracks.groupby("checksum").split.nunique() > 1).sum())
    if any(divided.values()) and protocol.split != "grouped":
        counts = ", ".join(f"{n} of {counted(names[what].nunique(), *what)}" for what, n in divided.items() if n)
        verb = agreeing(sum(divided.values()), "has", "have")
        yield Suggestion("leak", "data/split=grouped", f"{counts} {verb} tracks in several splits")
    elif copies and protocol.split not in DRAWN:
        reason = f"{counted(copies, 'recording is', 'recordings are')} in several splits; a drawn split keeps copies together"
        yield Suggestion("leak", "data/split=random", reason)
    elif protocol.leaky != "no" and not any(divided.values()) and "group_column" in keys:
        unknown = int(artist.isna().sum())
        reason = (
            f"the artist is unknown for {unknown} of {counted(len(tracks), 'track')}; name the column of the artists"
        )
        yield Suggestion("unknown_artists", "data.group_column=COLUMN", reason)


def of_columns(columns: dict[str, Any] | None, data: TrackData) -> Iterator[Suggestion]:
    """Columns to leave out of a table."""
    if columns is None or not isinstance(data, TableSource):
        return
    reasons: dict[str, str] = {entry["column"]: entry["reason"] for entry in columns["suspicious"]}
    reasons |= {name: "is constant" for name in columns["constant"] if name not in reasons}
    for entry in columns["missing"]:
        if entry["fraction"] > MOSTLY_MISSING:
            reasons.setdefault(entry["column"], f"is missing in {100 * entry['fraction']:.0f} % of the rows")
    for pair in columns["correlated"]:
        first, second = pair["columns"]
        if abs(pair["r"]) >= COPY and first not in reasons:
            reasons.setdefault(second, f"repeats {first}")
    reasons = {name: reason for name, reason in reasons.items() if name not in data.keep_columns}
    if reasons:
        names = list(reasons)[:MAX_COLUMNS]
        override = f"data.ignore_columns={as_list([*data.ignore_columns, *names])}".replace("'", "'\\''")
        text = some([f"{name} {reasons[name]}" for name in names], 4)
        yield Suggestion("columns", f"'{override}'", text)


def of_balance(summary: dict[str, Any], data: TrackData, keys: Collection[str]) -> Iterator[Suggestion]:
    """Weights for classes of unequal size, and a limit for tiny ones."""
    ratio = summary["balance"]["ratio"] or 1.0
    if ratio >= IMBALANCED:
        reason = f"the largest genre has {ratio:.3g} times as many training tracks as the smallest"
        yield Suggestion("imbalance", "class_weight=balanced", reason)
        if isinstance(data, AudioData):
            alternative = "draws every genre equally often: an alternative to class_weight for networks over recordings"
            yield Suggestion("imbalance", "data.sampler=balanced", alternative)
    totals = {entry["name"]: entry["total"] for entry in summary["classes"]}
    small = [name for name, total in totals.items() if total < SMALL_CLASS]
    if small and len(totals) - len(small) >= 2 and "min_class_tracks" in keys:
        reason = f"genres with fewer than {SMALL_CLASS} tracks ({some(small)}): too few to learn and to score"
        yield Suggestion("small_classes", f"data.min_class_tracks={SMALL_CLASS}", reason)


def of_recordings(summary: dict[str, Any], data: TrackData, recordings: AudioData | None) -> Iterator[Suggestion]:
    """Clips that fit the recordings, and a sample rate that all of them have."""
    if recordings is None or recordings is not data:
        return
    short, total = recordings.count_short(), len(recordings.tracks)
    seconds = math.floor(10 * float(recordings.tracks.duration.quantile(SHORT))) / 10
    if short > SHORT * total and seconds >= 0.5:
        reason = f"{short} of {counted(total, 'recording')} {agreeing(short, 'is', 'are')} shorter than a clip of {recordings.clip_seconds:g} s and are repeated to fill it"
        yield Suggestion("short_recordings", f"data.clip_seconds={seconds:g}", reason)
    formats = summary["formats"]
    accuracy = formats["association"].get("sample rate", {}).get("balanced_accuracy", 0.0)
    chance = formats["chance"] or 1.0
    names = {rate for counts in formats["per_class"]["sample rate"].values() for rate in counts if rate != "unknown"}
    lowest = min((int(name.split()[0]) for name in names), default=recordings.sample_rate)
    if formats["tells_genre"] and accuracy - chance >= FORMAT_EFFECT * (1 - chance) and lowest < recordings.sample_rate:
        reason = f"the sample rate of the files tells the genre; at {lowest} Hz, that of the lowest, all have the same bandwidth"
        yield Suggestion("format", f"model.sample_rate={lowest}", reason)
