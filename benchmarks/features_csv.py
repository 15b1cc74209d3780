"""features.csv of the full size (106,574 x 518, about 950 MB): the second load against pandas.read_csv, and memory of the first.

The file has random values in the official format. Each load runs in a separate process.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np

from musicreclass.features.fma518.columns import COLUMNS

TRACKS, ROUNDS = 106_574, 3

LOAD = """
    import resource, sys, time
    from pathlib import Path
    from musicreclass.data.sources.fma_features_csv import FeaturesCSV
    from musicreclass.storage.store import Store
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    table = FeaturesCSV.load(Path(sys.argv[1]), Store(Path(sys.argv[2])))
    table.values[::1000].sum()
    took = time.perf_counter() - start
    print(took, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
PANDAS = """
    import sys, time
    import pandas as pd
    start = time.perf_counter()
    pd.read_csv(sys.argv[1], header=[0, 1, 2], index_col=0)
    print(time.perf_counter() - start, 0)
"""


def make(path: Path) -> None:
    """A file of random numbers with the official header of three rows."""
    rng = np.random.default_rng(0)
    names = [name.rsplit("_", 2) for name in COLUMNS]
    with path.open("w") as file:
        for title, level in zip(("feature", "statistics", "number"), zip(*names, strict=True), strict=True):
            file.write(",".join([title, *level]) + "\n")
        file.write("track_id" + "," * 518 + "\n")
        tails = [",".join(f"{v:.7g}" for v in rng.normal(size=518) * 100) for _ in range(2000)]
        for i in range(TRACKS):
            file.write(f"{i},{tails[i % 2000]}\n")


def measure(code: str, *arguments: object) -> tuple[float, float]:
    """Seconds and MiB that a process reports."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)], capture_output=True, text=True, check=True
    )
    seconds, mib = done.stdout.split()
    return float(seconds), float(mib)


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make(folder / "features.csv")
        size = (folder / "features.csv").stat().st_size / 1e6
        first, memory = measure(LOAD, folder / "features.csv", folder / "cache")
        seconds, pandas = [], []
        for _ in range(ROUNDS):
            pandas.append(measure(PANDAS, folder / "features.csv")[0])
            seconds.append(measure(LOAD, folder / "features.csv", folder / "cache")[0])
    table = TRACKS * 518 * 4 / 2**20
    ratio = statistics.median(p / s for p, s in zip(pandas, seconds, strict=True))
    print(f"features.csv, {TRACKS:,} x 518, {size:.0f} MB, medians of {ROUNDS} rounds")
    print(f"  pandas.read_csv          {statistics.median(pandas):8.2f} s")
    print(
        f"  first load               {first:8.2f} s   peak memory {memory:.0f} MiB above the start; the float32 table is {table:.0f} MiB"
    )
    print(f"  second load              {statistics.median(seconds):8.3f} s   {ratio:.0f} x as fast as pandas")


if __name__ == "__main__":
    main()
