"""musicnn's taggers on one CPU core: clips of 30 s a second, against librosa's mel spectrogram alone.

Takes the weights of `$MUSICRECLASS_MODELS/musicnn`, or random ones: they cost the same.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import torch

from musicreclass.models.musicnn import VGG, MusiCNN, MusiCNNEncoder
from musicreclass.models.weights.musicnn import read_weights, write_weights
from musicreclass.models.weights.musicnn_wheel import CHECKPOINTS

ROUNDS, SECONDS, RATE = 9, 30, 16000


def weights(scratch: Path) -> Path:
    """A folder with weights."""
    folder = Path(os.environ.get("MUSICRECLASS_MODELS", "models")) / "musicnn"
    try:
        for name in CHECKPOINTS:
            read_weights(folder, name)
    except Exception:
        for name in CHECKPOINTS:
            state = (VGG() if name.endswith("vgg") else MusiCNN()).state_dict()
            write_weights(scratch, name, {key: value for key, value in state.items() if "batches" not in key})
        return scratch
    return folder


def librosas_mel(clip: np.ndarray) -> np.ndarray:
    """What musicnn's package computes ahead of its network."""
    mel = librosa.feature.melspectrogram(y=clip, sr=RATE, n_fft=512, hop_length=256, n_mels=96)
    return np.log10(10000 * mel.T + 1)


@torch.inference_mode()
def main() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    clip = (0.1 * rng.standard_normal(SECONDS * RATE)).astype(np.float32)
    with tempfile.TemporaryDirectory() as scratch:
        folder = weights(Path(scratch))
        encoders = {name: MusiCNNEncoder(name, "tags", str(folder)) for name in ("MSD_musicnn", "MSD_vgg")}
    wave, front = torch.from_numpy(clip), encoders["MSD_vgg"]
    work: dict[str, Callable[[], object]] = {
        "librosa's mel": lambda: librosas_mel(clip),
        "our mel": lambda: [front.patches(window) for window in front.windows(wave).split(1)],
        "musicnn, mel and network": lambda: encoders["MSD_musicnn"].embed(encoders["MSD_musicnn"].windows(wave)),
        "vgg, mel and network": lambda: front.embed(front.windows(wave)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for number in range(ROUNDS + 1):
        for name, step in work.items():
            start = time.perf_counter()
            step()
            if number:  # the first is to warm up
                seconds[name].append(time.perf_counter() - start)
    typical = {name: statistics.median(values) for name, values in seconds.items()}
    base = typical["librosa's mel"]
    print(f"musicnn's taggers, clips of {SECONDS} s at {RATE} Hz, one core, medians of {ROUNDS} rounds")
    for name, value in typical.items():
        print(f"  {name:<28} {1 / value:8.1f} clips/s   {value / base:6.2f} x the time of librosa's mel")


if __name__ == "__main__":
    main()
