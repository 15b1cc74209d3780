"""Labelling a folder: `predict` against decoding and features alone, by as many processes; one track; memory over many files.

    python -m benchmarks.predict [FILES]

Recordings are FLAC files of 30 s at 44.1 kHz, stereo, of tones and noise. The store is empty each time.
"""

from __future__ import annotations

import csv
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

import musicreclass as mrc
from musicreclass.features.fma518.extractor import FMA518
from musicreclass.features.workers import in_processes
from musicreclass.storage.versions import FileVersion

RATE, SECONDS, ROUNDS, GENRES = 44100, 30, 3, {"low": 150, "middle": 600, "high": 2400}


def write(path: Path, frequency: float, seed: int, seconds: float = SECONDS) -> None:
    """A stereo recording of a tone in noise."""
    rng, t = np.random.default_rng(seed), np.arange(round(seconds * RATE)) / RATE
    tone = 0.3 * np.sin(2 * np.pi * frequency * (1 + 0.1 * rng.random()) * t)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, (tone[:, None] + 0.05 * rng.standard_normal((len(t), 2))).astype(np.float32), RATE)


def features_alone(paths: list[Path], workers: int) -> float:
    """Seconds to decode files and compute their features, by processes."""
    jobs = {row: (path, FileVersion.of(path)) for row, path in enumerate(paths)}
    started = time.perf_counter()
    list(in_processes(FMA518(), jobs, workers))
    return time.perf_counter() - started


def predicted(runs: list[str], folder: Path, here: Path, number: int) -> float:
    """Seconds of the predict task, without starting Python and importing libraries."""
    from musicreclass.tasks.file_classifier import open_file_classifier
    from musicreclass.tasks.predict import find_recordings, predict

    paths, _ = find_recordings([folder])
    classifier = open_file_classifier([Path(run) for run in runs], overrides=[f"paths.cache={here}/cache{number}"])
    started = time.perf_counter()
    predict(classifier, paths, here / f"genres{number}.csv")
    return time.perf_counter() - started


def main(count: int) -> None:
    """Print the comparison."""
    workers = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        for genre, frequency in GENRES.items():
            for i in range(8):
                write(here / "train" / genre / f"artist{i % 4}" / f"{i}.flac", frequency, i, 5)
        os.environ["MUSICRECLASS_CACHE"] = str(here / "cache")
        data = ["data=folder", f"data.root={here}/train", "logger=none"]
        run = str(mrc.train([*data, "features=fma518", "model=logreg", f"run_dir={here}/features"]).folder)
        cnn = str(mrc.train([*data, "model=cnn_small", "trainer.max_epochs=1", f"run_dir={here}/cnn"]).folder)
        for i in range(count):
            write(here / "songs" / f"{i}.flac", 100 + 20 * i, i)
        songs = sorted((here / "songs").iterdir())
        alone, labelled = [], []
        for number in range(ROUNDS):
            alone.append(features_alone(songs, workers))
            labelled.append(predicted([run], here / "songs", here, number))
        ratio = statistics.median(b / a for a, b in zip(alone, labelled, strict=True))
        print(f"{count} recordings of {SECONDS} s, {workers} processes, medians of {ROUNDS} rounds")
        print(f"  decode and features alone {count / statistics.median(alone):7.2f} files/s")
        print(
            f"  predict                   {count / statistics.median(labelled):7.2f} files/s   {ratio:.2f} x the time"
        )
        seconds = predicted([cnn], here / "songs", here, ROUNDS)
        print(f"  predict, cnn_small        {count / seconds:7.2f} files/s")
        one = here / "one"
        one.mkdir()
        songs[0].rename(one / "song.flac")
        print(f"  one track                 {predicted([run], one, here, ROUNDS + 1):7.2f} s")
        command = [
            sys.executable,
            "-m",
            "musicreclass",
            "predict",
            run,
            "--input",
            str(one),
            "--output",
            f"{here}/g.csv",
        ]
        started = time.perf_counter()
        subprocess.run([*command, f"paths.cache={here}/cold"], check=True, capture_output=True)
        print(f"  one track, whole command  {time.perf_counter() - started:7.2f} s")
        memory(here, cnn)
        with (here / "g.csv").open(newline="") as file:
            assert len(list(csv.DictReader(file))) == 1


def memory(here: Path, run: str) -> None:
    """Print the peak memory after every 500 of 2,000 short recordings."""
    samples = (0.1 * np.random.default_rng(0).standard_normal(2 * 22050)).astype(np.float32)
    for i in range(2000):
        samples[0] = i / 2000
        path = here / "many" / f"{i:04d}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, samples, 22050)
    from musicreclass.tasks.file_classifier import open_file_classifier

    classifier = open_file_classifier([Path(run)])
    peaks = []
    for i, _ in enumerate(classifier.label(sorted((here / "many").iterdir())), start=1):
        if i % 500 == 0:
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    print(f"  peak memory after every 500 of 2,000 files: {' '.join(map(str, peaks))} MiB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
