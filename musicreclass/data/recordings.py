"""Recordings: where they lie, which can be used, and how they are split.

An own source of audio subclasses `AudioData` and says in `find` which recordings there are.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musicreclass.data.crops import ClipBatches, EvenCrops, RandomCrop
from musicreclass.data.sampling import TrackSampler
from musicreclass.data.tracks import TrackData, make_tracks, some
from musicreclass.data.waveforms import Decoded, Waveforms, open_waveforms
from musicreclass.errors import DataError, DatasetNotFoundError
from musicreclass.hardware.machine import cores
from musicreclass.hardware.profile import PREFETCH
from musicreclass.storage.store import Store, file_digests


@dataclass
class Recordings:
    """What a source of audio has found.

    Attributes:
        paths: one file per recording.
        track_id, target: as in `make_tracks`.
        known: further columns of the Tracks table: `split`, `group`, `album`.
        own_split: what the data calls the split in `known`.
        folders: where it looked, so that a file added later is noticed.
        sources: other files that were read, such as tracks.csv.
        dropped, notes: as in `TrackData`.
    """

    paths: list[Path]
    track_id: list[str]
    target: list[str]
    known: dict[str, Any] = field(default_factory=dict)
    own_split: str = "column"
    folders: list[Path] = field(default_factory=list)
    sources: list[Path] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class AudioData(TrackData):
    """A DataModule over recordings. A subclass says in `find` which there are.

    Args:
        split: the protocol, as in conf/data/split/.
        store: the folder of the store.
        sample_rate: of the crops, Hz; conf/ takes it from the model.
        cache: `waveform` decodes everything once, into the store; `none` decodes what is needed each time.
        clip_seconds: the length of a crop; a shorter recording is repeated to fill it.
        eval_crops: evenly spaced crops of a track whose probabilities are averaged.
        eval_crop_position: where a single crop is from: the `middle` of a track, or its `start`.
        sampler: `none`: every training track once an epoch; `balanced`: as many draws, every class equally often.
        on_bad_file: `skip` leaves out files that cannot be used, and counts them; `error` refuses them.
        max_bad_fraction: of a split's files that may be left out so.
        min_seconds: a shorter recording is a bad file.
        min_class_tracks: classes with fewer tracks are left out, and counted.
        max_tracks: use so many tracks of each split, of every class alike; None for all. For debugging.
        workers: threads that decode; `auto`: one for each processor that this process may use.

    Attributes:
        waveforms: the recordings' samples.
        recording: each track's number in `waveforms`, int64.
        longer: by what a training crop is longer than a clip; a classifier sets it, for augmentation that needs more.
        prefetch, pin_memory: batches that are prepared ahead, and whether in page-locked memory; a classifier sets them.
    """

    provides = ("waveform",)

    def __init__(
        self,
        split: dict[str, Any],
        store: str,
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
        self.store = Store(Path(store).expanduser())
        self.sample_rate = sample_rate
        self.cache = cache
        self.clip_seconds, self.eval_crops, self.eval_crop_position = clip_seconds, eval_crops, eval_crop_position
        self.sampler = sampler
        self.on_bad_file, self.max_bad_fraction, self.min_seconds = on_bad_file, max_bad_fraction, min_seconds
        self.min_class_tracks, self.max_tracks = min_class_tracks, max_tracks
        self.workers = cores()[0] if isinstance(workers, str) else workers
        self.prefetch, self.pin_memory = PREFETCH, False
        self.waveforms: Waveforms = Decoded([], sample_rate, np.empty(0, np.int64), {})
        self.recording = np.empty(0, np.int64)
        self.longer = 1.0
        self._files: list[Path] = []

    @abstractmethod
    def find(self) -> Recordings:
        """The recordings as they lie on disk."""

    def files(self) -> list[Path]:
        """The folders and the recordings; none while other rights or an ffmpeg would change which can be used."""
        mendable = {"needs ffmpeg", "cannot be read"} & set(self.waveforms.bad.values())
        return [] if mendable else self._files

    def setup(self, stage: str | None = None) -> None:
        """Find the recordings, leave out the bad ones, split. Calling it again does nothing."""
        if len(self.tracks):
            return
        found = self.find()
        if not found.paths:
            raise DatasetNotFoundError(f"{some(found.folders, 1)}: there is no recording in it")
        self._files = [*found.sources, *found.folders, *found.paths]
        self.dropped, self.notes = dict(found.dropped), list(found.notes)
        sums = file_digests(found.paths, self.store)
        tracks = make_tracks(
            found.track_id, found.target, path=[str(p) for p in found.paths], checksum=sums, **found.known
        )
        key = hashlib.sha256(
            "\0".join(s or str(p) for s, p in zip(sums, found.paths, strict=True)).encode()
        ).hexdigest()
        self.waveforms = open_waveforms(
            found.paths, self.sample_rate, self.store, self.cache == "waveform", key, self.workers, self.min_seconds
        )
        tracks["duration"] = self.waveforms.lengths / self.sample_rate
        good = self._without_bad(tracks, self.waveforms.bad)
        count = tracks.target[good].value_counts()
        small = good & tracks.target.isin(count.index[count < self.min_class_tracks]).to_numpy()
        if small.any():
            self.dropped[f"of classes with fewer than {self.min_class_tracks} tracks"] = int(small.sum())
        kept = np.flatnonzero(good & ~small)
        self._use(tracks.iloc[kept], found.own_split)
        self.recording = kept
        if self.max_tracks is not None:
            self._limit(self.max_tracks)
        copies = self.tracks[self.tracks.checksum.notna() & self.tracks.checksum.duplicated()]
        if len(copies):
            told = some(copies.track_id.tolist())
            self.notes.append(
                f"{len(copies)} files repeat another byte for byte ({told}): a drawn split keeps copies together"
            )

    def _without_bad(self, tracks: pd.DataFrame, bad: dict[int, str]) -> np.ndarray:
        """Which recordings can be used, bool (n,); the others are counted, named and, past what is allowed, refused."""
        good = np.ones(len(tracks), bool)
        good[list(bad)] = False
        if not bad:
            return good
        named = some([f"{tracks.path[i]}: {reason}" for i, reason in bad.items()])
        if self.on_bad_file == "error":
            raise DataError(
                f"{len(bad)} files cannot be used ({named}), and data.on_bad_file=error; skip leaves them out"
            )
        for reason, n in Counter(bad.values()).items():
            words = f"whose file is bad: {reason}"
            self.dropped[words] = self.dropped.get(words, 0) + n
        self.notes.append(f"{len(bad)} file{'s'[: len(bad) > 1]} cannot be used ({named})")
        for split, rows in tracks.assign(split=tracks.split.fillna("data")).groupby("split").indices.items():
            share = float((~good[rows]).mean())
            if share > self.max_bad_fraction:
                raise DataError(
                    f"{100 * share:.1f} % of the {split} files cannot be used ({named}); "
                    f"data.max_bad_fraction={self.max_bad_fraction} allows fewer: mend them, or raise it"
                )
        return good

    def _limit(self, most: int) -> None:
        """Keep so many tracks of each split, the first of each class in turn."""
        turn = self.tracks.groupby(["split", "target"]).cumcount()
        order = self.tracks.assign(turn=turn).sort_values(["turn", "target"], kind="stable")
        kept = np.sort(order.groupby("split").head(most).index.to_numpy())
        self.dropped[f"beyond data.max_tracks={most}"] = len(self.tracks) - len(kept)
        self.tracks, self.recording = self.tracks.iloc[kept].reset_index(drop=True), self.recording[kept]

    @property
    def clip_samples(self) -> int:
        """Samples in a clip."""
        return round(self.clip_seconds * self.sample_rate)

    def short(self) -> int:
        """How many recordings are shorter than a clip, by a hundredth of it or more."""
        return int((self.waveforms.lengths[self.recording] < 0.99 * self.clip_samples).sum())

    def numbers(self, split: str) -> tuple[list[str], np.ndarray, np.ndarray]:
        """A split's (or `all`) track ids, rows of the Tracks table (n,) and class numbers (n,) int64."""
        rows = np.flatnonzero(((self.tracks.split == split) | (split == "all")).to_numpy())
        of = {name: i for i, name in enumerate(self.classes)}
        return self.tracks.track_id.iloc[rows].tolist(), rows, self.tracks.target.map(of).to_numpy(np.int64)[rows]

    def train_dataloader(self) -> ClipBatches:
        """Effective batches of one crop per track, in an order and at places drawn from (seed, epoch, track)."""
        _, rows, y = self.numbers("train")
        weights = None if self.sampler == "none" else 1 / np.bincount(y)[y]
        sampler = TrackSampler(len(y), self.seed, weights)
        crops = RandomCrop(int(np.ceil(self.clip_samples * self.longer)), self.seed, sampler)
        return ClipBatches(self, rows, y, crops, self.batch_size, sampler)

    def val_dataloader(self) -> ClipBatches:
        """Evenly spaced crops of the validation tracks."""
        return self.scoring_batches("valid")

    def scoring_batches(self, split: str, crops: int | None = None, most: int | None = None) -> ClipBatches:
        """Batches of evenly spaced crops of each track of a split, in the table's order.

        Args:
            split: `train`, `valid`, `test` or `all`.
            crops: of each track; by default `eval_crops`.
            most: so many tracks at most, from the whole of the split.
        """
        _, rows, y = self.numbers(split)
        if most is not None and most < len(rows):
            some_of_all = np.linspace(0, len(rows) - 1, most).astype(int)
            rows, y = rows[some_of_all], y[some_of_all]
        crops = crops or self.eval_crops
        even = EvenCrops(self.clip_samples, crops, self.eval_crop_position)
        return ClipBatches(self, rows, y, even, max(1, self.batch_size // crops))
