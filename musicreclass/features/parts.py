"""The parts of a feature table: sources that each compute one vector per recording, which the store keeps by content."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from musicreclass.data.recordings import AudioData
from musicreclass.storage.atomic import replacing

Rejection = tuple[str, str]  # reason and detail
Rejected = dict[int, Rejection]  # by row of the recording that cannot be used


class Slot(NamedTuple):
    """Where the store keeps vectors of recordings.

    Attributes:
        key: as `Part.key`, 24 hexadecimal digits; names the folder.
        columns: entries of a vector.
    """

    key: str
    columns: int


class Part(ABC):
    """A source of features of recordings.

    Attributes:
        kind: the kind of the tables in the store.
        files: that the features depend on besides the recordings, so that a change of them is noticed.
        columns: the names of the features.
        overlaps: as in `Encoder`.
    """

    kind: ClassVar[str]
    files: list[Path]
    columns: list[str]
    overlaps: list[dict[str, str]]

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of what computes the features."""

    @abstractmethod
    def key(self) -> str:
        """A hash of everything that the features depend on besides the recording: 24 hexadecimal digits."""

    def slots(self) -> list[Slot]:
        """Where the store keeps the features, in the order of `columns`."""
        return [Slot(self.key(), len(self.columns))]

    def shared_key(self) -> str:
        """As `key`, but equal for parts that compute each other's features in one pass; empty if there are no others."""
        return ""

    @abstractmethod
    def compute(self, source: AudioData, rows: list[int], folder: Path) -> Rejected:
        """Write the vectors of some tracks, one file each.

        Args:
            source: set up.
            rows: of its Tracks table.
            folder: of the files under `key`; see `vector_file`. Those of other slots are beside it.

        Returns:
            the rows of recordings that cannot be used, with the reason.
        """

    def release(self) -> None:  # noqa: B027 (optional)
        """Free memory until this part is needed again."""


def column_names(parts: Mapping[str, Part]) -> list[str]:
    """The columns of all parts; of several parts, prefixed by the name: `musicnn/embedding_0`."""
    return [f"{name}/{column}" if len(parts) > 1 else column for name, part in parts.items() for column in part.columns]


def joint_fingerprint(parts: Mapping[str, Part]) -> str:
    """A hash of what computes the features of all parts: encoders with their weights, and the user's code."""
    fingerprints = [part.fingerprint() for part in parts.values()]
    return hashlib.sha256("\0".join(fingerprints).encode()).hexdigest() if len(parts) > 1 else fingerprints[0]


def vector_file(folder: Path, checksum: str) -> Path:
    """The file that stores the vectors of a recording."""
    return folder / checksum[:2] / f"{checksum}.npy"


def save_vectors(folder: Path, checksum: str, vectors: np.ndarray) -> None:
    """Store the vectors of a recording, (windows, D) float32."""
    file = vector_file(folder, checksum)
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as scratch, scratch.open("wb") as out:
        np.save(out, vectors)


def load_means(vectors: Path, slots: Iterable[Slot], checksum: str) -> np.ndarray | None:
    """The mean vector of a recording over all slots, (D,) float32; None if a file is missing or damaged.

    Args:
        vectors: the folder that contains the folders of all slots.
        slots: in the order of the columns.
        checksum: of the recording.
    """
    means = [load_mean(vectors / slot.key, checksum, slot.columns) for slot in slots]
    return None if any(mean is None for mean in means) else np.concatenate([mean for mean in means if mean is not None])


def load_mean(folder: Path, checksum: str, columns: int) -> np.ndarray | None:
    """The mean vector of a recording, (D,) float32; None if its file is missing or damaged."""
    try:
        vectors = np.load(vector_file(folder, checksum))
    except (OSError, ValueError, EOFError):
        return None
    valid = vectors.dtype == np.float32 and vectors.ndim == 2 and vectors.shape[1] == columns
    return vectors.mean(0) if valid and len(vectors) and np.isfinite(vectors).all() else None
