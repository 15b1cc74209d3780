"""Recordings as a feature table: the features of one or several parts, computed once and stored by content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from musicreclass.data.known_datasets import datasets_in
from musicreclass.data.recordings import AudioData
from musicreclass.data.table import TableData
from musicreclass.errors import DataError
from musicreclass.features.parts import Part, column_names, joint_fingerprint, load_means
from musicreclass.storage.atomic import replacing, write_json
from musicreclass.storage.locks import locked
from musicreclass.storage.store import announce_wait, common_folder, mark_used

TABLE = "x.npy"
REJECTED = "bad.json"  # in place of the table: the recordings that a part cannot use, by checksum


class FeatureData(TableData):
    """The tracks of an audio source, each with the features of its parts.

    The vectors of a track are stored under the content of its file and the part's key. When a track is added to a library, only
    that track is computed; when a part is added, only that part. An interrupted computation is resumed.

    Args:
        source: the recordings.
        parts: by name. If there are several, the columns are prefixed by it: `musicnn/embedding_0`.
    """

    def __init__(self, source: AudioData, parts: Mapping[str, Part]) -> None:
        super().__init__(asdict(source.split))
        self.source_data, self.parts = source, dict(parts)

    @property
    def is_joined(self) -> bool:
        """Whether there are several parts."""
        return len(self.parts) > 1

    def prepare_data(self) -> None:
        """Prepare the source."""
        self.source_data.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """Find and split the recordings, then compute the missing features.

        A recording that a part cannot use is a bad file of the source, which is then split again.
        """
        if len(self.tracks):
            return
        source = self.source_data
        source.needs = self.needs
        tables: list[np.ndarray] = []
        while len(tables) < len(self.parts):
            source.setup(stage)
            tables = []
            for part in self.parts.values():
                table = self.load_table(part)
                if table is None:
                    break
                tables.append(table)
        self.tracks, self.is_multi = source.tracks, source.is_multi
        self.classes, self.learned_classes = source.classes, source.learned_classes
        datasets = source.datasets() | {*datasets_in(source.tracks)}
        overlaps = [o for part in self.parts.values() for o in part.overlaps if o["dataset"] in datasets]
        texts = list(dict.fromkeys(f"{o['what']} ({o['source']})" for o in overlaps))
        self.protocol = replace(source.protocol, pretraining_overlap=texts)
        self.dropped, self.notes, self.bad_files = source.dropped, source.notes, source.bad_files
        self.columns = column_names(self.parts)
        self.row_track = np.arange(len(self.tracks))
        self.x = np.concatenate(tables, axis=1) if self.is_joined else tables[0]

    def files(self) -> list[Path]:
        """The recordings, and the files of the parts."""
        files = self.source_data.files()
        return [*files, *(file for part in self.parts.values() for file in part.files)] if files else []

    def source(self) -> str:
        """The name of the recordings' source."""
        return self.source_data.source()

    def fingerprint(self) -> str:
        """A hash of the recordings and the parts; the same on every device."""
        keys = [f"{name}\0{part.key()}" if self.is_joined else part.key() for name, part in self.parts.items()]
        return hashlib.sha256("\0".join([self.source_data.fingerprint(), *keys]).encode()).hexdigest()

    @cached_property
    def encoder_fingerprint(self) -> str:
        """As `joint_fingerprint` of the parts."""
        return joint_fingerprint(self.parts)

    @contextmanager
    def one_pass(self, part: Part) -> Iterator[None]:
        """Let one process at a time compute features that a pass computes together, such as the layers of an encoder."""
        if not (shared := part.shared_key()):
            yield
            return
        file = self.source_data.store.root / "vectors" / f"{shared}.lock"
        file.parent.mkdir(parents=True, exist_ok=True)
        with locked(file, lambda owner: announce_wait(owner, part.kind)):
            yield

    def load_table(self, part: Part) -> np.ndarray | None:
        """The features of a part, (tracks, D) float32, from the store; missing ones are computed.

        Returns:
            the table; None if the part cannot use some recordings, which the source then rejects.

        Raises:
            DataError: if vectors cannot be written, or not be read again.
        """
        source, key = self.source_data, part.key()
        store, checksums = source.store, source.tracks.checksum.tolist()
        tracks = hashlib.sha256("\0".join(checksums).encode()).hexdigest()

        def build(folder: Path) -> None:
            vectors, slots = store.root / "vectors", part.slots()
            with self.one_pass(part):
                means = [load_means(vectors, slots, checksum) for checksum in checksums]
                missing = [i for i, mean in enumerate(means) if mean is None]
                rejected = part.compute(source, missing, vectors / key) if missing else {}
            if rejected:
                write_json(folder / REJECTED, {checksums[i]: reason for i, reason in rejected.items()})
                return
            for i in missing:
                means[i] = load_means(vectors, slots, checksums[i])
            table = [mean for mean in means if mean is not None]
            if len(table) < len(checksums):
                raise DataError(
                    f"{vectors}: features were written there but cannot be read; choose another folder with paths.cache=DIR",
                    kind="unreadable_store",
                    key=vectors,
                )
            with replacing(folder / TABLE) as scratch, scratch.open("wb") as file:
                np.save(file, np.stack(table))

        for slot in part.slots():
            mark_used(store.root / "vectors" / slot.key)
        mib = 2 * len(checksums) * len(part.columns) * 4 / 2**20
        entry = store.entry(
            part.kind,
            {"encoder": key, "tracks": tracks, "n": len(checksums)},
            build,
            mib,
            source=common_folder(source.tracks.path),
        )
        if self.is_joined:
            part.release()
        if (entry / TABLE).exists():
            return np.load(entry / TABLE)
        reasons = json.loads((entry / REJECTED).read_text(encoding="utf-8"))
        named = zip(source.tracks.path, checksums, strict=True)
        source.reject({path: tuple(reasons[checksum]) for path, checksum in named if checksum in reasons})
        return None
