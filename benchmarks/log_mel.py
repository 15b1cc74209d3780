"""What a stored log-mel could save: a training step of the CNNs from waveforms against one from log-mels computed before.

The difference bounds the gain of `data.cache=mel`, since reading either from the store takes under 1 % of an epoch (cnn_epoch.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from musicreclass.models.cnn import CNN, PlainCNN
from musicreclass.models.frontend import LogMel

BATCH, SECONDS, RATE, ROUNDS = 32, 5, 22050, 9
MODELS: dict[str, Callable[[], nn.Module]] = {"cnn": lambda: CNN(10), "cnn_small": lambda: PlainCNN(10)}


def step(network: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> float:
    """Seconds of one training step."""
    start = time.perf_counter()
    optimizer.zero_grad()
    nn.functional.cross_entropy(network(x), y).backward()
    optimizer.step()
    if x.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(build: Callable[[], nn.Module], device: str) -> tuple[float, float]:
    """Median seconds of a step from waveforms, and from log-mels; both take turns."""
    network, front = build().to(device), LogMel().to(device)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    x, y = 0.1 * torch.randn(BATCH, SECONDS * RATE, device=device), torch.randint(10, (BATCH,), device=device)
    with torch.no_grad():
        mel = front(x)
    taken: list[list[float]] = [[], []]
    for number in range(ROUNDS + 3):
        for kind, (whole_network, batch) in enumerate(((nn.Sequential(front, network), x), (network, mel))):
            seconds = step(whole_network, optimizer, batch, y)
            if number >= 3:  # the first rounds warm up
                taken[kind].append(seconds)
    waveform, stored = (float(np.median(part)) for part in taken)
    return waveform, stored


def main() -> None:
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for device in devices:
        name = torch.cuda.get_device_name(0) if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
        print(f"{name}: batch {BATCH}, crops of {SECONDS} s, medians of {ROUNDS} steps")
        for model, build in MODELS.items():
            waveform, stored = measure(build, device)
            print(
                f"  {model}: from waveforms {1000 * waveform:.1f} ms, from log-mels {1000 * stored:.1f} ms: {waveform / stored:.2f} x"
            )


if __name__ == "__main__":
    main()
