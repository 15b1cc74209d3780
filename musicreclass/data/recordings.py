"""Data that reads recordings: which files there are, which can be used, and their crops as batches."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musicreclass.data.audio.sound_digest import content_digest
from musicreclass.data.class_map import nothing_mapped
from musicreclass.data.crops import ClipBatches, EvenCrops, RandomCrop
from musicreclass.data.format_check import MARK as FORMAT_MARK
from musicreclass.data.format_check import FormatScores, format_caution, score_formats
from musicreclass.data.leaks import NEAR_AUDIO, Protocol, shared_near_groups
from musicreclass.data.recording_files import Recordings as Recordings  # for classes of users
from musicreclass.data.recording_files import digests, is_missing
from musicreclass.data.recording_notes import SHOWN, bad_file_counts, copy_notes, level_notes, named_bad_files
from musicreclass.data.sampling import LoaderSettings, TrackSampler, balancing_weights
from musicreclass.data.splits import check_protocol
from musicreclass.data.targets import each_label, named_alike, small_tags_note, without_labels
from musicreclass.data.track_data import TrackData, check_returned
from musicreclass.data.tracks import make_tracks, some, unify_copies
from musicreclass.data.verification.records import near_groups
from musicreclass.data.waveforms import Decoded, Waveforms, open_waveforms
from musicreclass.errors import DataError, DatasetNotFoundError
from musicreclass.evaluation.tag_sets import has_tag_sets, target_text
from musicreclass.hardware.machine import cores
from musicreclass.plurals import counted
from musicreclass.storage.store import Store
from musicreclass.storage.versions import FileVersion

NOT_COMPARED = "copies in other encodings were not looked for"
COMPARED = "no copies in other encodings are in two splits"
NOT_SHORT = 0.99  # of a clip; decoders differ by a few samples in the length of a recording


class AudioData(TrackData):
    """A source of recordings; a subclass lists them in `find`. See docs/datasets.md.

    Args:
        split: the protocol, as in conf/data/split/.
        store: folder of the store; required.
        sample_rate: of the crops, Hz; conf/ takes it from the model.
        cache: `waveform` decodes all recordings once, into the store; `none` decodes each crop when it is needed.
        clip_seconds: length of a clip; a shorter recording is repeated to fill it.
        eval_crops: evenly spaced crops per track, the probabilities of which are averaged.
        eval_crop_position: position of a single crop: the `middle` of a track, or its `start`.
        sampler: `none` draws each training track once per epoch; `balanced` draws as many tracks, every class equally often.
        on_bad_file: `skip` leaves out files that cannot be used, and counts them; `error` rejects the data.
        max_bad_fraction: largest fraction of the files of a split that may be left out.
        min_seconds: a shorter recording is a bad file.
        min_class_tracks: classes with fewer tracks are left out, and counted.
        max_tracks: use this many tracks of each split, balanced over classes; None uses all. For debugging.
        workers: threads that decode; `auto` is one per processor that this process may use.

    Attributes:
        waveforms: the samples of the recordings.
        recording: index in `waveforms` of each track, int64.
        versions: of all files, when they were found; by the same index.
        rejected: further files that cannot be used, by path, with the reason and its details.
        format_scores: how well the format of the training tracks tells their genre; None if there are too few.
        is_verified: whether exactly these files were verified, so that near-copies are known.
    """

    provides = ("waveform",)

    def __init__(
        self,
        split: dict[str, Any],
        store: str | None = None,
        sample_rate: int = 22050,
        cache: str = "waveform",
        clip_seconds: float = 5.0,
        eval_crops: int = 3,
        eval_crop_position: str = "middle",
        sampler: str = "none",
        on_bad_file: str = "skip",
        max_bad_fraction: float = 0.05,
        min_seconds: float = 1.0,
        min_class_tracks: int = 1,
        max_tracks: int | None = None,
        workers: int | str = "auto",
    ) -> None:
        super().__init__(split)
        if store is None:
            raise DataError(
                f"{type(self).__name__}: data.store is missing; add _audio to the defaults list of the data's YAML file, which "
                "sets it and the other settings of recordings",
                kind="missing_value",
                key="data.store",
                suggestion="_audio",
            )
        self.store = Store(Path(store).expanduser())
        self.sample_rate = sample_rate
        self.cache = cache
        self.clip_seconds, self.eval_crops, self.eval_crop_position = clip_seconds, eval_crops, eval_crop_position
        self.sampler = sampler
        self.on_bad_file, self.max_bad_fraction, self.min_seconds = on_bad_file, max_bad_fraction, min_seconds
        self.min_class_tracks, self.max_tracks = min_class_tracks, max_tracks
        self.workers = cores()[0] if isinstance(workers, str) else workers
        self.waveforms: Waveforms = Decoded([], sample_rate, np.empty(0, np.int64), {}, [])
        self.recording = np.empty(0, np.int64)
        self.versions: list[FileVersion | None] = []
        self.rejected: dict[str, tuple[str, str]] = {}
        self.format_scores: FormatScores | None = None
        self.is_verified = False
        self._files: list[Path] = []

    @abstractmethod
    def find(self) -> Recordings:
        """The recordings on disk."""

    def files(self) -> list[Path]:
        """The folders, recordings and sources; empty if the sources are unknown, or if other permissions or an ffmpeg would
        make more recordings usable."""
        repairable = {"needs ffmpeg", "cannot be read"} & set(self.waveforms.bad.values())
        return [] if repairable else self._files

    def setup(self, stage: str | None = None) -> None:
        """Find the recordings, leave out bad files, and split. Calling it again does nothing."""
        if len(self.tracks):
            return
        recordings = self.read_recordings()
        if recordings.sources is not None:
            self._files = [*recordings.sources, *recordings.folders, *recordings.paths]
        tracks = self._open(recordings)
        tracks["target"], notes = named_alike(tracks.target)
        self.notes += notes
        usable = self._without_bad(tracks, self.waveforms.bad)
        unlabelled = usable & tracks.target.isna().to_numpy()
        if unlabelled.any():
            self.dropped["without a label"] = self.dropped.get("without a label", 0) + int(unlabelled.sum())
            usable &= ~unlabelled
        count = each_label(tracks.target[usable]).value_counts()
        small = set(count.index[count < self.min_class_tracks])
        if has_tag_sets(tracks.target) and small:
            tracks["target"] = without_labels(tracks.target, small)
            self.notes.append(small_tags_note(small, self.min_class_tracks))
        in_small_class = usable & tracks.target.isin(small).to_numpy()
        if in_small_class.any():
            self.dropped[f"of classes with fewer than {self.min_class_tracks} tracks"] = int(in_small_class.sum())
        self.recording = np.flatnonzero(usable & ~in_small_class)
        self._set_tracks(tracks.iloc[self.recording], recordings.split_name)
        if self.max_tracks is not None:
            self._limit(self.max_tracks)
        self.notes += level_notes(self.tracks, self.recording, self.waveforms.levels)
        self._note_copies()
        self._check_format()

    def read_recordings(self) -> Recordings:
        """The recordings on disk, checked, with the classes that the class map gives and without those that it leaves out.

        Raises:
            DatasetNotFoundError: if there are none.
            DataError: if the split is not one of the data, or the class map does not name a class, or leaves nothing.
        """
        recordings = self.find()
        check_returned(recordings, Recordings, f"{type(self).__name__}.find")
        if not recordings.paths:
            folder = some(recordings.folders, 1) or type(self).__name__
            raise DatasetNotFoundError(f"{folder}: contains no recordings", kind="no_recordings", key=folder)
        check_protocol(self.split.protocol, recordings.split_name)  # before anything is decoded
        self.dropped, self.notes = dict(recordings.dropped), list(recordings.notes)
        if self.class_map is None:
            return recordings
        target, left_out = self._mapped(recordings.target, recordings.track_id)
        if left_out.all():
            raise nothing_mapped(self.class_map)
        return replace(recordings, target=target).select(np.flatnonzero(~left_out))

    def reject(self, reasons: dict[str, tuple[str, str]]) -> None:
        """Count further files as bad; the next call of `setup` splits the others again.

        Args:
            reasons: the reason and its details, by path.
        """
        self.rejected |= reasons
        self.tracks = make_tracks([], [])

    def _note_copies(self) -> None:
        """Say which recordings are there twice, and which may be."""
        notes, divided = copy_notes(self.tracks)
        self.notes += notes
        if divided is not None:
            self._add_caution("files of one name", divided)
        self.protocol = self._with_near_copies()

    def _with_near_copies(self) -> Protocol:
        """The protocol with near-copies in several splits, if exactly these files were verified."""
        protocol = self.protocol
        if not self.is_verified:
            return replace(protocol, why=[*protocol.why, NOT_COMPARED])
        if "copy_group" in self.tracks:
            near = self.tracks.track_id[self.tracks.copy_group.notna()].tolist()
            self.notes.append(
                f"{counted(len(near), 'recording is', 'recordings are')} near-copies of others ({some(near)}): a drawn split keeps them together"
            )
        lines = shared_near_groups(self.tracks)
        protocol = protocol.with_leaks(lines, NEAR_AUDIO)
        return protocol if lines else replace(protocol, why=[*protocol.why, COMPARED])

    def published_checksums(self) -> dict[Path, str]:
        """The SHA-1 of files as published, by path; empty if none are known."""
        return {}

    def published_faults(self) -> dict[str, str]:
        """Clips known to be damaged in published copies of the dataset, with the fault, by track id."""
        return {}

    def _check_format(self) -> None:
        """Say if the format of the training tracks tells their genre; not done for sets of tags."""
        if self.is_multi:
            return
        train = self.tracks[self.tracks.split == "train"]
        paths, recording = [Path(path) for path in train.path], self.recording[train.index]
        target, group = train.target.to_numpy(object), train.group.to_numpy(object)
        scores = score_formats(paths, target, group, self.waveforms, recording, self.clip_samples, self.store)
        self.format_scores, text = scores, format_caution(scores)
        if text is not None:
            self._add_caution(FORMAT_MARK, text)

    def _open(self, recordings: Recordings) -> pd.DataFrame:
        """Open the waveforms, and make the Tracks table of all recordings."""
        paths = recordings.paths
        missing = {i for i, path in enumerate(paths) if is_missing(path)}  # before anything that takes time
        versions = [FileVersion.of(path) for path in paths]  # of which the checksums are
        sums = digests(paths, self.store)
        sounds = digests(paths, self.store, content_digest, "contents")
        contents = "\0".join(s or str(p) for s, p in zip(sums, paths, strict=True))
        key = hashlib.sha256(contents.encode()).hexdigest()
        tracks = make_tracks(
            recordings.track_id,
            recordings.target,
            path=[str(p) for p in paths],
            checksum=sums,
            content=sounds,
            **recordings.metadata,
        )
        tracks = unify_copies(tracks)
        groups = near_groups(self.store, sums)
        self.is_verified = groups is not None
        if groups:
            tracks["copy_group"] = pd.Series([groups.get(s or "") for s in sums], dtype=object)
        self.waveforms = open_waveforms(
            paths, self.sample_rate, self.store, self.cache == "waveform", key, self.workers, self.min_seconds, missing,
            versions,
        )  # fmt: skip
        for i, path in enumerate(tracks.path):
            if path in self.rejected:
                self.waveforms.bad.setdefault(i, self.rejected[path][0])
        self.versions = versions
        tracks["duration"] = self.waveforms.lengths / self.sample_rate
        return tracks

    def _without_bad(self, tracks: pd.DataFrame, bad: dict[int, str]) -> np.ndarray:
        """Which recordings can be used, bool (n,). The others are counted and named, and rejected if there are too many."""
        usable = np.ones(len(tracks), bool)
        usable[list(bad)] = False
        if not bad:
            return usable
        named = named_bad_files(tracks, bad, {path: detail for path, (_, detail) in self.rejected.items()})
        if self.on_bad_file == "error":
            message = (
                f"{counted(len(bad), 'file')} cannot be used ({named}) and data.on_bad_file=error; skip leaves them out"
            )
            raise DataError(message, kind="bad_files", key="data.on_bad_file", value=len(bad))
        for reason, count in bad_file_counts(bad).items():
            self.dropped[reason] = self.dropped.get(reason, 0) + count
        self.bad_files = {tracks.path[i]: reason for i, reason in bad.items()}
        self.notes.append(f"bad files: {named}" + ("; all are in bad_files.csv" if len(bad) > SHOWN else ""))
        for split, rows in tracks.assign(split=tracks.split.fillna("data")).groupby("split").indices.items():
            fraction = float((~usable[rows]).mean())
            if fraction > self.max_bad_fraction:
                raise DataError(
                    f"{100 * fraction:.1f} % of the {split} files cannot be used ({named}), more than "
                    f"data.max_bad_fraction={self.max_bad_fraction} allows: repair them, or raise it",
                    kind="too_many_bad_files",
                    key="data.max_bad_fraction",
                    value=fraction,
                )
        return usable

    def _limit(self, limit: int) -> None:
        """Use only this many tracks of each split: the first of each class, then the second, and so on."""
        tracks = self.tracks.assign(target=self.tracks.target.map(target_text))
        turn = tracks.groupby(["split", "target"]).cumcount()
        order = tracks.assign(turn=turn).sort_values(["turn", "target"], kind="stable")
        rows = np.sort(order.groupby("split").head(limit).index.to_numpy())
        self.dropped[f"beyond data.max_tracks={limit}"] = len(self.tracks) - len(rows)
        self.tracks, self.recording = self.tracks.iloc[rows].reset_index(drop=True), self.recording[rows]

    @property
    def clip_samples(self) -> int:
        """Samples per clip."""
        return round(self.clip_seconds * self.sample_rate)

    def count_short(self) -> int:
        """Number of recordings that are shorter than a clip by more than 1 %."""
        return int((self.waveforms.lengths[self.recording] < NOT_SHORT * self.clip_samples).sum())

    def split_rows(self, split: str) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Track ids, rows of the Tracks table (n,) and `class_numbers` of a split or of `all`."""
        rows = np.flatnonzero(((self.tracks.split == split) | (split == "all")).to_numpy())
        return self.tracks.track_id.iloc[rows].tolist(), rows, self.class_numbers(split)[rows]

    def train_loader(self, settings: LoaderSettings) -> ClipBatches:
        """Effective batches of one crop per track, with order and positions drawn from (seed, epoch, track)."""
        _, rows, y = self.split_rows("train")
        weights = None if self.sampler == "none" else balancing_weights(y)
        sampler = TrackSampler(len(y), settings.seed, weights)
        crops = RandomCrop(int(np.ceil(self.clip_samples * settings.crop_factor)), settings.seed, sampler)
        return ClipBatches(self, rows, y, crops, settings.batch_size, settings, sampler)

    def scoring_loader(
        self, split: str, settings: LoaderSettings, crops: int | None = None, limit: int | None = None
    ) -> ClipBatches:
        """Batches of evenly spaced crops of each track, in the order of the table.

        Args:
            split: `train`, `valid`, `test` or `all`.
            settings: `batch_size` counts crops.
            crops: number of crops per track; None for `eval_crops`.
            limit: use at most this many tracks, evenly spaced over the split.
        """
        _, rows, y = self.split_rows(split)
        if limit is not None and limit < len(rows):
            chosen = np.linspace(0, len(rows) - 1, limit).astype(int)
            rows, y = rows[chosen], y[chosen]
        crops = crops or self.eval_crops
        even = EvenCrops(self.clip_samples, crops, self.eval_crop_position)
        return ClipBatches(self, rows, y, even, max(1, settings.batch_size // crops), settings)
