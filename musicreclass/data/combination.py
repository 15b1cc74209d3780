"""The base class of combined datasets: ids with the name of the dataset, classes and artists that agree, leaks across datasets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

import pandas as pd

from musicreclass.data.class_map import fitting_class_map
from musicreclass.data.groups import artists_of
from musicreclass.data.leaks import Protocol, find_leaks, splits_of_unknown_artists
from musicreclass.data.names import artist_key, class_key, vocabulary_form
from musicreclass.data.recording_files import Recordings
from musicreclass.data.splits import assign_splits
from musicreclass.data.table_source import FeatureTable
from musicreclass.data.targets import each_label, named_alike
from musicreclass.data.track_data import TrackData
from musicreclass.data.tracks import as_targets, some, to_text
from musicreclass.errors import DataError
from musicreclass.plurals import agreeing, counted

PARTS = "parts"  # the protocol that uses each part's split
ONE_DATASET = "classes of one dataset"  # a caution
VOCABULARIES = ("group", "album")  # columns in which the numbers of a dataset mean nothing in another


def split_id(track_id: str) -> tuple[str, str]:
    """The dataset of a track of combined datasets, and its id there."""
    dataset, _, without = track_id.partition("/")
    return dataset, without


def are_incomparable(form: str | None, other: str | None, shared: set[str]) -> bool:
    """Whether the artists of two datasets cannot be compared, given the forms of both (`vocabulary_form`) and what they share."""
    if form is None or other is None:
        return False
    return form != other or form == "numbers" or (form == "codes" and not shared)


class CombinedTracks(TrackData):
    """What combined recordings and combined tables have in common.

    Attributes:
        parts: the datasets by name.
        split_names: the protocol name of each part's own split.
        incomparable: why artists cannot be compared across datasets, one line for each pair of which that is so.
    """

    parts: Mapping[str, TrackData]

    def _set_parts(self, parts: Mapping[str, TrackData], kind: type[Any]) -> None:
        """Take the parts.

        Raises:
            DataError: if there is none, or one is of another kind.
        """
        wrong = [name for name, part in parts.items() if not isinstance(part, kind)] if parts else ["none"]
        if wrong:
            line = f"data.parts: must be datasets that provide a {kind.provides[0]}, not {some(wrong)}"
            raise DataError(line, "input_mismatch", "data.parts", wrong)
        self.parts = parts
        self.split_names: dict[str, str] = {}
        self.incomparable: list[str] = []

    def prepare_data(self) -> None:
        """Prepare each part."""
        for part in self.parts.values():
            part.prepare_data()

    def datasets(self) -> set[str]:
        """Those of all parts."""
        return set().union(*(part.datasets() for part in self.parts.values()))

    def source(self) -> str:
        """The names of the parts' sources."""
        return ", ".join(name for part in self.parts.values() if (name := part.source()))

    def _take_over(self, targets: dict[str, Any]) -> tuple[dict[str, int], list[str]]:
        """Check the classes of the parts that were read, and take over what these say about themselves.

        Args:
            targets: the classes of each part's rows.

        Returns:
            numbers of tracks that were left out, by part and reason, and notes.
        """
        self._check_classes({name: each_label(named_alike(as_targets(target))[0]) for name, target in targets.items()})
        parts = self.parts.items()
        self.incomplete = "; ".join(f"{name}: {part.incomplete}" for name, part in parts if part.incomplete)
        for name, part in parts:
            self.cautions |= {mark: f"{name}: {text}" for mark, text in part.cautions.items()}
        dropped = {f"{reason} ({name})": count for name, part in parts for reason, count in part.dropped.items()}
        return dropped, [f"{name}: {note}" for name, part in parts for note in part.notes]

    def _check_classes(self, targets: dict[str, pd.Series[Any]]) -> None:
        """Reject a part without a class map that has classes of its own and lacks those of the others.

        Raises:
            DataError: if there is one.
        """
        if self.class_map is not None:
            return
        classes = {name: {class_key(c): c for c in target.dropna().unique()} for name, target in targets.items()}
        for name, labels in classes.items():
            others = {key: c for other, theirs in classes.items() if other != name for key, c in theirs.items()}
            extra, missing = (
                sorted(labels[k] for k in labels.keys() - others),
                sorted(others[k] for k in others.keys() - labels),
            )
            if self.parts[name].class_map is not None or not extra or not missing:
                continue
            raise DataError(
                f"data=[{','.join(classes)}]: {name} has the classes {some(extra, 6)}, which the others do not have, and lacks "
                f"{some(missing, 6)}: {self._remedy(classes)}",
                kind="different_classes",
                key=f"data.parts.{name}.class_map",
                value=extra,
                suggestion=self._fitting(classes) or f"data.parts.{name}.class_map=FILE",
            )

    def _remedy(self, classes: dict[str, dict[Any, str]]) -> str:
        override = self._fitting(classes)
        return f"set {override}" if override else "name their classes alike with data.parts.NAME.class_map=FILE"

    def _fitting(self, classes: dict[str, dict[Any, str]]) -> str:
        """The override that names a class map of this project that makes the classes agree; empty if there is none."""
        for name, labels in classes.items():
            others = [c for other, theirs in classes.items() if other != name for c in theirs.values()]
            if self.parts[name].class_map is None and (name_of_map := fitting_class_map([*labels.values()], others)):
                return f"data.parts.{name}.class_map={name_of_map}"
        return ""

    def _metadata(
        self, parts: Mapping[str, Recordings | FeatureTable], columns: tuple[str, ...]
    ) -> dict[str, list[Any]]:
        """The columns of the Tracks table that any part has, with None where a part has none.

        Numbers of artists and albums get the name of their dataset, since they mean nothing in another. Artists that are
        numbered and have names too (`artist_names`) get the name if another dataset has that artist.
        """
        values = {
            name: {c: to_text(part.metadata.get(c), index=range(len(part.track_id))) for c in columns}
            for name, part in parts.items()
        }
        names = {name: to_text(parts[name].artist_names, index=range(len(parts[name].track_id))) for name in parts}
        artists = {
            name: names[name].where(names[name].notna(), columns_of["group"]) for name, columns_of in values.items()
        }
        keys = {name: set(series.dropna().map(artist_key).dropna()) for name, series in artists.items()}
        forms = {name: vocabulary_form(artist_keys) for name, artist_keys in keys.items()}
        self.incomparable = [
            f"the artists of {a} are {forms[a]}, those of {b} {forms[b]}: they cannot be compared"
            for a, b in combinations(forms, 2)
            if are_incomparable(forms[a], forms[b], keys[a] & keys[b])
        ]
        for name, columns_of in values.items():
            for column in VOCABULARIES:
                if vocabulary_form(set(columns_of[column].dropna())) == "numbers":
                    columns_of[column] = columns_of[column].map(lambda v, name=name: f"{name}:{v}", na_action="ignore")
            others = set().union(*(artist_keys for other, artist_keys in keys.items() if other != name))
            shared = names[name].map(lambda v, others=others: artist_key(v) in others, na_action="ignore").eq(True)
            columns_of["group"] = columns_of["group"].where(~shared, names[name])
        combined = {c: pd.concat([columns_of[c] for columns_of in values.values()]).tolist() for c in columns}
        return {c: column for c, column in combined.items() if any(v is not None for v in column)}

    def _set_tracks(self, tracks: pd.DataFrame, split_name: str = PARTS) -> None:
        """As of every source; each track is marked with its dataset, and classes of one dataset with a caution."""
        super()._set_tracks(tracks.assign(dataset=[split_id(track_id)[0] for track_id in tracks.track_id]), split_name)
        labels = each_label(self.tracks.target)
        per_class = self.tracks.dataset.loc[labels.index].groupby(labels.to_numpy()).agg(["nunique", "first"])
        single = per_class[per_class["nunique"] == 1]
        if self.tracks.dataset.nunique() > 1 and len(single):
            shown = some([f"{name} ({dataset})" for name, dataset in single["first"].items()], 6)
            text = f"{len(single)} of {counted(len(per_class), 'class')} {agreeing(len(single), 'is', 'are')} in one dataset only: {shown}; the sound of the dataset tells them"
            self._add_caution(ONE_DATASET, text)

    def _assign_splits(self, tracks: pd.DataFrame, split_name: str) -> tuple[str, pd.Series[str]]:
        """Each part's own split, as if it were used alone, or one split of all tracks."""
        if self.split.protocol not in ("auto", PARTS):
            return assign_splits(tracks, self.split, split_name)
        splits = pd.Series("", index=tracks.index, dtype=object)
        for name, rows in tracks.groupby("dataset", sort=False):
            part, split_name_of_part = self.parts[str(name)], self.split_names[str(name)]
            renamed = rows.assign(track_id=[split_id(track_id)[1] for track_id in rows.track_id])
            protocol, splits[rows.index] = assign_splits(renamed, part.split, split_name_of_part)
            self.split_names[str(name)] = protocol
        return PARTS, splits

    def _find_leaks(self, tracks: pd.DataFrame, name: str) -> Protocol:
        """The leaks within and across the parts; a part's limit of unknown artists applies to its own tracks."""
        shown = name
        if name == PARTS:
            shown = " + ".join(f"{part} {protocol}" for part, protocol in self.split_names.items())
        protocol = find_leaks(tracks, shown, max_unknown=1.0)
        if protocol.leaky != "no":
            return protocol
        why = []
        unknown = artists_of(tracks).isna()
        for part, rows in tracks.groupby("dataset", sort=False):
            limit = self.parts[str(part)].max_unknown_artists
            if doubtful := splits_of_unknown_artists(rows, unknown[rows.index], limit):
                why.append(
                    f"{part}: too many tracks of unknown artist: {', '.join(doubtful)}; at most {100 * limit:g} % may be"
                )
        why += self.incomparable
        return replace(protocol, leaky="unknown", why=[*protocol.why, *why]) if why else protocol
