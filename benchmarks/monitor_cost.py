"""Measures what the hardware monitor, and saving the state of a step for a retry, add to the time of a training step."""

from __future__ import annotations

import statistics
import sys
import time
from types import SimpleNamespace

import torch
from torch import nn
from torch.nn import functional as F

from musicreclass.hardware.monitor import Monitor
from musicreclass.models.cnn import CNN
from musicreclass.models.mlp import MLP
from musicreclass.training.memory import StepState

ROUNDS, INTERVAL = 15, 0.5  # seconds between samples: ten times as often as by default
GIB = 2**30
clock = (
    time.perf_counter if torch.cuda.is_available() else time.process_time
)  # CPU time of all threads, which other programs hardly affect


def nvml_stub() -> SimpleNamespace | None:
    """None for the real NVML if there is a GPU, else a stub, so that only the work of the monitor itself is measured."""
    if torch.cuda.is_available():
        return None
    memory, load = SimpleNamespace(total=8 * GIB, used=GIB), SimpleNamespace(gpu=50)
    return SimpleNamespace(
        nvmlInit=lambda: None, nvmlDeviceGetHandleByIndex=lambda i: i, nvmlDeviceGetMemoryInfo=lambda h: memory,
        nvmlDeviceGetUtilizationRates=lambda h: load, nvmlDeviceGetTemperature=lambda h, s: 50, nvmlDeviceGetPowerUsage=lambda h: 9000,
        NVML_TEMPERATURE_GPU=0,
    )  # fmt: skip


def seconds(network: nn.Module, x: torch.Tensor, steps: int, state: StepState | None) -> float:
    """Seconds per training step."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    y = torch.zeros(len(x), dtype=torch.long, device=x.device)
    start = clock()
    for _ in range(steps):
        if state is not None:
            state.save()
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()
    if x.device.type == "cuda":
        torch.cuda.synchronize()
    return (clock() - start) / steps


def main() -> None:
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name(0) if device.type == "cuda" else "One thread, CPU time"
    print(f"{name}: per training step, medians of {ROUNDS} interleaved rounds; a sample every {INTERVAL} s")
    nvml = nvml_stub()
    networks = {
        "MLP, 518 features, batch 64": (MLP(518, 16), torch.randn(64, 518), 400),
        "CNN, log-mel of 64 x 128, batch 4": (CNN(10), torch.randn(4, 1, 64, 128), 20),
    }
    for description, (network, x, steps) in networks.items():
        network, x = network.to(device), x.to(device)
        state = StepState(network)
        seconds(network, x, max(1, steps // 10), None)
        times: dict[str, list[float]] = {"plain": [], "monitored": [], "saved": []}
        for _ in range(ROUNDS):
            times["plain"].append(seconds(network, x, steps, None))
            with Monitor(INTERVAL, nvml=nvml):
                times["monitored"].append(seconds(network, x, steps, None))
            times["saved"].append(seconds(network, x, steps, state))
        monitored, saved = (
            statistics.median(t / p for t, p in zip(times[mode], times["plain"], strict=True))
            for mode in ("monitored", "saved")
        )
        print(
            f"  {description:<36}{1e3 * statistics.median(times['plain']):8.3f} ms   monitored {monitored:.3f} x   state saved {saved:.3f} x"
        )
    monitor = Monitor(INTERVAL, nvml=nvml)
    start = clock()
    for _ in range(200):
        monitor.read()
    print(f"  one sample takes {1e3 * (clock() - start) / 200:.2f} ms of another thread, every 5 s by default")


if __name__ == "__main__":
    sys.exit(main())
