"""The base class of all sources: tracks that are labelled and split."""

from __future__ import annotations

import hashlib
import inspect
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musicreclass.config.settings.data import SPLITS
from musicreclass.data.class_map import ClassMap
from musicreclass.data.groups import group_of
from musicreclass.data.leaks import MAX_UNKNOWN_ARTISTS, Protocol, find_leaks
from musicreclass.data.names import artist_notes, class_key
from musicreclass.data.split_checks import check_splits
from musicreclass.data.splits import Split, assign_splits
from musicreclass.data.targets import each_label, regrouped
from musicreclass.data.tracks import COLUMNS, as_targets, make_tracks, some, to_text
from musicreclass.errors import DataError
from musicreclass.evaluation.tag_sets import class_numbers, has_tag_sets
from musicreclass.plurals import agreeing, counted
from musicreclass.storage.store import Store

ATTRIBUTES = {"tracks": pd.DataFrame, "split": Split, "store": Store, "provides": tuple}  # of a TrackData


def check_returned(value: Any, kind: type, method: str) -> None:
    """Check what a method of a subclass returned.

    Raises:
        DataError: if it is not of this class.
    """
    if not isinstance(value, kind):
        raise DataError(
            f"{method}: must return {kind.__name__}, not {type(value).__name__}", kind="wrong_return", key=method
        )


def check_attribute(cls: type, inherited: Any, name: str, value: Any) -> None:
    """Check that an attribute of a TrackData does not replace one that the base classes need.

    Args:
        cls: the class that sets it.
        inherited: the attribute of that name in the class, or in its base classes; None if there is none.
        name: of the attribute.
        value: its new value.

    Raises:
        DataError: if the value hides a method, or is not of the type in `ATTRIBUTES`.
    """
    method = inspect.isfunction(inherited) and not name.startswith("__")
    hidden = method and not (callable(value) or isinstance(value, (classmethod, staticmethod)))
    kind = ATTRIBUTES.get(name)
    replaced = kind is not None and not isinstance(value, (kind, property))
    if hidden or replaced:
        rule = "is a method of the base class; rename your attribute"
        if kind is not None and not hidden:
            rule = f"must be a {kind.__name__}, not {value!r:.60}; if you need it for something else, rename your attribute"
        raise DataError(f"{cls.__name__}.{name}: {rule}", kind="reserved_name", key=name)


class TrackData(ABC):
    """A source of labelled tracks, split into train, valid and test.

    A subclass passes its tracks to `_set_tracks` in `setup`; everything else here derives from them. It may not replace a
    method, such as `labels`, by a value, nor one of `ATTRIBUTES` by a value of
    another type.

    Attributes:
        provides: the contents of a batch: `waveform`, `table`, or both.
        is_multi: whether the target of a track is a set of tags, as the source gives them.
        dataset: the published dataset of the tracks, such as `gtzan`; empty for any other.
        max_unknown_artists: fraction of the tracks of a split that may have no known artist if the split is to count as
            free of leaks.
        tracks: the Tracks table of the tracks in use.
        classes: the class names, sorted, followed by those that only test has; a class number is an index into this list.
        learned_classes: the number of classes that train or valid has; a network has an output for each of them.
        protocol: the split's name, and whether it leaks.
        dropped: number of tracks left out, by reason.
        bad_files: why a file cannot be used, by path.
        notes: other facts that readers of the results need, one line each.
        cautions: what may make the scores too high, as a short mark -> details; part of the protocol.
        class_map: gives the classes other names before the tracks are split; None for none.
        needs: the splits that must not be empty; none for data that is only scored.
        allow_untrained_classes: whether classes that are scored may lack training tracks.
        incomplete: how much of a published dataset was found, as a note; empty if all of it was, or its size is not known.
    """

    provides: tuple[str, ...] = ()
    is_multi = False
    dataset = ""
    max_unknown_artists = MAX_UNKNOWN_ARTISTS

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name, value in vars(cls).items():
            check_attribute(cls, getattr(super(cls, cls), name, None), name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        check_attribute(type(self), getattr(type(self), name, None), name, value)
        super().__setattr__(name, value)

    def __init__(self, split: dict[str, Any]) -> None:
        self.split = Split(**split)
        self.tracks = make_tracks([], [])
        self.classes: list[str] = []
        self.learned_classes = 0
        self.protocol = Protocol(split=self.split.protocol, leaky="unknown", why=[])
        self.dropped: dict[str, int] = {}
        self.bad_files: dict[str, str] = {}
        self.notes: list[str] = []
        self.cautions: dict[str, str] = {}
        self.class_map: ClassMap | None = None
        self.needs: tuple[str, ...] = ("train", "valid")
        self.allow_untrained_classes = False
        self.incomplete = ""

    def prepare_data(self) -> None:  # noqa: B027
        """Get what `setup` reads; nothing, by default."""

    @abstractmethod
    def setup(self, stage: str | None = None) -> None:
        """Read the tracks and split them; `stage` is that of Lightning's DataModules, and unused here."""

    def missing_archives(self) -> list[str]:
        """The archives of `download.archives` that this source needs and does not find; none for data that is not published."""
        return []

    def _set_tracks(self, tracks: pd.DataFrame, split_name: str = "column") -> None:
        """Split these tracks, check the splits, and look for leaks.

        Raises:
            DataError: if there are too few tracks or classes for training.
        """
        if len(tracks) == 0:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items() if count)
            raise DataError(
                f"no usable tracks are left ({reasons or 'the source is empty'})", kind="no_tracks", key="data"
            )
        self.is_multi = has_tag_sets(tracks.target)
        self.classes = sorted(set(each_label(tracks.target)))
        if not self.classes:
            raise DataError("no track has a label; at least one class is needed", kind="no_labels", key="data")
        if len(self.classes) < 2 and self.needs and not self.is_multi:
            raise DataError(
                f"the data contains only one class ({self.classes[0]}); at least two are needed",
                kind="one_class",
                key="data",
                value=self.classes[0],
            )
        tracks = tracks.reset_index(drop=True)
        self.notes += [self.incomplete] if self.incomplete else []
        self.notes += artist_notes(tracks.group)
        name, tracks["split"] = self._assign_splits(tracks, split_name)
        n_unknown = int(group_of(tracks).isna().sum()) if name == "grouped" else 0
        if n_unknown:
            self.notes.append(
                f"{counted(n_unknown, 'track')} of unknown artist {agreeing(n_unknown, 'is', 'are')} in train, as data/split=grouped requires"
            )
        check_splits(
            tracks,
            name,
            self.needs,
            drawn=name != split_name,
            needs_test=self.split.test > 0,
            allow_untrained_classes=self.allow_untrained_classes,
            incomplete=self.incomplete,
        )
        self.tracks = tracks
        if self.needs:  # classes that only test has must not change what is learned: they come last
            learned = set(each_label(tracks.target[tracks.split != "test"]))
            self.classes.sort(key=lambda name: (name not in learned, name))
            self.learned_classes = len(learned)
            if unseen := self.classes[len(learned) :]:
                self.notes.append(
                    f"only test has tracks of {', '.join(unseen)}: no model predicts them"
                    + ("" if self.is_multi else ", all count as errors")
                )
        protocol = self._find_leaks(tracks, name)
        self.protocol = replace(protocol, cautions={**self.cautions, **protocol.cautions})
        for split in SPLITS:
            present = set(each_label(tracks.target[tracks.split == split]))
            absent = sorted(set(self.classes) - present)
            if present and absent and self.needs:
                effect = "the means leave them out" if self.is_multi else f"their {split} scores count as 0"
                self.notes.append(f"no {split} tracks of {', '.join(absent)}: {effect}")

    def _assign_splits(self, tracks: pd.DataFrame, split_name: str) -> tuple[str, pd.Series[str]]:
        """The protocol that applies, and each track's split; see `assign_splits`."""
        return assign_splits(tracks, self.split, split_name)

    def _find_leaks(self, tracks: pd.DataFrame, name: str) -> Protocol:
        """The protocol with the leaks of the splits; see `find_leaks`."""
        return find_leaks(tracks, name, self.max_unknown_artists)

    def datasets(self) -> set[str]:
        """The published datasets of the tracks; of others, an empty name."""
        return {self.dataset}

    def _mapped(self, target: Any, track_id: Any) -> tuple[list[Any], np.ndarray]:
        """The targets that the class map gives, and which rows it leaves out, bool (n,); these are counted by class.

        Args:
            target: class names as in the source.
            track_id: of each row; several rows of a table may be of one track.

        Raises:
            DataError: if the class map does not name a class.
        """
        targets = as_targets(target)
        if self.class_map is None:
            return targets.tolist(), np.zeros(len(targets), bool)
        if has_tag_sets(targets):
            return self._mapped_tags(targets, self.class_map), np.zeros(len(targets), bool)
        labels = targets
        mapped = self.class_map.map_targets(labels)
        labelled = labels.map(class_key, na_action="ignore").notna()
        left_out = mapped.isna() & labelled
        ids = pd.Series(np.asarray(track_id, dtype=object), index=labels.index)
        for name, count in ids[left_out].groupby(labels[left_out]).nunique().items():
            self.dropped[f"of the class {name}, which the class map {self.class_map.name} leaves out"] = int(count)
        renamed = {f"{s} as {t}" for s, t in zip(labels[mapped.notna()], mapped.dropna(), strict=True) if s != t}
        if renamed:
            self.notes.append(f"classes by the class map {self.class_map.name}: {some(sorted(renamed), 20)}")
        return mapped.tolist(), left_out.to_numpy()

    def _mapped_tags(self, targets: pd.Series[Any], class_map: ClassMap) -> list[Any]:
        """Sets of tags with those that the class map gives; what it leaves out is counted as a note."""
        tags = to_text(targets.explode().reset_index(drop=True))
        mapped = class_map.map_targets(tags)
        left_out = sorted(set(tags[mapped.isna()].dropna()))
        if left_out:
            self.notes.append(
                f"the class map {class_map.name} leaves out {counted(len(left_out), 'tag')} ({some(left_out)})"
            )
        renamed = {f"{s} as {t}" for s, t in zip(tags[mapped.notna()], mapped.dropna(), strict=True) if s != t}
        if renamed:
            self.notes.append(f"tags by the class map {class_map.name}: {some(sorted(renamed), 20)}")
        return regrouped(mapped, targets).tolist()

    def _add_caution(self, mark: str, details: str) -> None:
        """Add a caution after the tracks were split."""
        self.cautions[mark] = details
        self.protocol = replace(self.protocol, cautions={**self.protocol.cautions, mark: details})

    def files(self) -> list[Path]:
        """The files and folders that were read: as long as none of them changes, the fingerprint of a source of this package is
        not computed again. Empty, the default, if they are not known."""
        return []

    def source(self) -> str:
        """The name of the tracks' source, if the name of the chosen option does not identify it."""
        return ""

    def class_numbers(self, split: str) -> np.ndarray:
        """`class_numbers` of all tracks; for train and valid, which a model learns from, without the tags that only test has."""
        numbers = class_numbers(self.tracks.target, self.classes)
        learns = self.is_multi and split in ("train", "valid") and self.learned_classes > 0
        return numbers[:, : self.learned_classes] if learns else numbers

    def size(self, split: str) -> int:
        """Number of tracks of a split, or of `all`."""
        return len(self.tracks) if split == "all" else int((self.tracks.split == split).sum())

    def row_count(self, split: str) -> int:
        """Number of examples that a loader of a split yields in an epoch: its tracks, or the rows of a table of segments."""
        return self.size(split)

    def labels(self) -> pd.DataFrame:
        """`track_id`, `target` and `group` of every track, needed to score predictions."""
        return self.tracks.assign(group=group_of(self.tracks))[["track_id", "target", "group"]]

    def fingerprint(self) -> str:
        """A hash of everything that a model can learn from or be scored on: here, of the Tracks table."""
        digest = hashlib.sha256()
        for column in COLUMNS:
            if column not in ("path", "duration", "content"):
                digest.update(f"{column}\0".encode())
                digest.update("\0".join("" if v is None else str(v) for v in self.tracks[column]).encode())
        return digest.hexdigest()
