"""The time of a sweep of one-thread MLP runs on a feature table relative to its fits, sequentially and with two joblib workers.

The table is FMA medium's size, the training the preset's. `python benchmarks/sweep.py RUNS EPOCHS`; by default 20 and 40.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

TRAIN, VALID, FEATURES, CLASSES = 17_000, 2_000, 518, 16
RUNS, EPOCHS = (int(word) for word in (sys.argv[1:] or ["20", "40"]))
JOBLIB = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]


def write_table(path: Path) -> None:
    """Noise with a different mean for each class."""
    rng = np.random.default_rng(0)
    n = TRAIN + VALID
    y = rng.integers(0, CLASSES, n)
    x = (rng.standard_normal((n, FEATURES)) + 0.3 * rng.standard_normal((CLASSES, FEATURES))[y]).astype(np.float32)
    frame = pd.DataFrame(x, columns=[f"f{i}" for i in range(FEATURES)])
    frame.insert(0, "track_id", np.arange(n).astype(str))
    frame["label"] = [f"c{k:02d}" for k in y]
    frame["split"] = np.where(np.arange(n) < TRAIN, "train", "valid")
    frame.to_parquet(path)


def sweep(folder: Path, name: str, launcher: list[str]) -> tuple[float, float, list[dict[str, float]]]:
    """The seconds that a sweep took, those of all its processes on a processor, and each run's by phase."""
    arguments = ["train", "-m", "data=table", f"data.path={folder}/table.parquet", "data.split_column=split", "model=mlp",
             f"trainer.max_epochs={EPOCHS}", f"seed=range(0,{RUNS})", f"paths.outputs={folder}/{name}",
             f"paths.cache={folder}/{name}/cache", *launcher]  # fmt: skip
    start, busy = time.perf_counter(), processor()
    subprocess.run([sys.executable, "-m", "musicreclass", *arguments], stdout=subprocess.DEVNULL, check=True)
    took, busy = time.perf_counter() - start, processor() - busy
    runs = (folder / name).glob("table-*/provenance.json")
    return took, busy, [json.loads(file.read_text())["seconds"] for file in runs]


def processor() -> float:
    """Seconds on a processor of all processes begun here that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    print(f"{RUNS} MLP runs of {EPOCHS} epochs on {TRAIN + VALID:,} x {FEATURES}, one thread each")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_table(folder / "table.parquet")
        alone, busy, runs = sweep(folder, "sequential", ["hardware.threads=1"])
        fits = sum(run["fit"] for run in runs)
        print(
            f"  one after the other   {alone:7.0f} s   {alone / fits:5.2f} x the sum of the fits ({fits:.0f} s)",
            flush=True,
        )
        for phase in ("data", "score"):
            print(f"    {phase:<6} {sum(run[phase] for run in runs) / len(runs):6.2f} s a run")
        beside, busier, _ = sweep(folder, "joblib", JOBLIB)
        print(f"  two joblib workers    {beside:7.0f} s   {beside / alone:5.2f} x one after the other")
        print(
            f"    on a processor        {busier:5.0f} s, {busier / busy:.2f} x as long: on two cores of their own {busier / busy / 2:.2f}"
        )


if __name__ == "__main__":
    main()
