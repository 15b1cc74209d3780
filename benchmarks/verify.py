"""Verification of recordings against decoding alone, and the search for near-copies among 25,000 clips: time and memory.

Takes the MP3s and WAVs of `$MUSICRECLASS_DATA`, or makes some. Verification and decoding take turns in one run.
"""

from __future__ import annotations

import contextlib
import io
import os
import resource
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile

from musicreclass.data.audio.decoding import decode
from musicreclass.data.verification.examined import examine_recordings
from musicreclass.data.verification.fingerprint import RATE, fingerprint
from musicreclass.data.verification.index import near_matches
from musicreclass.storage.store import Store, file_digests

FILES, ROUNDS, SAMPLE_RATE, CLIPS = 20, 7, 22050, 25_000


def recordings(folder: Path, ending: str, below: str) -> list[Path]:
    """Real clips if there are any, else noise with sweeps: 30 s, 44.1 kHz, stereo."""
    root = os.environ.get("MUSICRECLASS_DATA")
    paths = sorted(Path(root, below).rglob(f"*.{ending}"))[:FILES] if root else []
    if paths:
        return paths
    rng, t = np.random.default_rng(0), np.arange(30 * 44100) / 44100
    for i in range(FILES):
        sweep = 0.3 * np.sin(2 * np.pi * (100 + 10 * i + 50 * t) * t)[:, None]
        paths.append(folder / f"{i:06d}.{ending}")
        soundfile.write(paths[-1], sweep + 0.1 * rng.standard_normal((len(t), 2)), 44100)
    return paths


def decode_all(paths: list[Path]) -> None:
    """Decode every file at the rate of training, in as many threads as verification."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(lambda path: decode(path, SAMPLE_RATE), paths))


def verify_all(paths: list[Path]) -> None:
    """Hash, decode and fingerprint every file with an empty store."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        store = Store(Path(folder))
        near_matches([e.fingerprint for e in examine_recordings(paths, file_digests(paths, store), store)])


def against_decoding(label: str, paths: list[Path]) -> None:
    """Print the ratio of both, by the clock and by CPU time, which other work on the machine hardly changes."""
    taken: dict[str, list[np.ndarray]] = {"decoding": [], "verification": []}
    for number in range(ROUNDS + 1):
        for name, work in (("decoding", decode_all), ("verification", verify_all)):
            start = np.array([time.perf_counter(), time.process_time()])
            work(paths)
            if number:  # the first round warms up
                taken[name].append(np.array([time.perf_counter(), time.process_time()]) - start)
    decoding, verification = (np.array(rounds) for rounds in taken.values())
    print(f"{label}, {len(paths)} files, medians of {ROUNDS} rounds")
    for k, clock in enumerate(("clock", "CPU")):
        first, second = (1000 * np.median(part[:, k]) / len(paths) for part in (decoding, verification))
        ratios = verification[:, k] / decoding[:, k]
        print(f"  {clock}: decoding {first:.1f} ms, verification {second:.1f} ms a file; ratio {np.median(ratios):.2f}"
              f" [{ratios.min():.2f}, {ratios.max():.2f}]")  # fmt: skip


def search(count: int) -> None:
    """Look for near-copies among clips whose frames are those of a real fingerprint, in other orders and with other bits."""
    rng = np.random.default_rng(0)
    template = fingerprint([rng.normal(0, 0.1, round(30 * RATE)).astype(np.float32)])
    prints = [
        np.roll(template, rng.integers(len(template))) ^ np.uint32(rng.integers(1, 2**32)) for _ in range(count - 1)
    ]
    prints.append(prints[0][200:600].copy())
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    matches = near_matches(prints)
    seconds, peak = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = sum(bits.nbytes for bits in prints) / 2**20
    print(f"{count:,} clips of 30 s: {len(matches)} match, {seconds:.1f} s; fingerprints {size:.0f} MiB, "
          f"peak memory {peak / 1024:.0f} MiB ({(peak - before) / 1024:.0f} MiB more than before)")  # fmt: skip


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        against_decoding("MP3", recordings(Path(folder), "mp3", "FMA/Data"))
        against_decoding("WAV", recordings(Path(folder), "wav", "GTZAN/Data"))
    search(int(sys.argv[1]) if len(sys.argv) > 1 else CLIPS)


if __name__ == "__main__":
    main()
