"""Embeddings of pretrained encoders as a part of a feature table: the mean over the windows of a recording."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import closing, nullcontext
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from musicreclass.config.messages import brief
from musicreclass.data.audio import decoding
from musicreclass.data.parallel import in_parallel, show_progress
from musicreclass.data.recordings import AudioData
from musicreclass.errors import DataError
from musicreclass.features.parts import Part, Rejected, Slot, save_vectors
from musicreclass.hardware.profile import AUTOCAST, without_tf32
from musicreclass.models.encoder import ALL_LAYERS, Encoder, LayeredEncoder
from musicreclass.models.frontend import int16_to_float
from musicreclass.plurals import counted
from musicreclass.storage.versions import raise_if_changed
from musicreclass.training.memory import MicroBatches

REMEDY = "; data.min_seconds=S leaves out recordings shorter than S seconds"


class EncoderPart(Part):
    """The mean embedding of the windows of each recording.

    Args:
        create: creates the encoder; called again if it was released.
        weights: the encoder's files, so that a change of them is noticed.
        device: on which the encoder runs.
        precision: as in Lightning; `bf16-mixed` and `16-mixed` run under autocast.
        batch_size: windows per forward pass.
        code: a hash of the user's code that the encoder consists of; empty for an encoder of this package.
    """

    kind = "embeddings"

    def __init__(
        self,
        create: Callable[[], Encoder],
        weights: list[Path],
        device: torch.device,
        precision: str = "32-true",
        batch_size: int = 8,
        code: str = "",
    ) -> None:
        self.create, self.files = create, weights
        self.device, self.precision, self.windows_per_batch = device, precision, batch_size
        self.micro_batches = MicroBatches(batch_size)
        self.code = code
        self._encoder: Encoder | None = None
        self.columns, self.overlaps = self.encoder.columns, self.encoder.overlaps
        self.sample_rate = self.encoder.sample_rate

    @property
    def encoder(self) -> Encoder:
        """The encoder, loaded if it is not in memory."""
        if self._encoder is None:
            self._encoder = self.create()
        return self._encoder

    def release(self) -> None:
        """Remove the encoder from memory."""
        self._encoder = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def fingerprint(self) -> str:
        """`Encoder.fingerprint` with the user's code."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:  # reads all weights
        return self._with_code(self.encoder.fingerprint())

    def _with_code(self, fingerprint: str) -> str:
        return hashlib.sha256(f"{fingerprint}\0{self.code}".encode()).hexdigest() if self.code else fingerprint

    def key(self) -> str:
        """A hash of the fingerprint, the precision and the version of the decoder."""
        return self._key(self.fingerprint())

    def _key(self, fingerprint: str) -> str:
        parts = (fingerprint, self.precision, decoding.VERSION)
        return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:24]

    @cached_property
    def layer_slots(self) -> dict[str, Slot]:
        """What one pass computes: a slot for each layer, in order; one without a name if the encoder has no layers."""
        encoder = self.encoder
        if not isinstance(encoder, LayeredEncoder):
            return {"": Slot(self.key(), len(self.columns))}
        return {
            name: Slot(self._key(self._with_code(encoder.fingerprint_of(name))), len(columns))
            for name, columns in encoder.layers.items()
        }

    def slots(self) -> list[Slot]:
        """The slots of the selected layers."""
        return [self.layer_slots[name] for name in self._selected]

    @cached_property
    def _selected(self) -> list[str]:
        layer = getattr(self.encoder, "layer", "") if "" not in self.layer_slots else ""
        return list(self.layer_slots) if layer == ALL_LAYERS else [layer]

    def shared_key(self) -> str:
        """A hash of the slots of all layers."""
        if len(self.layer_slots) < 2:
            return ""
        return hashlib.sha256("\0".join(slot.key for slot in self.layer_slots.values()).encode()).hexdigest()[:24]

    @torch.inference_mode()
    def compute(self, source: AudioData, rows: list[int], folder: Path) -> Rejected:
        """Write the embeddings of some tracks, (windows, D) float32; batches may span several tracks.

        Under 32-true, TF32 is off, since the stored embeddings may not depend on the precision or hardware of one run.
        """
        self.encoder.to(self.device).eval()
        batch: list[tuple[int, torch.Tensor]] = []
        decoded = in_parallel(lambda row: self.waveform(source, row), rows, source.workers)
        stored_in = folder if len(self.layer_slots) == 1 else folder.parent
        message = f"embedding {counted(len(rows), 'recording')} on {self.device}, once: stored in {stored_in}"
        exact = without_tf32() if self.precision == "32-true" else nullcontext()
        with exact, show_progress(message, len(rows)) as advance, closing(decoded):
            for row, samples in decoded:
                batch.append((row, self.windows(source, row, samples)))
                if sum(len(windows) for _, windows in batch) >= self.windows_per_batch:
                    self.save(source, batch, folder)
                    advance(len(batch))
                    batch.clear()
            if batch:
                self.save(source, batch, folder)
                advance(len(batch))
        return {}

    def windows(self, source: AudioData, row: int, samples: np.ndarray) -> torch.Tensor:
        """The windows of a recording, as the encoder cuts them.

        Raises:
            DataError: if the encoder rejects the recording.
        """
        path = source.tracks.path[row]
        try:
            windows = self.encoder.windows(int16_to_float(torch.from_numpy(samples).to(self.device)))
        except (RuntimeError, ValueError, IndexError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise DataError(
                f"{path}: the encoder failed ({brief(error)}){REMEDY}", kind="encoder_failed", key=path
            ) from error
        if not len(windows):
            raise DataError(f"{path}: the encoder returned no windows{REMEDY}", kind="no_windows", key=path)
        return windows

    def waveform(self, source: AudioData, row: int) -> np.ndarray:
        """A whole recording at the encoder's sample rate, int16 (n,)."""
        waveforms, recording = source.waveforms, int(source.recording[row])
        if source.sample_rate == self.sample_rate:
            return waveforms.crop(recording, 0, int(waveforms.lengths[recording]))
        path, version = Path(source.tracks.path[row]), source.versions[recording]
        raise_if_changed(path, version)
        samples = decoding.decode_examined(path, self.sample_rate, 0, decoding.probe(path, self.sample_rate))
        raise_if_changed(path, version)
        return samples

    def embed(self, windows: torch.Tensor) -> torch.Tensor:
        """The embeddings of windows on the CPU, (windows, D), where D counts the columns of all layers."""
        encoder = self.encoder

        def embed(size: int) -> torch.Tensor:
            parts = windows.split(size)
            if isinstance(encoder, LayeredEncoder):
                return torch.cat([torch.cat(encoder.embed_layers(part), 1) for part in parts]).cpu()
            return torch.cat([encoder.embed(part) for part in parts]).cpu()

        with torch.autocast(self.device.type, AUTOCAST.get(self.precision), enabled=self.precision in AUTOCAST):
            return self.micro_batches.run(len(windows), embed, restore=lambda: None)

    def by_slot(self, vectors: np.ndarray) -> dict[Slot, np.ndarray]:
        """What `embed` returned, (..., D), for each slot."""
        slots = list(self.layer_slots.values())
        ends = np.cumsum([slot.columns for slot in slots])[:-1]
        return dict(zip(slots, np.split(vectors, ends, axis=-1), strict=True))

    def save(self, source: AudioData, tracks: list[tuple[int, torch.Tensor]], folder: Path) -> None:
        """Embed the windows of some tracks, and write the embeddings of each track; of several layers their means only.

        Raises:
            DataError: if embeddings are not finite or have another size than the encoder states.
        """
        vectors, size = self.embed(torch.cat([w for _, w in tracks])), sum(s.columns for s in self.layer_slots.values())
        for (row, _), embeddings in zip(tracks, vectors.split([len(w) for _, w in tracks]), strict=True):
            if embeddings.shape[1] != size or not embeddings.isfinite().all():
                raise DataError(
                    f"{source.tracks.path[row]}: expected {counted(size, 'finite value')} per window, but the encoder returned "
                    f"{embeddings.shape[1]}, which may contain NaN: the weights may be damaged, or the precision too low "
                    f"(features.precision={self.precision})",
                    kind="invalid_embeddings",
                    key=source.tracks.path[row],
                )
            values = embeddings.float().numpy()
            means = values if len(self.layer_slots) == 1 else values.mean(0, keepdims=True)
            for slot, part in self.by_slot(means).items():
                save_vectors(folder.with_name(slot.key), source.tracks.checksum[row], part)
