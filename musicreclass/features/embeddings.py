"""Recordings as a feature table: mean embeddings from a pretrained encoder, computed once and stored by content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from musicreclass.config.messages import brief
from musicreclass.config.settings import FeatureSettings
from musicreclass.config.targets import check_arguments, import_target, invalid_target, rejected_call
from musicreclass.data.audio import decoding
from musicreclass.data.known_datasets import datasets_in
from musicreclass.data.parallel import in_parallel, show_progress
from musicreclass.data.recordings import AudioData
from musicreclass.data.table import TableData
from musicreclass.data.tracks import TrackData
from musicreclass.errors import ConfigError, DataError, Problem
from musicreclass.hardware.profile import AUTOCAST, Profile
from musicreclass.models.encoder import Encoder
from musicreclass.models.frontend import int16_to_float
from musicreclass.storage.atomic import replacing

TABLE = "x.npy"
REMEDY = "; data.min_seconds=S leaves out recordings shorter than S seconds"
NOT_ENCODER_ARGUMENTS = ("_target_", "sample_rate", "precision", "cache", "batch_size")  # keys of conf/features/


class EmbeddedTracks(TableData):
    """The tracks of an audio source, each with the mean embedding of its windows.

    The embeddings of a track are stored under the content of its file, the encoder's fingerprint and the precision. When a
    track is added to a library, only that track is computed; an interrupted computation is resumed.

    Args:
        source: the recordings, at the encoder's sample rate.
        encoder: computes the embeddings.
        weights: the encoder's files, so that a change of them is noticed.
        device: on which the encoder runs.
        precision: as in Lightning; `bf16-mixed` and `16-mixed` run under autocast.
        batch_size: windows per forward pass.
        code: a hash of the user's code that the encoder consists of; empty for an encoder of this package.
    """

    def __init__(
        self,
        source: AudioData,
        encoder: Encoder,
        weights: list[Path],
        device: torch.device,
        precision: str = "32-true",
        batch_size: int = 8,
        code: str = "",
    ) -> None:
        super().__init__(asdict(source.split))
        self.source_data, self.encoder, self.weights = source, encoder, weights
        self.device, self.precision, self.windows_per_batch = device, precision, batch_size
        self.code = code

    def prepare_data(self) -> None:
        """Prepare the source."""
        self.source_data.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """Find and split the recordings, then compute the missing embeddings."""
        if len(self.tracks):
            return
        source = self.source_data
        source.needs = self.needs
        source.setup(stage)
        self.tracks, self.classes, self.learned_classes = source.tracks, source.classes, source.learned_classes
        datasets = {source.dataset, *datasets_in(source.tracks)}
        overlap = [f"{o['what']} ({o['source']})" for o in self.encoder.overlaps if o["dataset"] in datasets]
        self.protocol = replace(source.protocol, pretraining_overlap=overlap)
        self.dropped, self.notes, self.bad_files = source.dropped, source.notes, source.bad_files
        self.columns = self.encoder.columns
        self.row_track = np.arange(len(self.tracks))
        self.x = self.load_table()

    def files(self) -> list[Path]:
        """The recordings, and the encoder's weights."""
        files = self.source_data.files()
        return [*files, *self.weights] if files else []

    def source(self) -> str:
        """The name of the recordings' source."""
        return self.source_data.source()

    def fingerprint(self) -> str:
        """A hash of the recordings, the encoder and the precision; the same on every device."""
        return hashlib.sha256(f"{self.source_data.fingerprint()}\0{self.key()}".encode()).hexdigest()

    @cached_property
    def encoder_fingerprint(self) -> str:
        """`Encoder.fingerprint` with the user's code, computed once, since it reads all weights."""
        fingerprint = self.encoder.fingerprint()
        return hashlib.sha256(f"{fingerprint}\0{self.code}".encode()).hexdigest() if self.code else fingerprint

    def key(self) -> str:
        """A hash of everything that embeddings depend on besides the recording: 24 hexadecimal digits."""
        parts = (self.encoder_fingerprint, self.precision, decoding.VERSION)
        return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:24]

    def load_table(self) -> np.ndarray:
        """The mean embeddings, (tracks, D) float32, from the store; missing ones are computed."""
        store, checksums = self.source_data.store, self.tracks.checksum.tolist()
        tracks = hashlib.sha256("\0".join(checksums).encode()).hexdigest()
        key = {"encoder": self.key(), "tracks": tracks, "n": len(checksums)}

        def build(folder: Path) -> None:
            vectors = store.root / "vectors" / self.key()
            means = [self.load_mean(vector_file(vectors, checksum)) for checksum in checksums]
            missing = [i for i, mean in enumerate(means) if mean is None]
            self.compute(missing, vectors)
            for i in missing:
                means[i] = self.load_mean(vector_file(vectors, checksums[i]))
            table = np.stack([mean for mean in means if mean is not None])
            if len(table) < len(checksums):
                raise DataError(
                    f"{vectors}: embeddings were written there but cannot be read; choose another folder with "
                    "paths.cache=DIR",
                    kind="unreadable_store",
                    key=vectors,
                )
            with replacing(folder / TABLE) as scratch, scratch.open("wb") as file:
                np.save(file, table)

        mib = 2 * len(checksums) * len(self.columns) * 4 / 2**20
        return np.load(store.entry("embeddings", key, build, mib) / TABLE)

    def load_mean(self, file: Path) -> np.ndarray | None:
        """The mean embedding of a recording, (D,) float32; None if its file is missing or damaged."""
        try:
            vectors = np.load(file)
        except (OSError, ValueError, EOFError):
            return None
        valid = vectors.dtype == np.float32 and vectors.ndim == 2 and vectors.shape[1] == len(self.columns)
        return vectors.mean(0) if valid and len(vectors) and np.isfinite(vectors).all() else None

    @torch.inference_mode()
    def compute(self, rows: list[int], folder: Path) -> None:
        """Write the embeddings of some tracks to one file each, (windows, D) float32; batches may span several tracks.

        Under 32-true, TF32 is off, since the stored embeddings may not depend on the precision or hardware of one run.
        """
        self.encoder.to(self.device).eval()
        batch: list[tuple[int, torch.Tensor]] = []
        decoded = in_parallel(self.waveform, rows, self.source_data.workers)
        message = f"embedding {len(rows):,} recordings on {self.device}, once: stored in {folder}"
        exact = without_tf32() if self.precision == "32-true" else nullcontext()
        with exact, show_progress(message, len(rows)) as advance, closing(decoded):
            for row, samples in decoded:
                batch.append((row, self.windows(row, samples)))
                if sum(len(windows) for _, windows in batch) >= self.windows_per_batch:
                    self.save(batch, folder)
                    advance(len(batch))
                    batch.clear()
            if batch:
                self.save(batch, folder)
                advance(len(batch))

    def windows(self, row: int, samples: np.ndarray) -> torch.Tensor:
        """The windows of a recording, as the encoder cuts them.

        Raises:
            DataError: if the encoder rejects the recording.
        """
        path = self.tracks.path[row]
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

    def waveform(self, row: int) -> np.ndarray:
        """A whole recording, int16 (n,)."""
        waveforms, recording = self.source_data.waveforms, int(self.source_data.recording[row])
        return waveforms.crop(recording, 0, int(waveforms.lengths[recording]))

    def save(self, tracks: list[tuple[int, torch.Tensor]], folder: Path) -> None:
        """Embed the windows of some tracks, and write the embeddings of each track.

        Raises:
            DataError: if embeddings are not finite or have another size than the encoder states.
        """
        windows = torch.cat([w for _, w in tracks])
        with torch.autocast(self.device.type, AUTOCAST.get(self.precision), enabled=self.precision in AUTOCAST):
            vectors = torch.cat([self.encoder.embed(part) for part in windows.split(self.windows_per_batch)]).cpu()
        for (row, _), embeddings in zip(tracks, vectors.split([len(w) for _, w in tracks]), strict=True):
            if embeddings.shape[1] != len(self.columns) or not embeddings.isfinite().all():
                raise DataError(
                    f"{self.tracks.path[row]}: expected {len(self.columns)} finite values per window, but the encoder returned "
                    f"{embeddings.shape[1]}, which may contain NaN: the weights may be damaged, or the precision too low "
                    f"(features.precision={self.precision})",
                    kind="invalid_embeddings",
                    key=self.tracks.path[row],
                )
            file = vector_file(folder, self.tracks.checksum[row])
            file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(file) as scratch, scratch.open("wb") as out:
                np.save(out, embeddings.float().numpy())


@contextmanager
def without_tf32() -> Iterator[None]:
    """Multiply float32 exactly on CUDA GPUs, whatever the hardware profile has set."""
    backends: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    try:
        for backend in backends:
            backend.allow_tf32 = False
        yield
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed


def vector_file(folder: Path, checksum: str) -> Path:
    """The file that stores the embeddings of a recording."""
    return folder / checksum[:2] / f"{checksum}.npy"


def embedded(source: TrackData, settings: FeatureSettings, profile: Profile, code: str = "") -> EmbeddedTracks:
    """The recordings of a source as a feature table.

    Args:
        source: must provide waveforms.
        settings: `features`; its `_target_` creates an Encoder from the other keys.
        profile: determines the device.
        code: as in `EmbeddedTracks`.

    Raises:
        ConfigError: if the source provides no waveforms, or the target is not an Encoder or rejects its arguments.
        WeightsError: if the encoder's weights cannot be used.
    """
    if not isinstance(source, AudioData):
        provides = " and ".join(source.provides)
        message = f"features: requires recordings, but the data provides {provides}; use features=none"
        raise ConfigError([Problem(message, kind="not_audio_data", key="features")])
    target = str(settings.target)
    create, _ = encoder_class(target)
    arguments = settings.arguments(*NOT_ENCODER_ARGUMENTS)
    check_arguments(create, arguments, "features", keys=NOT_ENCODER_ARGUMENTS[1:])
    try:
        encoder = create(**arguments)
    except TypeError as error:
        raise rejected_call(error, create, "features") from error
    if not isinstance(encoder, Encoder):
        raise invalid_target("features._target_", target, "must return an Encoder")
    if encoder.sample_rate != source.sample_rate:
        remedy = f"features.sample_rate={encoder.sample_rate}"
        message = f"data.sample_rate={source.sample_rate}: the encoder requires {encoder.sample_rate} Hz; set {remedy}"
        raise ConfigError(
            [Problem(message, "sample_rate_mismatch", "data.sample_rate", source.sample_rate, suggestion=remedy)]
        )
    weights = [path] if (path := settings.weights_file()) else []
    return EmbeddedTracks(source, encoder, weights, profile.device, settings.precision, settings.batch_size, code)


def encoder_class(target: str) -> tuple[Callable[..., Encoder], type[Encoder]]:
    """The callable at a dotted path that creates an Encoder, and the class of that Encoder.

    Args:
        target: path of an Encoder class, or of a classmethod of one.

    Raises:
        ConfigError: if it cannot be imported, or is neither.
    """
    create = import_target(target, "features._target_")
    owner = create if isinstance(create, type) else getattr(create, "__self__", None)
    downloads = not isinstance(create, type) and getattr(create, "__name__", "") == "fetch"  # creates no Encoder
    if not (isinstance(owner, type) and issubclass(owner, Encoder)) or downloads:
        raise invalid_target("features._target_", target, "must be an Encoder, or a classmethod of one")
    return create, owner
