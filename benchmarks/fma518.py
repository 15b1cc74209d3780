"""The 518 features of a clip: the fast back end against librosa, per length, on one core and two; decoding; whole tracks; an hour's
peak memory; torch.

Seconds are CPU time of one thread where one core is meant, so that other work on the machine counts less. Clips are FMA's
MP3s if MUSICRECLASS_TEST_DATA names a folder with them, otherwise made-up noise and tones. Essentia's MusicExtractor runs in the
same rounds if its wheel is installed.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import textwrap  # noqa: E402
import time  # noqa: E402
import warnings  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import soundfile  # noqa: E402
import torch  # noqa: E402
from joblib import Parallel, delayed  # noqa: E402

from musicreclass.data.audio.decoding import NativeAudio  # noqa: E402
from musicreclass.features.fma518.extraction import extract, extract_file  # noqa: E402
from musicreclass.features.fma518.torch_series import extract_batch  # noqa: E402

ROUNDS = 9
RATE = 44100
TRACK_SECONDS = 279  # FMA's mean

ALONE = """
    import sys, time
    from pathlib import Path
    import numpy as np
    from musicreclass.features.fma518.extraction import extract, extract_file
    extract(np.random.default_rng(0).standard_normal(3 * 44100), 44100)  # loads compiled code
    start = time.process_time()
    extract_file(sys.argv[1])
    seconds = time.process_time() - start
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(seconds, int(status["VmHWM"].split()[0]) / 1024)  # ru_maxrss would include that of the parent before exec
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


def seconds_of_file(path: Path) -> float:
    """CPU time of a file in this process."""
    return cpu_seconds(lambda: extract_file(path))


def two_cores(paths: list[Path]) -> None:
    """Print how much faster two processes are than one: measured, and from the CPU time, as if both cores were free."""
    walls, times = [], []
    for workers in (1, 2):
        pool = Parallel(workers, "loky", batch_size=1)
        with pool:
            pool(delayed(seconds_of_file)(path) for path in paths * 2)  # starts processes, loads compiled code
            start = time.perf_counter()
            times.append(sum(pool(delayed(seconds_of_file)(path) for path in paths * 12)))
            walls.append(time.perf_counter() - start)
    print(
        f"  {12 * len(paths)} files, two processes           {walls[0] / walls[1]:.2f} x as fast as one; "
        f"on two free cores {2 * times[0] / times[1]:.2f} x"
    )


def alone(path: Path, name: str, length: float) -> None:
    """Print CPU time and peak memory of a process that does nothing but one file."""
    command = [sys.executable, "-c", textwrap.dedent(ALONE), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, mib = map(float, done.stdout.split())
    print(
        f"  {name:<36} {seconds:6.2f} s, {1000 * seconds / length:.2f} ms per second of audio   peak memory {mib:.0f} MiB"
    )


def long_files(folder: Path, files: list[Path]) -> None:
    """Print CPU time and peak memory of a minute, an hour, and a track of FMA's mean length."""
    minute = made_up(60)
    for minutes in (1, 60):
        path = folder / f"{minutes}.wav"
        with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
            for _ in range(minutes):
                file.write(minute)
        alone(path, f"{minutes} min, WAV, 44.1 kHz", 60 * minutes)
    stereo = soundfile.read(files[0], always_2d=True)[0]
    track = np.resize(stereo, (TRACK_SECONDS * RATE, stereo.shape[1]))
    soundfile.write(folder / "track.mp3", track, RATE, format="MP3")
    alone(folder / "track.mp3", f"{TRACK_SECONDS} s, MP3 of {stereo.shape[1]} channels, 44.1 kHz", TRACK_SECONDS)


def by_torch() -> None:
    """Print the time of the torch back end, on one thread and on a GPU."""
    torch.set_num_threads(1)
    batch = np.stack([made_up(30)] * 8)
    extract_batch(batch[:1], RATE)
    seconds = [cpu_seconds(lambda: extract_batch(batch, RATE)) / len(batch) for _ in range(3)]
    print(f"  torch on one CPU thread, per clip    {np.median(seconds):.3f} s")
    if not torch.cuda.is_available():
        print("  torch on a GPU                       not run: no GPU available")
        return
    extract_batch(batch, RATE, "cuda")
    start = time.perf_counter()
    for _ in range(20):
        extract_batch(batch, RATE, "cuda")
    print(f"  torch on a GPU, decoded clips        {20 * len(batch) / (time.perf_counter() - start):.0f} clips/s")


def against_essentia(paths: list[Path]) -> None:
    """Print Essentia's time beside ours, decoding included, if it is installed."""
    try:
        import essentia as package
        from essentia.standard import MusicExtractor
    except ImportError:
        print("  Essentia's MusicExtractor            not run: its wheel is not installed")
        return
    package.log.infoActive = False
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
        print(f"  from the file                        {1000 * np.median(total) / 30:.2f} ms per second of audio")
        two_cores(files)
        against_essentia(files)
        long_files(folder, files)
    by_torch()


if __name__ == "__main__":
    main()
