"""What models read of a recording: crops, or the features of a part. Readers run in worker processes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from musicreclass.data.audio import decoding
from musicreclass.data.audio.header import BadAudioError
from musicreclass.data.crops import EvenCrops
from musicreclass.features.embeddings import EncoderPart
from musicreclass.features.extractors import Extractor
from musicreclass.features.parts import Slot, load_means, save_vectors
from musicreclass.hardware.profile import without_tf32
from musicreclass.models.frontend import int16_to_float
from musicreclass.storage.file_parts import file_of, part_digest
from musicreclass.storage.store import Store, sha256

MAX_CROPS_SECONDS = 900.0  # of crops of one recording, evenly spaced over all of it
LONGER = 1.05  # times the longest training recording, above which a recording gets more crops


Shared = dict[Any, Any]


class Reader(ABC):
    """Reads of a recording what a model needs.

    Attributes:
        key: equal for readers that read the same.
    """

    key: str

    def warm_up(self) -> None:  # noqa: B027  (optional)
        """Prepare what all recordings need; called before processes are forked."""

    @abstractmethod
    def read(self, path: Path, shared: Shared) -> Any:
        """Read a recording.

        Args:
            path: of the file.
            shared: what readers of this file have computed, so that others need not.

        Raises:
            BadAudioError: if it cannot be used.
        """


@dataclass(frozen=True)
class CropReader(Reader):
    """Evenly spaced crops, int16 (crops, samples).

    A recording longer than the training recordings gets proportionally more crops.

    Attributes:
        sample_rate: of the crops, Hz.
        crops: as the model was scored with.
        longest_seconds: the longest recording that the model was trained or scored on; infinite if unknown.
    """

    sample_rate: int
    crops: EvenCrops
    longest_seconds: float = math.inf

    @property
    def key(self) -> str:  # type: ignore[override]
        """See `Reader`."""
        return f"crops {self}"

    def count(self, length: int) -> int:
        """How many crops a recording of this length in samples gets."""
        ratio = length / self.sample_rate / self.longest_seconds
        if ratio <= LONGER:
            return self.crops.count
        limit = int(MAX_CROPS_SECONDS * self.sample_rate / self.crops.n)
        return max(self.crops.count, min(math.ceil(self.crops.count * ratio), limit))

    def read(self, path: Path, shared: Shared) -> np.ndarray:
        """See `Reader`; the recording is decoded in blocks, so that memory does not grow with its length."""
        length, n = decoding.probe(path, self.sample_rate), self.crops.n
        starts = EvenCrops(n, self.count(length), self.crops.single).starts(length, 0)
        out = np.zeros((len(starts), n), np.int16)
        for at, block in decoding.decode_blocks(path, self.sample_rate, 0, length):
            for crop, start in zip(out, starts, strict=True):
                low, high = max(at, start), min(at + len(block), start + n)
                if low < high:
                    crop[low - start : high - start] = block[low - at : high - at]
        return out if length >= n else np.stack([np.resize(crop[:length], n) for crop in out])


@dataclass(frozen=True)
class FeatureReader(Reader):
    """The features of an extractor, float32 (D,), from the store if they are there.

    Attributes:
        key: of the part.
        extractor: computes them.
        store: keeps the vectors.
    """

    key: str
    extractor: Extractor
    store: Store

    def warm_up(self) -> None:
        """See `Reader`."""
        self.extractor.warm_up()

    def read(self, path: Path, shared: Shared) -> np.ndarray:
        """See `Reader`."""
        slots = (Slot(self.key, len(self.extractor.columns)),)
        stored, checksum = stored_vector(self.store, slots, path, shared)
        if stored is not None:
            return stored
        vector = np.asarray(self.extractor.extract(path), np.float32)
        if vector.shape != (len(self.extractor.columns),) or not np.isfinite(vector).all():
            raise BadAudioError(path, "not supported", f"the extractor returned {vector.shape} values, or NaN")
        store_vector(self.store, self.key, checksum, vector)
        return vector


@dataclass(frozen=True)
class WaveformReader(Reader):
    """A whole recording for an encoder, int16 (n,); or its mean embedding, float32 (D,), if the store has it.

    Attributes:
        key: of the part.
        sample_rate: of the encoder, Hz.
        slots: as `Part.slots`.
        store: keeps the embeddings.
    """

    key: str
    sample_rate: int
    slots: tuple[Slot, ...]
    store: Store

    def read(self, path: Path, shared: Shared) -> tuple[str, np.ndarray]:
        """The SHA-256 of the file; and its embedding, float32, or its samples, int16."""
        stored, checksum = stored_vector(self.store, self.slots, path, shared)
        if stored is not None:
            return checksum, stored
        if self.sample_rate not in shared:
            shared[self.sample_rate] = decoding.decode(path, self.sample_rate)
        return checksum, shared[self.sample_rate]


@dataclass(frozen=True)
class Embedder:
    """Turns what a `WaveformReader` has read into the mean embedding of the recording.

    Attributes:
        part: holds the encoder.
        store: keeps the embeddings.
    """

    part: EncoderPart
    store: Store

    @torch.inference_mode()
    def finish(self, read: tuple[str, np.ndarray]) -> np.ndarray:
        """The mean embedding, float32 (D,).

        Raises:
            ValueError: if the encoder rejects the recording, or returns values that are not finite.
        """
        checksum, samples = read
        if samples.dtype == np.float32:
            return samples
        encoder = self.part.encoder.to(self.part.device).eval()
        with without_tf32() if self.part.precision == "32-true" else nullcontext():
            windows = encoder.windows(int16_to_float(torch.from_numpy(samples).to(self.part.device)))
            vectors = self.part.embed(windows).float().numpy()
        if not len(vectors) or not np.isfinite(vectors).all():
            raise ValueError("the encoder returned no vectors, or NaN")
        means = self.part.by_slot(vectors.mean(0))
        for slot, mean in means.items():
            store_vector(self.store, slot.key, checksum, mean)
        return np.concatenate([means[slot] for slot in self.part.slots()])


def stored_vector(store: Store, slots: tuple[Slot, ...], path: Path, shared: Shared) -> tuple[np.ndarray | None, str]:
    """The vector of a recording, None if the store lacks it; and the SHA-256 of the file.

    Raises:
        BadAudioError: if the file cannot be read.
    """
    try:
        if "checksum" not in shared:
            file = file_of(path)
            shared["checksum"] = part_digest(sha256(file), path) if file.is_file() else ""
        checksum = shared["checksum"]
    except OSError as error:
        raise BadAudioError(path, "cannot be read", str(error.strerror)) from error
    return (load_means(store.root / "vectors", slots, checksum) if checksum else None), checksum


def store_vector(store: Store, key: str, checksum: str, vector: np.ndarray) -> None:
    """Store the mean vector of a recording; a store that cannot be written is not needed."""
    if checksum:
        with suppress(OSError):
            save_vectors(store.root / "vectors" / key, checksum, vector[None])
