"""The 518 features of a waveform or of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from musicreclass.data.audio.decoding import NativeAudio
from musicreclass.data.audio.header import BadAudioError
from musicreclass.data.sources.fma_columns import SERIES
from musicreclass.features.fma518 import fast, reference
from musicreclass.features.fma518.columns import MIN_SECONDS
from musicreclass.features.fma518.constant_q import MIN_RATE
from musicreclass.features.fma518.statistics import summarise

VERSION = 1  # of the values; part of the key of everything stored from them
KEPT_SECONDS = 600  # a longer file is decoded twice instead of being kept in memory
WARM_UP_RATE = 44100  # Hz

Backend = Literal["fast", "reference", "torch"]
Sets = Iterable[str]


def extract(
    waveform: np.ndarray, sample_rate: int, backend: Backend = "fast", sets: Sets = tuple(SERIES)
) -> np.ndarray:
    """The 518 features of a waveform, in the order of `columns`.

    Args:
        waveform: samples at the recording's own rate, float in [-1, 1]: mono (n,), or (channels, n), which are averaged.
        sample_rate: samples per second.
        backend: `fast`; `reference` by librosa; or `torch`, which pays off on a GPU (`torch_series.extract_batch`): here on the CPU.
        sets: the feature sets to compute, such as `mfcc`; all by default.

    Returns:
        float32 (518,), finite; fewer for fewer sets.

    Raises:
        ValueError: if the waveform is no such array, contains NaN, or is shorter than `MIN_SECONDS`; if the sample rate is below
            `MIN_RATE`; or for an unknown back end or set.
    """
    audio = as_mono(waveform)
    if problem := requirement(len(audio), sample_rate):
        raise ValueError(problem)
    sets = checked_sets(sets)
    if backend == "reference":
        return vector(reference.compute_series(audio, sample_rate, sets))
    if backend == "torch":
        from musicreclass.features.fma518.torch_series import extract_batch

        return extract_batch(audio[None], sample_rate, "cpu", sets)[0]
    if backend != "fast":
        raise ValueError(f"backend={backend!r}: must be one of {', '.join(get_args(Backend))}")
    return vector(fast.compute_series(partial(fast.blocks_of, audio), sample_rate, sets))


def extract_file(path: str | Path, backend: Backend = "fast", sets: Sets = tuple(SERIES)) -> np.ndarray:
    """The 518 features of a recording, from its mean over the channels at the file's own rate.

    `fast` keeps no samples of recordings longer than `KEPT_SECONDS`, but their series and spectral peaks: about 650 MiB an hour at
    44.1 kHz. It also computes these recordings in place of `torch`.

    Args:
        path: of the file.
        backend, sets: as in `extract`.

    Raises:
        BadAudioError: if the file cannot be read completely, is shorter than `MIN_SECONDS`, or its rate is below `MIN_RATE`.
        ValueError: for an unknown back end or set.
    """
    path = Path(path)
    with NativeAudio.open(path) as audio:
        raise_if_unsuitable(audio)
        blocks: Callable[[], Iterable[np.ndarray]] = audio.blocks
        if backend == "reference" or audio.frames <= KEPT_SECONDS * audio.rate:
            in_memory = list(audio.blocks())
            if backend != "fast":
                return extract(np.concatenate(in_memory), audio.rate, backend, sets)
            blocks = partial(iter, in_memory)
        return vector(fast.compute_series(blocks, audio.rate, checked_sets(sets)))


@cache
def warm_up(backend: Backend, sets: tuple[str, ...]) -> None:
    """Extract the features of a tone once, for what later calls reuse."""
    extract(0.1 * np.sin(np.arange(round(MIN_SECONDS * WARM_UP_RATE), dtype=np.float32)), WARM_UP_RATE, backend, sets)


def vector(series: dict[str, np.ndarray]) -> np.ndarray:
    """The statistics of time series, float32 (7 * series,)."""
    return np.concatenate([summarise(values).ravel() for values in series.values()]).astype(np.float32)


def requirement(samples: int, rate: int) -> str:
    """What a recording of this length and rate lacks; empty if nothing."""
    if rate < MIN_RATE:
        return f"a sample rate of {rate} Hz; at least {MIN_RATE} Hz are needed for the constant-Q transform"
    if samples < MIN_SECONDS * rate:
        return f"a length of {samples / rate:.1f} s; at least {MIN_SECONDS} s are needed"
    return ""


def raise_if_unsuitable(audio: NativeAudio) -> None:
    """Raise BadAudioError for a recording that is too short, or whose sample rate is too low."""
    if problem := requirement(audio.frames, audio.rate):
        reason = "too short" if audio.frames < MIN_SECONDS * audio.rate else "not supported"
        raise BadAudioError(audio.path, reason, problem)


def as_mono(waveform: np.ndarray) -> np.ndarray:
    """A waveform as float32 (n,).

    Raises:
        ValueError: if it is no array of numbers of shape (n,) or (channels, n), or contains NaN or infinite values.
    """
    audio = np.asarray(waveform)
    if audio.dtype.kind != "f":
        raise ValueError(
            f"waveform: must be of floats in [-1, 1], not {audio.dtype}; divide integers by their full scale"
        )
    if audio.ndim == 2 and audio.shape[0] < audio.shape[1]:
        audio = audio.mean(axis=0)
    if audio.ndim != 1:
        raise ValueError(f"waveform: must have the shape (n,) or (channels, n), not {np.shape(waveform)}")
    audio = np.ascontiguousarray(audio, np.float32)
    if len(audio) and not np.isfinite(np.ptp(audio)):
        raise ValueError("waveform: contains NaN or infinite values")
    return audio


def checked_sets(sets: Sets) -> tuple[str, ...]:
    """Feature sets in the published order.

    Raises:
        ValueError: if one does not exist, or none is given.
    """
    names = [sets] if isinstance(sets, str) else list(sets)
    unknown = [name for name in names if name not in SERIES]
    if unknown or not names:
        raise ValueError(f"sets={unknown or names}: must be some of {', '.join(SERIES)}")
    return tuple(name for name in SERIES if name in names)
