"""Measures epochs of a CNN over cached waveforms: time waiting for data, and peak memory; on a GPU also with autocast and compile.

The clips are noise, 30 s at 22,050 Hz; their content does not affect the measurement.
"""

from __future__ import annotations

import resource
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import torch

from musicreclass.classifiers.base import Workspace
from musicreclass.classifiers.factory import build_classifier
from musicreclass.config.check import train_settings
from musicreclass.hardware.resolution import resolve_profile
from musicreclass.tasks.open_data import open_data

GENRES, CLIPS, EPOCHS = 4, 40, 4
OVERRIDES = ["data=folder", "data/split=random", "model=cnn", "augmentation=spectrogram", "early_stopping=none", "scheduler=none",
         "data.clip_seconds=5", "trainer.batch_size=32", f"trainer.max_epochs={EPOCHS}"]  # fmt: skip


def write_clips(root: Path) -> None:
    random = np.random.default_rng(0)
    for genre in range(GENRES):
        (root / f"genre {genre}").mkdir(parents=True)
        for i in range(CLIPS):
            samples = (random.normal(size=30 * 22050) * 3000).astype(np.int16)
            soundfile.write(root / f"genre {genre}" / f"{i}.wav", samples, 22050)


def measure(root: Path, folder: Path, *overrides: str) -> tuple[list[dict[str, float]], list[float]]:
    """Speed of each epoch, and peak memory of this process after it, MiB."""
    settings = train_settings([*OVERRIDES, f'data.root="{root}"', f'paths.cache="{folder / "cache"}"', *overrides])
    profile = resolve_profile(settings.hardware)
    profile.apply()
    data = open_data(settings, profile)
    speed, memory = [], []

    def note(epoch: int, values: dict[str, float]) -> None:
        speed.append(values)
        memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)

    build_classifier(settings, profile, data).fit(data, Workspace(folder / "run", note))
    return speed, memory


def main() -> None:
    variants = {
        "CPU, from the cache": ["hardware=cpu"],
        "CPU, decoding wav each time": ["hardware=cpu", "data.cache=none"],
    }
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name(0)
        variants = {
            f"{name}, 32-true": [],
            f"{name}, bf16-mixed": ["trainer.precision=bf16-mixed"],
            f"{name}, bf16-mixed, channels last": ["trainer.precision=bf16-mixed", "hardware.channels_last=true"],
            f"{name}, bf16-mixed, compiled": ["trainer.precision=bf16-mixed", "hardware.compile=true"],
        }
    with tempfile.TemporaryDirectory() as scratch:
        write_clips(Path(scratch) / "library")
        print(f"CNN, {GENRES * CLIPS} clips of 30 s, crops of 5 s, batch 32, medians of epochs 2 to {EPOCHS}")
        for i, (name, overrides) in enumerate(variants.items()):
            speed, memory = measure(Path(scratch) / "library", Path(scratch) / str(i), *overrides)
            clips, waiting = (
                float(np.median([epoch[f"speed/{k}"] for epoch in speed[1:]]))
                for k in ("clips_per_second", "waiting_share")
            )
            grown = memory[-1] - memory[1]
            print(
                f"  {name:<44}{clips:8.1f} clips/s   waiting {100 * waiting:4.1f} %   peak memory +{grown:.0f} MiB after epoch 2"
            )


if __name__ == "__main__":
    main()
