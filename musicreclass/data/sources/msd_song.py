"""The features of one track of the Million Song Dataset, from its HDF5 file."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from musicreclass.errors import DataError

VERSION = 1  # of the values; part of the key of everything stored from them
SIZE = 12  # timbre coefficients of a segment, and pitch classes
PAIRS = tuple(combinations(range(SIZE), 2))
SCALARS = ("tempo", "loudness", "duration")
COLUMNS = (
    *SCALARS,
    *(f"key_{i}" for i in range(SIZE)),
    "mode_major",
    *(
        f"{name}_{part}"
        for name in ("timbre", "pitch")
        for part in (
            *(f"mean_{i:02d}" for i in range(SIZE)),
            *(f"std_{i:02d}" for i in range(SIZE)),
            *(f"cov_{i:02d}_{j:02d}" for i, j in PAIRS),
        )
    ),
)


class MissingAnalysis(Exception):
    """An HDF5 file lacks the groups that features are computed from."""


class Song(NamedTuple):
    """What is read of a file.

    Attributes:
        features: float32, in the order of `COLUMNS`; NaN where the analysis has none.
        artist: Echo Nest's id of the artist; None if unknown.
        artist_name: the artist's name.
        release: 7digital's number of the album; None if unknown.
        error: why the file cannot be used; empty if it can.
    """

    features: np.ndarray
    artist: str | None
    artist_name: str | None
    release: str | None
    error: str = ""

    @classmethod
    def unusable(cls, error: str) -> Song:
        """A file that cannot be used."""
        return cls(np.full(len(COLUMNS), np.nan, np.float32), None, None, None, error)


def read_song(path: Path) -> Song:
    """Read a file.

    Raises:
        MissingAnalysis: if a group is missing.
        OSError: if it is no HDF5 file, or damaged.
        DataError: if h5py is not installed.
    """
    with _h5py().File(path, "r") as file:
        try:
            song, metadata = file["analysis/songs"][0], file["metadata/songs"][0]
            timbre, pitch = file["analysis/segments_timbre"][:], file["analysis/segments_pitches"][:]
        except (KeyError, IndexError, ValueError) as error:
            raise MissingAnalysis(str(path)) from error
    tempo = float(song["tempo"])
    scalars = [tempo if tempo > 0 else np.nan, float(song["loudness"]), float(song["duration"])]
    key = np.eye(SIZE)[song["key"]] if 0 <= song["key"] < SIZE else np.full(SIZE, np.nan)
    features = np.concatenate([scalars, key, [float(song["mode"])], summary(timbre), summary(pitch)]).astype(np.float32)
    release = int(metadata["release_7digitalid"])
    return Song(
        features, _text(metadata["artist_id"]), _text(metadata["artist_name"]), str(release) if release > 0 else None
    )


def summary(segments: np.ndarray) -> np.ndarray:
    """Mean, standard deviation and covariances of segments (n, 12); NaN without segments, covariances with fewer than two."""
    if segments.ndim != 2 or segments.shape[1] != SIZE or not len(segments):
        return np.full(2 * SIZE + len(PAIRS), np.nan)
    covariance = np.cov(segments, rowvar=False) if len(segments) > 1 else np.full((SIZE, SIZE), np.nan)
    first, second = np.array(PAIRS).T
    return np.concatenate([segments.mean(0), segments.std(0), covariance[first, second]])


def _text(value: bytes) -> str | None:
    return value.decode("utf-8", "replace").strip() or None


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        line = "data=msd_features: h5py is not installed: pip install 'musicreclass[msd]'"
        raise DataError(line, "missing_plugin", "h5py") from error
    return h5py
