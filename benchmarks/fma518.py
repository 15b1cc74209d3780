"""The 518 features of a clip: the fast back end against librosa, per length, on one core and two; decoding; peak memory of an hour.

Seconds are CPU time of one thread where one core is meant, so that other work on the machine counts less. Clips are FMA's
MP3s if MUSICRECLASS_TEST_DATA names a folder with them, otherwise made-up noise and tones. Essentia's MusicExtractor runs in the
same rounds if its wheel is installed.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import statistics  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import textwrap  # noqa: E402
import time  # noqa: E402
import warnings  # noqa: E402
from collections.abc import Callable  # noqa: E402
from concurrent.futures import ThreadPoolExecutor  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import soundfile  # noqa: E402

from musicreclass.data.audio.decoding import NativeAudio  # noqa: E402
from musicreclass.features.fma518.extraction import extract, extract_file  # noqa: E402

ROUNDS = 9
RATE = 44100

HOUR = """
    import resource, sys, time
    from musicreclass.features.fma518.extraction import extract_file
    start = time.process_time()
    extract_file(sys.argv[1])
    print(time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def made_up(seconds: float, rate: int = RATE) -> np.ndarray:
    """Tones and noise."""
    t = np.arange(round(seconds * rate)) / rate
    tones = sum(np.sin(2 * np.pi * f * t) / k for k, f in enumerate((220.0, 329.6, 440.0, 1318.5), 1))
    noise = np.random.default_rng(0).standard_normal(len(t)) * (np.sin(2 * np.pi * 2 * t) > 0)
    return (0.2 * (tones + 0.3 * noise)).astype(np.float32)


def clips() -> list[Path]:
    """Recordings of 30 s at 44.1 kHz."""
    folder = os.environ.get("MUSICRECLASS_TEST_DATA")
    return sorted(Path(folder, "FMA").rglob("*.mp3"))[:ROUNDS] if folder else []


def audio_of(path: Path) -> tuple[np.ndarray, int]:
    """A decoded recording, and its rate."""
    with NativeAudio.open(path) as audio:
        return np.concatenate(list(audio.blocks())), audio.rate


def cpu_seconds(function: Callable[[], object]) -> float:
    """CPU time of a call."""
    start = time.process_time()
    function()
    return time.process_time() - start


def compare(name: str, pairs: list[tuple[np.ndarray, int]]) -> None:
    """Print the median seconds of both back ends and the median of their ratios, a clip a round."""
    rows = []
    for audio, rate in pairs:
        rows.append([cpu_seconds(lambda b=b, a=audio, r=rate: extract(a, r, b)) for b in ("reference", "fast")])
    reference, fast = np.array(rows).T
    print(
        f"  {name:<34} librosa {np.median(reference):7.3f} s   fast {np.median(fast):7.3f} s   "
        f"{np.median(reference / fast):5.2f} x as fast [{np.min(reference / fast):.2f}, {np.max(reference / fast):.2f}]"
    )


def two_cores(path: Path) -> None:
    """Print the wall time of several files on one thread and on two."""
    ratios = []
    for _ in range(5):
        seconds = []
        for threads in (1, 2):
            start = time.perf_counter()
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(extract_file, [path] * 8))
            seconds.append(time.perf_counter() - start)
        ratios.append(seconds[0] / seconds[1])
    print(f"  8 files, two threads                 {statistics.median(ratios):.2f} x as fast as one")


def hour(folder: Path) -> None:
    """Print CPU time and peak memory of a file of a minute and of one of an hour."""
    for minutes in (1, 60):
        path = folder / f"{minutes}.wav"
        with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
            for _ in range(minutes):
                file.write(made_up(60))
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(HOUR), str(path)], capture_output=True, text=True, check=True
        )
        seconds, mib = map(float, done.stdout.split())
        print(f"  {minutes:>2} min at 44.1 kHz, whole process     {seconds:6.1f} s   peak memory {mib:.0f} MiB")


def essentia(paths: list[Path]) -> None:
    """Print Essentia's time beside ours, decoding included, if it is installed."""
    try:
        from essentia.standard import MusicExtractor
    except ImportError:
        print("  Essentia's MusicExtractor            not run: its wheel is not installed")
        return
    extractor = MusicExtractor()
    rows = np.array(
        [[cpu_seconds(lambda p=p: extractor(str(p))), cpu_seconds(lambda p=p: extract_file(p))] for p in paths]
    )
    theirs, ours = np.median(rows, axis=0)
    print(
        f"  Essentia's MusicExtractor {theirs:6.3f} s   from the file {ours:6.3f} s   {np.median(rows[:, 0] / rows[:, 1]):.2f} x as fast"
    )


def main() -> None:
    warnings.simplefilter("ignore")
    for backend in ("fast", "reference"):  # compile, and fill caches
        extract(made_up(3), RATE, backend)
    files = clips()
    print(f"518 features, CPU time of one thread, medians of {ROUNDS} rounds")
    if files:
        compare("FMA's MP3s, 30 s at 44.1 kHz", [audio_of(path) for path in files])
    for seconds, rate in ((3, RATE), (30, 22050), (30, RATE), (120, RATE)):
        compare(f"made up, {seconds} s at {rate} Hz", [(made_up(seconds, rate), rate)] * ROUNDS)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        soundfile.write(folder / "clip.flac", made_up(30), RATE)
        files = files or [folder / "clip.flac"]
        decode = [cpu_seconds(lambda p=p: audio_of(p)) for p in files]
        total = [cpu_seconds(lambda p=p: extract_file(p)) for p in files]
        print(
            f"  decoding                             {100 * np.median(np.array(decode) / total):.0f} % of a file's CPU time"
        )
        two_cores(files[0])
        essentia(files)
        hour(folder)


if __name__ == "__main__":
    main()
