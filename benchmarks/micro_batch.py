"""Compares the measured micro-batch of networks over audio with the largest that fits, found by bisection. Needs a CUDA GPU.

python benchmarks/micro_batch.py [MODEL ...]
"""

from __future__ import annotations

import sys

import torch

from musicreclass.config.check import train_settings
from musicreclass.hardware.resolution import resolve_profile
from musicreclass.storage.damage import is_out_of_memory
from musicreclass.tasks.batch_size import synthetic
from musicreclass.training.callbacks import TrialStep, measure_micro_batch
from musicreclass.training.memory import release_memory
from musicreclass.training.memory_probe import CudaMeter, MeasuredSize

CLASSES, LIMIT = 10, 1 << 14


def fits(step: TrialStep, size: int, meter: CudaMeter, budget: int) -> bool:
    try:
        return meter.peak(lambda: step(size)) <= budget
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    release_memory()
    return False


def bisect_size(measured: MeasuredSize, step: TrialStep, meter: CudaMeter) -> int:
    """The largest size within the same budget; a step of each size is run."""
    low, high = 1, 2
    while high <= LIMIT and fits(step, high, meter, measured.budget):
        low, high = high, 2 * high
    while high - low > max(1, low // 100):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(step, middle, meter, measured.budget) else (low, middle)
    return low


def main(models: list[str]) -> None:
    if not torch.cuda.is_available():
        print("micro-batch: not run: no GPU is available")
        return
    for name in models:
        for precision in ("32-true", "bf16-mixed"):
            overrides = [f"model={name}", "data=demo_audio", "data.clip_seconds=5", f"trainer.precision={precision}"]
            if name == "openjmla":
                overrides.append("model.checkpoint=random")
            settings = train_settings(overrides)
            profile = resolve_profile(settings.hardware, precision)
            profile.apply()
            module, batch = synthetic(settings, profile)
            measured = measure_micro_batch(module, batch, profile, LIMIT)
            meter = CudaMeter(profile.device, profile.unified)
            largest = bisect_size(measured, TrialStep(module, batch, precision), meter)
            print(
                f"{torch.cuda.get_device_name(0)}, {name}, {precision}: measured {measured.size}, by bisection {largest}: {measured.size / largest:.3f}"
            )
            del module, batch
            release_memory()


if __name__ == "__main__":
    main(sys.argv[1:] or ["cnn"])
