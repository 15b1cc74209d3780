"""The measured micro-batch against the largest that fits, found by search, for networks over audio; on a CUDA GPU.

python benchmarks/micro_batch.py [MODEL ...]
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from omegaconf import OmegaConf

from musicreclass.config.check import compose
from musicreclass.hardware.profile import Profile
from musicreclass.tasks.batch_size import made_up
from musicreclass.training.callbacks import Measured, TrialStep, measured
from musicreclass.training.memory import is_out_of_memory, release_memory
from musicreclass.training.memory_probe import CudaMeter

CLASSES, MOST = 10, 1 << 14


def fits(step: TrialStep, size: int, gauge: CudaMeter, budget: int) -> bool:
    try:
        return gauge.peak(lambda: step(size)) <= budget
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    release_memory()
    return False


def searched(found: Measured, step: TrialStep, gauge: CudaMeter) -> int:
    """The largest size within the same budget, by bisection; each size is really run."""
    low, high = 1, 2
    while high <= MOST and fits(step, high, gauge, found.budget):
        low, high = high, 2 * high
    while high - low > max(1, low // 100):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(step, middle, gauge, found.budget) else (low, middle)
    return low


def main(models: list[str]) -> None:
    if not torch.cuda.is_available():
        print("micro-batch: not run: no GPU is at hand")
        return
    for name in models:
        for precision in ("32-true", "bf16-mixed"):
            words = [f"model={name}", "data=demo_audio", "data.clip_seconds=5", f"trainer.precision={precision}"]
            config: Any = OmegaConf.to_container(compose("train", words), resolve=True)
            profile = Profile.of(config["hardware"], precision)
            module, batch = made_up(config, profile, features=0, classes=CLASSES)
            found = measured(module, batch, profile, MOST)
            gauge = CudaMeter(profile.device, profile.unified)
            true = searched(found, TrialStep(module, batch, precision), gauge)
            print(
                f"{torch.cuda.get_device_name(0)}, {name}, {precision}: measured {found.size}, by search {true}: {found.size / true:.3f}"
            )
            del module, batch
            release_memory()


if __name__ == "__main__":
    main(sys.argv[1:] or ["cnn"])
