"""Writes the recordings that tests decode."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import soundfile

FORMATS = {
    "wav": {"subtype": "PCM_16"}, "24.wav": {"subtype": "PCM_24"}, "float.wav": {"subtype": "FLOAT"}, "au": {},
    "aiff": {}, "flac": {}, "ogg": {}, "opus": {"format": "OGG", "subtype": "OPUS"}, "mp3": {},
    "vbr.mp3": {"bitrate_mode": "VARIABLE", "compression_level": 0.9},
}  # fmt: skip
LOSSY = ("ogg", "opus", "mp3", "vbr.mp3")


def music(seconds: float, rate: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    """A sweep with noise of varying level, (n,) or (n, channels)."""
    rng, t = np.random.default_rng(seed), np.arange(round(seconds * rate)) / rate
    sweep = 0.3 * np.sin(2 * np.pi * (100 + 20 * t) * t)
    noise = 0.1 * rng.standard_normal((len(t), channels)) * (1 + np.sin(2 * np.pi * 0.7 * t))[:, None]
    return (sweep[:, None] + noise).squeeze()


def write(path: Path, samples: np.ndarray, rate: int, **options: object) -> Path:
    soundfile.write(path, samples, rate, **options)
    return path


def cut(path: Path, fraction: float) -> Path:
    """Truncate a file to a fraction of its size."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * fraction)])
    return path


@functools.lru_cache(maxsize=32)
def song(seconds: float, rate: int, seed: int) -> np.ndarray:
    """Random notes with overtones and noise, (n,): no two seeds sound alike."""
    rng, n = np.random.default_rng(seed), round(seconds * rate)
    samples = 0.01 * rng.standard_normal(n)
    for _ in range(round(8 * seconds)):
        start, length = int(rng.integers(0, n)), int(rate * rng.uniform(0.1, 0.6))
        t = np.arange(min(length, n - start)) / rate
        pitch = 110 * 2 ** rng.uniform(0, 3)
        note = sum(np.sin(2 * np.pi * k * pitch * t) / k for k in range(1, 6)) * np.exp(-4 * t)
        samples[start : start + len(t)] += 0.08 * note
    samples = np.clip(samples, -0.45, 0.45)
    samples.flags.writeable = False  # callers share it
    return samples
