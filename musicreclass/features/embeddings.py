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
from musicreclass.features.parts import Part, Rejected, save_vectors
from musicreclass.hardware.profile import AUTOCAST, without_tf32
from musicreclass.models.encoder import Encoder
from musicreclass.models.frontend import int16_to_float
from musicreclass.storage.versions import raise_if_changed

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
        fingerprint = self.encoder.fingerprint()
        return hashlib.sha256(f"{fingerprint}\0{self.code}".encode()).hexdigest() if self.code else fingerprint

    def key(self) -> str:
        """A hash of the fingerprint, the precision and the version of the decoder."""
        parts = (self.fingerprint(), self.precision, decoding.VERSION)
        return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:24]

    @torch.inference_mode()
    def compute(self, source: AudioData, rows: list[int], folder: Path) -> Rejected:
        """Write the embeddings of some tracks, (windows, D) float32; batches may span several tracks.

        Under 32-true, TF32 is off, since the stored embeddings may not depend on the precision or hardware of one run.
        """
        self.encoder.to(self.device).eval()
        batch: list[tuple[int, torch.Tensor]] = []
        decoded = in_parallel(lambda row: self.waveform(source, row), rows, source.workers)
        message = f"embedding {len(rows):,} recordings on {self.device}, once: stored in {folder}"
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
        """The embeddings of windows on the CPU, (windows, D)."""
        with torch.autocast(self.device.type, AUTOCAST.get(self.precision), enabled=self.precision in AUTOCAST):
            return torch.cat([self.encoder.embed(part) for part in windows.split(self.windows_per_batch)]).cpu()

    def save(self, source: AudioData, tracks: list[tuple[int, torch.Tensor]], folder: Path) -> None:
        """Embed the windows of some tracks, and write the embeddings of each track.

        Raises:
            DataError: if embeddings are not finite or have another size than the encoder states.
        """
        vectors = self.embed(torch.cat([w for _, w in tracks]))
        for (row, _), embeddings in zip(tracks, vectors.split([len(w) for _, w in tracks]), strict=True):
            if embeddings.shape[1] != len(self.columns) or not embeddings.isfinite().all():
                raise DataError(
                    f"{source.tracks.path[row]}: expected {len(self.columns)} finite values per window, but the encoder returned "
                    f"{embeddings.shape[1]}, which may contain NaN: the weights may be damaged, or the precision too low "
                    f"(features.precision={self.precision})",
                    kind="invalid_embeddings",
                    key=source.tracks.path[row],
                )
            save_vectors(folder, source.tracks.checksum[row], embeddings.float().numpy())
