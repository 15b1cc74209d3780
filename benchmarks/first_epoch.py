"""CPU time and peak memory of the first epoch over a table of 100,000 x 518, against `prepare`, which only reads and checks it.

Both run as the command does, in processes of their own, in turn, with one thread: threads that wait for a busy processor would
count as work. ROUNDS may be given as an argument.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

TRACKS, FEATURES, GENRES = 100_000, 518, 16
GOAL = 1.5
TABLE = ["data=table", "data.path=big.parquet", "data.group_column=artist"]
COMMANDS = {
    "prepare": ["prepare", *TABLE, "hardware.threads=1"],
    "train": ["train", *TABLE, "hardware.threads=1", "model=mlp", "trainer.max_epochs=1", "run_dir=run", "force=true"],
}


def make(folder: Path) -> None:
    """A table of overlapping classes with 20,000 artists."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, GENRES, TRACKS)
    means = rng.standard_normal((GENRES, FEATURES), dtype=np.float32) * 0.3
    frame = pd.DataFrame(
        rng.standard_normal((TRACKS, FEATURES), dtype=np.float32) + means[y], columns=[f"f{i}" for i in range(FEATURES)]
    )
    frame.insert(0, "track_id", [f"t{i:06d}" for i in range(TRACKS)])
    frame["label"] = [f"g{k:02d}" for k in y]
    frame["artist"] = [f"a{k}" for k in rng.integers(0, 20_000, TRACKS)]
    frame.to_parquet(folder / "big.parquet")


def measure(folder: Path, arguments: list[str]) -> tuple[float, float]:
    """CPU seconds and peak memory in MiB of a command."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    null = os.open(os.devnull, os.O_WRONLY)
    actions = [(os.POSIX_SPAWN_DUP2, null, 1)]
    pid = os.posix_spawn(sys.executable, [sys.executable, "-m", "musicreclass", *arguments, f"paths.cache={folder}/cache"],
                         environment, file_actions=actions)  # fmt: skip
    _, status, used = os.wait4(pid, 0)
    os.close(null)
    if status:
        raise SystemExit(f"{arguments[0]}: exit status {status}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make(folder)
        os.environ["PYTHONPATH"] = os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])
        os.chdir(folder)
        figures = [{name: measure(folder, command) for name, command in COMMANDS.items()} for _ in range(rounds)]
    print(f"a table of {TRACKS:,} x {FEATURES}, medians of {rounds} rounds; goal {GOAL} x")
    for name in COMMANDS:
        seconds, memory = (statistics.median(row[name][i] for row in figures) for i in (0, 1))
        print(f"  {name:<10}{seconds:7.1f} s of CPU time   peak memory {memory:5.0f} MiB")
    ratios = [[row["train"][i] / row["prepare"][i] for row in figures] for i in (0, 1)]
    print(f"  ratio     {statistics.median(ratios[0]):7.2f} x [{min(ratios[0]):.2f}, {max(ratios[0]):.2f}]"
          f"   {statistics.median(ratios[1]):.2f} x")  # fmt: skip


if __name__ == "__main__":
    main()
