"""Batches to augment, and settings that apply one effect to every sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from hypothesis import settings

from musicreclass.augmentation.augmentation import Augmentation
from musicreclass.config.settings.training import AugmentationSettings
from musicreclass.data.sampling import derive_seed

NONE = yaml.safe_load((Path(__file__).parents[1] / "conf/augmentation/none.yaml").read_text())
SAMPLE_RATE = 22050
N = 8000  # samples of a short clip
KEYS = [derive_seed(0, 1, row) for row in range(40)]
FEW_EXAMPLES = settings(max_examples=15)
ALWAYS_ON = {
    "gain": {"gain_db": [3, 6], "gain_p": 1},
    "polarity": {"polarity_p": 1},
    "stretch": {"stretch_rate": [0.8, 1.25], "stretch_step": 0.15, "stretch_p": 1},
    "pitch": {"pitch_semitones": [-3, 3], "pitch_p": 1},
    "snr": {"noise_snr": [10, 20], "noise_snr_p": 1},
    "amplitude": {"noise_amplitude": 0.01, "noise_amplitude_p": 1},
}


def make_augmentation(**options: Any) -> Augmentation:
    """An augmentation with some effects on, all others as in conf/augmentation/none.yaml."""
    return Augmentation(AugmentationSettings.model_validate({**NONE, **options}))


def crops(count: int, samples: int = 11000) -> torch.Tensor:
    """White noise, (count, samples)."""
    return torch.randn(count, samples, generator=torch.Generator().manual_seed(3)) * 0.1


def spectrograms(count: int, bands: int = 40, frames: int = 60) -> torch.Tensor:
    """Random spectrograms, (count, 1, bands, frames)."""
    return torch.randn(count, 1, bands, frames, generator=torch.Generator().manual_seed(4)) + 2


def tone(seconds: float, frequency: float = 440.0) -> np.ndarray:
    """Harmonics with a tremolo of 4 Hz, which makes tempo measurable."""
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    samples = sum(np.sin(2 * np.pi * frequency * k * t) / k for k in range(1, 6))
    return (0.2 * samples * (1 + 0.5 * np.sin(2 * np.pi * 4 * t))).astype(np.float32)
