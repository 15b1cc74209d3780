"""experiment=quick_baseline on synthetic metadata of FMA's full size: seconds and memory of the command, first and second time.

106,574 tracks, of which fma_medium has 25,000 of 16 genres, 19,922 for training, 2,505 for validation and 2,573 for the test; 518
features. Genres overlap, so that the trees improve through most of their rounds. The accuracy is meaningless.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from musicreclass.features.fma518.columns import COLUMNS

TRACKS, GENRES = 106_574, 16
SPLITS = {"training": 19_922, "validation": 2_505, "test": 2_573}
GOAL = 300  # seconds


def make(folder: Path) -> None:
    """tracks.csv and features.csv, with the official headers, as far as they are read."""
    rng = np.random.default_rng(0)
    medium = sum(SPLITS.values())
    genre = np.minimum(rng.exponential(4.0, TRACKS).astype(int), GENRES - 1)  # uneven, as FMA's
    split = np.repeat(list(SPLITS), list(SPLITS.values()))
    with (folder / "tracks.csv").open("w") as file:
        file.write(",album,artist,set,set,track\n,id,id,split,subset,genre_top\ntrack_id,,,,,\n")
        for i in range(TRACKS):
            group = f"{i // 3},{i // 9}"  # as lists of neighbours fall into one split, so do their artists
            file.write(
                f"{i},{group},{split[i]},medium,genre {genre[i]:02d}\n"
                if i < medium
                else f"{i},{group},training,large,\n"
            )
    names = [name.rsplit("_", 2) for name in COLUMNS]
    means = rng.normal(size=(GENRES, 518)) * 0.15
    with (folder / "features.csv").open("w") as file:
        for title, level in zip(("feature", "statistics", "number"), zip(*names, strict=True), strict=True):
            file.write(",".join([title, *level]) + "\n")
        file.write("track_id" + "," * 518 + "\n")
        for i in range(TRACKS):
            if i < medium:
                tail = ",".join(f"{v:.6g}" for v in rng.normal(size=518) + means[genre[i]])
            file.write(f"{i},{tail}\n")  # the features of larger subsets are not read


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        root = folder / "fma_metadata"
        root.mkdir()
        make(root)
        print(f"quick_baseline, {TRACKS:,} x 518 made up, medium: {sum(SPLITS.values()):,}; goal {GOAL} s")
        command = [sys.executable, "-m", "musicreclass", "train", "experiment=quick_baseline", f"data.root={folder}"]
        for name, overrides in (("first", []), ("again, force=true", ["force=true"])):
            start = time.perf_counter()
            done = subprocess.run([*command, *overrides], cwd=folder, capture_output=True, text=True)
            took = time.perf_counter() - start
            if done.returncode:
                raise SystemExit(done.stdout + done.stderr)
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
            rounds = [len(file.read_text().splitlines()) - 1 for file in folder.glob("outputs/*/history.csv")]
            print(f"  {name:<20}{took:8.1f} s   {rounds[0]} rounds   peak memory {peak:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
