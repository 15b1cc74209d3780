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
    found = sorted(Path(root, "FMA", "Data").rglob("*.mp3"))[:FILES] if root else []
    if found:
        return found
    rng, t = np.random.default_rng(0), np.arange(30 * 44100) / 44100
    for i in range(FILES):
        sweep = 0.3 * np.sin(2 * np.pi * (100 + 10 * i + 50 * t) * t)[:, None]
        path = folder / f"{i:06d}.mp3"
        soundfile.write(path, sweep + 0.1 * rng.standard_normal((len(t), 2)), 44100, bitrate_mode="CONSTANT",
                        compression_level=0.0)  # fmt: skip
        found.append(path)
    return found


def clocked(work: Callable[..., object], *words: object) -> float:
    """Seconds that it takes."""
    start = time.perf_counter()
    work(*words)
    return time.perf_counter() - start


def typical(values: Iterable[float]) -> float:
    return statistics.median(values)


def decode(paths: list[Path], workers: int = 1) -> None:
    """Every file whole."""
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
    """Peak memory of a process of its own after each epoch, MiB."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        for number in range(EPOCHS):
            for repeat in range(5):
                epoch(waves, 5 * number + repeat)
            os.write(writer, f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.1f} ".encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as told:
        return [float(word) for word in told.read().split()]


def against_librosa(paths: list[Path]) -> None:
    ours, theirs = [], []
    for number in range(ROUNDS + 1):
        for path in paths:
            taken = clocked(first_time, path), clocked(lambda path: librosa.load(path, sr=RATE), path)
            if number:  # the first round warms up
                ours.append(taken[0])
                theirs.append(taken[1])
    ratio = typical(a / b for a, b in zip(theirs, ours, strict=True))
    print(f"MP3 of 30 s to {RATE:,} Hz mono, {len(paths)} files, medians of {ROUNDS} rounds")
    print(f"  librosa.load                 {1000 * typical(theirs):8.1f} ms")
    print(f"  ours, checked                {1000 * typical(ours):8.1f} ms   {ratio:.2f} x as fast")


def epochs(paths: list[Path], cached: Waveforms, direct: Waveforms) -> None:
    whole, sought, read = [], [], []
    for number in range(ROUNDS):
        whole.append(clocked(decode, paths))
        sought.append(clocked(epoch, direct, number))
        read.append(typical(clocked(epoch, cached, number) for _ in range(9)))
    print("An epoch of crops of 5 s, per clip")
    for words, taken in (
        ("every file decoded whole", whole),
        ("sought to and decoded", sought),
        ("from the cache", read),
    ):
        ratio = typical(a / b for a, b in zip(taken, read, strict=True))
        print(f"  {words:28s} {1000 * typical(taken) / len(paths):8.3f} ms   {ratio:.0f} x the cache's time")


def threads(paths: list[Path]) -> None:
    pairs = [(clocked(decode, paths * 3, 1), clocked(decode, paths * 3, 2)) for _ in range(ROUNDS)]
    print(f"Decoding by two threads          {typical(one / two for one, two in pairs):.2f} x as fast as by one")


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        paths = recordings(Path(place))
        against_librosa(paths)
        store = Store(Path(place, "cache"))
        with contextlib.redirect_stderr(io.StringIO()):
            cached = open_waveforms(paths, RATE, store, cache=True)
            direct = open_waveforms(paths, RATE, store, cache=False)
        epochs(paths, cached, direct)
        threads(paths)
        for name, waves in (("from the cache", cached), ("decoding", direct)):
            told = " ".join(f"{peak:.0f}" for peak in peaks(waves))
            print(f"Peak memory, every 5 of {5 * EPOCHS} epochs {name}: {told} MiB")


if __name__ == "__main__":
    main()
