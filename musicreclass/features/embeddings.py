"""Recordings as a table: each one's windows through a pretrained encoder, once; what is kept is found again by content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import get_object

from musicreclass.config.messages import one_line
from musicreclass.config.science import weights_file
from musicreclass.data.audio import decoding
from musicreclass.data.parallel import in_parallel, show_progress
from musicreclass.data.recordings import AudioData
from musicreclass.data.table import TableData
from musicreclass.data.tracks import TrackData
from musicreclass.errors import ConfigError, DataError
from musicreclass.hardware.profile import Profile
from musicreclass.models.encoder import Encoder
from musicreclass.models.frontend import int16_to_float
from musicreclass.storage.atomic import replacing

TABLE = "x.npy"
SHORT = "; data.min_seconds=S leaves out recordings shorter than that"
ABOUT = (
    "_target_",
    "sample_rate",
    "precision",
    "cache",
    "batch_size",
)  # what the YAML says beside the encoder's own arguments


class EmbeddedTracks(TableData):
    """The tracks of a source of audio, with the mean over its windows' vectors for each.

    A track's vectors are kept in the store by the content of its file, the encoder's weights and front end, and the precision: a
    track that comes to a library later is the only one to be computed, and a run that was stopped goes on.

    Args:
        source: the recordings; their sample rate is the encoder's.
        encoder: what makes vectors of them.
        weights: the encoder's files, for the fingerprint's memory.
        device: where it works.
        precision: as Lightning names it; `bf16-mixed` and `16-mixed` run under autocast.
        batch_size: windows in one pass.
    """

    def __init__(
        self,
        source: AudioData,
        encoder: Encoder,
        weights: list[Path],
        device: torch.device,
        precision: str = "32-true",
        batch_size: int = 8,
    ) -> None:
        super().__init__(asdict(source.split))
        self.source_data, self.encoder, self.weights = source, encoder, weights
        self.device, self.precision, self.windows_at_once = device, precision, batch_size

    def prepare_data(self) -> None:
        """See the source."""
        self.source_data.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """Find and split the recordings, then compute what is not kept yet."""
        if len(self.tracks):
            return
        source = self.source_data
        source.needs = self.needs
        source.setup(stage)
        self.tracks, self.classes = source.tracks, source.classes
        heard = [f"{o['what']} ({o['source']})" for o in self.encoder.overlaps if o["dataset"] == source.dataset]
        self.protocol = replace(source.protocol, pretraining_overlap=heard)
        self.dropped, self.notes = source.dropped, source.notes
        self.columns = self.encoder.columns
        self.row_track = np.arange(len(self.tracks))
        self.x = self.embedded()

    def files(self) -> list[Path]:
        """The recordings, and the encoder's weights."""
        found = self.source_data.files()
        return [*found, *self.weights] if found else []

    def source(self) -> str:
        """See the source of the recordings."""
        return self.source_data.source()

    def fingerprint(self) -> str:
        """A hash of the recordings, of the encoder and of the precision; the same on every device."""
        return hashlib.sha256(f"{self.source_data.fingerprint()}\0{self.key()}".encode()).hexdigest()

    @cached_property
    def encoder_fingerprint(self) -> str:
        """See `Encoder.fingerprint`; weights are read for it once."""
        return self.encoder.fingerprint()

    def key(self) -> str:
        """What vectors depend on beside the recording: 24 hexadecimal digits."""
        parts = (self.encoder_fingerprint, self.precision, decoding.VERSION)
        return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:24]

    def embedded(self) -> np.ndarray:
        """The table, (tracks, D) float32, from the store."""
        store, sums = self.source_data.store, self.tracks.checksum.tolist()
        key = {"encoder": self.key(), "tracks": hashlib.sha256("\0".join(sums).encode()).hexdigest(), "n": len(sums)}

        def build(folder: Path) -> None:
            place = store.root / "vectors" / self.key()
            means = [self.kept(vector_file(place, s)) for s in sums]
            missing = [i for i, mean in enumerate(means) if mean is None]
            self.compute(missing, place)
            for i in missing:
                means[i] = self.kept(vector_file(place, sums[i]))
            table = np.stack([mean for mean in means if mean is not None])
            if len(table) < len(sums):
                raise DataError(
                    f"{place}: what was written there cannot be read again; paths.cache=DIR chooses another"
                )
            with replacing(folder / TABLE) as scratch, scratch.open("wb") as file:
                np.save(file, table)

        mib = 2 * len(sums) * len(self.columns) * 4 / 2**20
        return np.load(store.entry("embeddings", key, build, mib) / TABLE)

    def kept(self, file: Path) -> np.ndarray | None:
        """The mean of a recording's vectors, (D,) float32; None where they are not there, or damaged."""
        try:
            vectors = np.load(file)
        except (OSError, ValueError, EOFError):
            return None
        whole = vectors.dtype == np.float32 and vectors.ndim == 2 and vectors.shape[1] == len(self.columns)
        return vectors.mean(0) if whole and len(vectors) and np.isfinite(vectors).all() else None

    @torch.inference_mode()
    def compute(self, rows: list[int], place: Path) -> None:
        """Vectors of some tracks into files of their own, (windows, D) float32 each; many tracks' windows share a pass."""
        self.encoder.to(self.device).eval()
        waiting: list[tuple[int, torch.Tensor]] = []
        decoded = in_parallel(self.waveform, rows, self.source_data.workers)
        words = f"embedding {len(rows):,} recordings on {self.device}, once: they are kept in {place}"
        with show_progress(words, len(rows)) as tell, closing(decoded):
            for row, samples in decoded:
                waiting.append((row, self.windows(row, samples)))
                if sum(len(w) for _, w in waiting) >= self.windows_at_once:
                    self.save(waiting, place)
                    tell(len(waiting))
                    waiting.clear()
            if waiting:
                self.save(waiting, place)
                tell(len(waiting))

    def windows(self, row: int, samples: np.ndarray) -> torch.Tensor:
        """A recording's windows.

        Raises:
            DataError: if the encoder finds none in it.
        """
        try:
            found = self.encoder.windows(int16_to_float(torch.from_numpy(samples).to(self.device)))
        except (RuntimeError, ValueError, IndexError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise DataError(
                f"{self.tracks.path[row]}: the encoder cannot take it ({one_line(error)[:160]}){SHORT}"
            ) from error
        if not len(found):
            raise DataError(f"{self.tracks.path[row]}: the encoder finds no window in it{SHORT}")
        return found

    def waveform(self, row: int) -> np.ndarray:
        """A whole recording, int16 (n,)."""
        waveforms, recording = self.source_data.waveforms, int(self.source_data.recording[row])
        return waveforms.crop(recording, 0, int(waveforms.lengths[recording]))

    def save(self, tracks: list[tuple[int, torch.Tensor]], place: Path) -> None:
        """Pass the windows of some tracks through the encoder, and write each track's vectors."""
        windows = torch.cat([w for _, w in tracks])
        kinds = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
        with torch.autocast(self.device.type, kinds.get(self.precision), enabled=self.precision in kinds):
            vectors = torch.cat([self.encoder.embed(part) for part in windows.split(self.windows_at_once)]).cpu()
        for (row, _), found in zip(tracks, vectors.split([len(w) for _, w in tracks]), strict=True):
            if found.shape[1] != len(self.columns) or not found.isfinite().all():
                told = f"{self.tracks.path[row]}: the encoder makes {found.shape[1]} numbers of a window, of which some may not be"
                raise DataError(f"{told} finite, and {len(self.columns)} finite ones are due: damaged weights, or too coarse a"
                                f" precision (features.precision={self.precision})")  # fmt: skip
            file = vector_file(place, self.tracks.checksum[row])
            file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(file) as scratch, scratch.open("wb") as out:
                np.save(out, found.float().numpy())


def vector_file(place: Path, checksum: str) -> Path:
    """Where the vectors of a recording lie."""
    return place / checksum[:2] / f"{checksum}.npy"


def embedded(source: TrackData, node: dict[str, Any], profile: Profile) -> EmbeddedTracks:
    """The recordings of a source as a table.

    Args:
        source: gives waveforms.
        node: of conf/features/: the `_target_` makes an Encoder from what stands beside it.
        profile: says where the encoder works.

    Raises:
        ConfigError: if the source gives no waveforms, or the target is no Encoder or does not take its arguments.
        WeightsError: if the encoder's weights cannot be used.
    """
    if not isinstance(source, AudioData):
        raise ConfigError(
            [f"features: turns recordings into a table, and the data gives {' and '.join(source.provides)}"]
        )
    make, _ = encoder_class(node["_target_"])
    try:
        encoder = make(**{name: value for name, value in node.items() if name not in ABOUT})
    except TypeError as error:
        raise ConfigError([f"features: {one_line(error)}"]) from error
    if not isinstance(encoder, Encoder):
        raise ConfigError([f"features._target_={node['_target_']}: makes no Encoder"])
    if encoder.sample_rate != source.sample_rate:
        told = f"data.sample_rate={source.sample_rate}: the encoder takes {encoder.sample_rate} Hz"
        raise ConfigError([f"{told}: features.sample_rate={encoder.sample_rate}"])
    weights = [path] if (path := weights_file({"features": node}, "features")) else []
    return EmbeddedTracks(
        source, encoder, weights, profile.device, node.get("precision", "32-true"), node.get("batch_size", 8)
    )


def encoder_class(target: str) -> tuple[Callable[..., Encoder], type[Encoder]]:
    """What a dotted path makes encoders with, and the class: the class itself, or a classmethod of it.

    Raises:
        ConfigError: if it cannot be imported, or is neither.
    """
    try:
        found = get_object(target)
    except Exception as error:
        raise ConfigError([f"features._target_={target}: cannot be imported: {one_line(error)}"]) from error
    owner = found if isinstance(found, type) else getattr(found, "__self__", None)
    makes = (
        isinstance(found, type) or getattr(found, "__name__", "") != "fetch"
    )  # that one writes files, and makes none
    if not (isinstance(owner, type) and issubclass(owner, Encoder) and makes):
        raise ConfigError([f"features._target_={target}: neither an Encoder nor a classmethod of one"])
    return found, owner
