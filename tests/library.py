"""A small library of recordings, and helpers to open it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

if TYPE_CHECKING:
    import torch

    from musicreclass.data.recordings import AudioData

RATE = 8000
SMALL = ["model=cnn_small", "model.channels=4", "model.hidden=8", f"model.sample_rate={RATE}", "model.frontend.n_fft=256",
         "model.frontend.hop_length=128", "model.frontend.n_mels=24", "data.clip_seconds=0.75", "data.eval_crops=2", "data.min_seconds=0.5",
         "trainer.max_epochs=1", "trainer.batch_size=8", "hardware=cpu", "logger=none", "early_stopping=none"]  # fmt: skip
TONES = {"blues": 300, "jazz": 900, "rock": 2000}


def write_tone(path: Path, frequency: float, seed: int, seconds: float = 1.5, rate: int = RATE, **options) -> None:
    """Write a tone with noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    samples = 0.3 * np.sin(2 * np.pi * frequency * (1 + 0.05 * random.random()) * time) + 0.05 * random.normal(
        size=len(time)
    )
    soundfile.write(path, samples, rate, **options)


def opened(root: Path, *overrides: str) -> AudioData:
    """The library, opened as in a run."""
    from musicreclass.config.check import train_settings
    from musicreclass.data.recordings import AudioData
    from musicreclass.hardware.resolution import resolve_profile
    from musicreclass.tasks.open_data import open_data

    settings = train_settings(["data=folder", f'data.root="{root}"', *SMALL, *overrides])
    data = open_data(settings, resolve_profile(settings.hardware))
    assert isinstance(data, AudioData)
    return data


def batches(data: AudioData, split: str, epoch: int = 0, **settings) -> list[list[torch.Tensor]]:
    """All batches of an epoch; `settings` are those of `LoaderSettings`."""
    from musicreclass.data.sampling import LoaderSettings

    loading = LoaderSettings(**{"batch_size": 8, **settings})
    loader = data.train_loader(loading) if split == "train" else data.scoring_loader(split, loading)
    if loader.sampler is not None:
        loader.sampler.set_epoch(epoch)
    return [list(batch) for batch in loader]


def same(first: list[list[torch.Tensor]], second: list[list[torch.Tensor]]) -> bool:
    import torch

    return len(first) == len(second) and all(
        torch.equal(a, b) for x, y in zip(first, second, strict=True) for a, b in zip(x, y, strict=True)
    )
