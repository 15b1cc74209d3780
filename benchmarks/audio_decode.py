"""Loading audio: MP3s of 30 s against librosa.load, an epoch of crops from the cache against decoding, peak memory.

Takes the MP3s of `$MUSICRECLASS_DATA/FMA/Data`, or makes some. Everything is measured in one run, turn by turn.
"""

from __future__ import annotations

import contextlib
import io
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import librosa
import numpy as np
import soundfile

from musicreclass.data.audio import decoding, header
from musicreclass.data.waveforms import Waveforms, open_waveforms
from musicreclass.storage.store import Store

FILES, ROUNDS, RATE, CROP, EPOCHS = 20, 5, 22050, 5 * 22050, 6


def recordings(folder: Path) -> list[Path]:
    """Real MP3s if there are any, else sweeps with noise: 30 s, 44.1 kHz, stereo."""
    root = os.environ.get("MUSICRECLASS_DATA")
    paths = sorted(Path(root, "FMA", "Data").rglob("*.mp3"))[:FILES] if root else []
    if paths:
        return paths
    rng, t = np.random.default_rng(0), np.arange(30 * 44100) / 44100
    for i in range(FILES):
        sweep = 0.3 * np.sin(2 * np.pi * (100 + 10 * i + 50 * t) * t)[:, None]
        path = folder / f"{i:06d}.mp3"
        soundfile.write(path, sweep + 0.1 * rng.standard_normal((len(t), 2)), 44100, bitrate_mode="CONSTANT",
                        compression_level=0.0)  # fmt: skip
        paths.append(path)
    return paths


def seconds_of(work: Callable[..., object], *arguments: object) -> float:
    """Seconds that it takes."""
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def typical(values: Iterable[float]) -> float:
    return statistics.median(values)


def decode(paths: list[Path], workers: int = 1) -> None:
    """Decode every file completely."""
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda path: decoding.decode_examined(path, RATE, 0, decoding.probe(path, RATE)), paths))


def first_time(path: Path) -> None:
    """A file of which nothing is remembered yet."""
    header._read_header.cache_clear()
    decoding.decode(path, RATE)


def epoch(waves: Waveforms, seed: int) -> None:
    """A random crop of every recording."""
    rng = np.random.default_rng(seed)
    for i in rng.permutation(len(waves)).tolist():
        waves.crop(i, int(rng.integers(0, waves.lengths[i] - CROP)), CROP)


def peaks(waves: Waveforms) -> list[float]:
    """Peak memory of a separate process after each epoch, MiB."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        for number in range(EPOCHS):
            for repeat in range(5):
                epoch(waves, 5 * number + repeat)
            os.write(writer, f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.1f} ".encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as stream:
        return [float(peak) for peak in stream.read().split()]


def against_librosa(paths: list[Path]) -> None:
    ours, theirs = [], []
    for number in range(ROUNDS + 1):
        for path in paths:
            taken = seconds_of(first_time, path), seconds_of(lambda path: librosa.load(path, sr=RATE), path)
            if number:  # the first round warms up
                ours.append(taken[0])
                theirs.append(taken[1])
    ratio = typical(a / b for a, b in zip(theirs, ours, strict=True))
    print(f"MP3 of 30 s to {RATE:,} Hz mono, {len(paths)} files, medians of {ROUNDS} rounds")
    print(f"  librosa.load                 {1000 * typical(theirs):8.1f} ms")
    print(f"  ours, checked                {1000 * typical(ours):8.1f} ms   {ratio:.2f} x as fast")


def epochs(paths: list[Path], cached: Waveforms, direct: Waveforms) -> None:
    sequential, sought, read = [], [], []
    for number in range(ROUNDS):
        sequential.append(seconds_of(decode, paths))
        sought.append(seconds_of(epoch, direct, number))
        read.append(typical(seconds_of(epoch, cached, number) for _ in range(9)))
    print("An epoch of crops of 5 s, per clip")
    for label, taken in (
        ("every file decoded completely", sequential),
        ("sought to and decoded", sought),
        ("from the cache", read),
    ):
        ratio = typical(a / b for a, b in zip(taken, read, strict=True))
        print(f"  {label:28s} {1000 * typical(taken) / len(paths):8.3f} ms   {ratio:.0f} x the cache's time")


def threads(paths: list[Path]) -> None:
    pairs = [(seconds_of(decode, paths * 3, 1), seconds_of(decode, paths * 3, 2)) for _ in range(ROUNDS)]
    print(f"Decoding by two threads          {typical(one / two for one, two in pairs):.2f} x as fast as by one")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = recordings(Path(folder))
        against_librosa(paths)
        store = Store(Path(folder, "cache"))
        with contextlib.redirect_stderr(io.StringIO()):
            cached = open_waveforms(paths, RATE, store, cache=True)
            direct = open_waveforms(paths, RATE, store, cache=False)
        epochs(paths, cached, direct)
        threads(paths)
        for name, waves in (("from the cache", cached), ("decoding", direct)):
            peak_text = " ".join(f"{peak:.0f}" for peak in peaks(waves))
            print(f"Peak memory, every 5 of {5 * EPOCHS} epochs {name}: {peak_text} MiB")


if __name__ == "__main__":
    main()
