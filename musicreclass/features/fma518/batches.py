"""The 518 features of many recordings by torch: decoded by threads, and computed in batches of one rate and length."""

from __future__ import annotations

from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from musicreclass.data.audio.decoding import NativeAudio
from musicreclass.data.parallel import in_parallel
from musicreclass.errors import DataError
from musicreclass.features.fma518.extraction import KEPT_SECONDS, extract_file, raise_if_unsuitable
from musicreclass.features.fma518.torch_series import extract_batch
from musicreclass.features.workers import Jobs, Results, outcome_of

BATCH_SAMPLES = 16 * 30 * 44100  # need up to about 1 GiB on the device
WAITING_SAMPLES = 4 * BATCH_SAMPLES  # decoded samples that wait for others of their length, 340 MB


@dataclass(frozen=True)
class Recording:
    """A decoded recording: mono float32 samples, and their rate."""

    path: Path
    samples: np.ndarray
    rate: int


def in_batches(jobs: Jobs, workers: int, device: torch.device, sets: tuple[str, ...]) -> Results:
    """Extract the features of recordings; yields each row with its outcome.

    Args:
        jobs: the path and version of each row's file.
        workers: threads that decode.
        device: where the features are computed; MPS has no float64, so the CPU replaces it.
        sets: the feature sets to compute.
    """
    device = torch.device("cpu") if device.type == "mps" else device
    groups: dict[tuple[int, int], dict[int, Recording]] = defaultdict(dict)
    decoded = in_parallel(
        lambda row: outcome_of(lambda path: decoded_or_long(path, sets), row, *jobs[row])[1], jobs, workers
    )
    with closing(decoded):
        for row, outcome in decoded:
            if not isinstance(outcome, Recording):
                yield row, outcome
                continue
            key = outcome.rate, len(outcome.samples)
            groups[key][row] = outcome
            waiting = sum(length * len(group) for (_, length), group in groups.items())
            if waiting > WAITING_SAMPLES:
                key = max(groups, key=lambda key: key[1] * len(groups[key]))
            if (len(groups[key]) + 1) * key[1] > BATCH_SAMPLES or waiting > WAITING_SAMPLES:
                yield from outcomes_of(groups.pop(key), device, sets)
    for group in groups.values():
        yield from outcomes_of(group, device, sets)


def decoded_or_long(path: Path, sets: tuple[str, ...]) -> Recording | np.ndarray:
    """A recording for a batch; the features of one that is too long for it, computed by `fast`."""
    with NativeAudio.open(path) as audio:
        raise_if_unsuitable(audio)
        if audio.frames > KEPT_SECONDS * audio.rate:
            return extract_file(path, "fast", sets)
        return Recording(path, np.concatenate(list(audio.blocks())), audio.rate)


def outcomes_of(group: dict[int, Recording], device: torch.device, sets: tuple[str, ...]) -> Results:
    """The outcomes of recordings of one rate and length; in halves where the device's memory does not suffice."""
    rows, recordings = list(group), list(group.values())
    try:
        vectors = extract_batch(np.stack([r.samples for r in recordings]), recordings[0].rate, device, sets)
    except torch.OutOfMemoryError:
        vectors = None
    if vectors is not None:
        yield from zip(rows, vectors, strict=True)
    elif len(rows) > 1:
        for part in (rows[::2], rows[1::2]):
            yield from outcomes_of({row: group[row] for row in part}, device, sets)
    else:
        path = recordings[0].path
        line = (
            f"{path}: {device} has too little memory for this recording; compute on the CPU with features.backend=fast"
        )
        yield rows[0], DataError(line, "out_of_memory", path)
