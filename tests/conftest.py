"""Shared fixtures: a small table, one cache of the demo data, the command line in process."""

from __future__ import annotations

import ctypes
import functools
import gc
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, settings

import musicreclass
from musicreclass.cli import main as cli
from musicreclass.cli.messages import report_error
from musicreclass.cli.options import Options
from musicreclass.config.check import train_settings
from musicreclass.config.settings.tasks import TrainSettings
from musicreclass.errors import Problem, UserError
from musicreclass.runs.folder import Run
from musicreclass.storage.versions import CLOCK_STEP, FileVersion
from tests.library import SMALL, TONES, write_tone
from tests.sounds import FORMATS, music, write

MODEL_FILES = sorted((Path(__file__).parents[1] / "conf" / "model").glob("*.yaml"))
MODELS = [p.stem for p in MODEL_FILES if "\ninput: table\n" in p.read_text()]
QUICK = {"random_forest": ["model.n_estimators=20"], "xgboost": ["model.n_estimators=20"]}
LISTENERS = [p.stem for p in MODEL_FILES if "\ninput: waveform\n" in p.read_text()]

settings.register_profile(
    "busy", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # no test judges the machine's speed
settings.load_profile("busy")


def pytest_collection_finish() -> None:
    """The imported libraries are no garbage: without this, a tenth of the processor time is spent to find that out."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@dataclass
class Result:
    """The exit code, output and problems of a command."""

    code: int
    out: str
    err: str
    problems: list[Problem] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        """The lines of stderr without the prefix."""
        return [line.removeprefix("musicreclass: ") for line in self.err.splitlines()]


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the whole session, in which the demo's clips and features are also those of the other workers."""
    folder = tmp_path_factory.mktemp("cache")
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "demo"
    shared.mkdir(exist_ok=True)
    (folder / "demo").symlink_to(shared)
    os.environ["MUSICRECLASS_CACHE"] = str(folder)
    for name in ("MUSICRECLASS_DATA", "MUSICRECLASS_DEBUG", "MUSICRECLASS_MODELS"):
        os.environ.pop(name, None)
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`musicreclass ARGUMENTS` in an empty working directory."""

    problems: list[Problem] = []

    def report(error: Exception) -> int:
        problems.extend(error.problems if isinstance(error, UserError) else [Problem(str(error), type(error).__name__)])
        return report_error(error)

    for module in ("main", "jobs", "train", "evaluate"):
        monkeypatch.setattr(f"musicreclass.cli.{module}.report_error", report)

    def command(*arguments: str) -> Result:
        capfd.readouterr()
        problems.clear()
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        captured = capfd.readouterr()
        return Result(code, captured.out, captured.err, list(problems))

    return command


def make_frame(n: int = 90, features: int = 6, seed: int = 0, groups: int = 0) -> pd.DataFrame:
    """A table of three classes that can be separated, with some missing values."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    x = rng.normal(size=(n, features)) + 1.5 * rng.normal(size=(3, features))[y]
    x[rng.random(x.shape) < 0.03] = np.nan
    frame = pd.DataFrame(x, columns=[f"f{i}" for i in range(features)])
    frame.insert(0, "track_id", [f"t{i:03d}" for i in range(n)])
    frame["label"] = np.array(["blues", "jazz", "rock"])[y]
    if groups:
        frame["artist"] = [f"{label}-{i % groups}" for i, label in enumerate(frame["label"])]
    return frame


def with_splits(frame: pd.DataFrame) -> pd.DataFrame:
    """A table with a split column, of which three fifths are for training."""
    return frame.assign(split=np.array(["train", "train", "train", "valid", "test"])[np.arange(len(frame)) // 3 % 5])


def write_gtzan_segments(root: Path) -> tuple[list[str], pd.DataFrame]:
    """Write GTZAN's table of segments, with ten of each of a few clips of two genres; returns the clips and the table."""
    from musicreclass.data.sources.gtzan import load_index

    rng = np.random.default_rng(0)
    index = load_index()
    clips = [t for t in index.index if t.startswith(("blues", "metal")) and index.fault_filtered[t] is not None][::3]
    rows = [
        [f"{c}.{k}.wav", 66149, *(rng.normal(size=8) + 2 * c.startswith("metal")), c.split(".")[0]]
        for c in clips
        for k in range(10)
    ]
    frame = pd.DataFrame(rows, columns=["filename", "length", *(f"f{i}" for i in range(8)), "label"])
    (root / "Data").mkdir()
    frame.to_csv(root / "Data" / "features_3_sec.csv", index=False)
    return clips, frame


@pytest.fixture
def table(here: Path) -> Path:
    """A small feature table with a split column, as CSV."""
    path = here / "features.csv"
    with_splits(make_frame()).to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def shared_runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The outputs of a run of a model over the small table, which is trained once; tests must not change them."""
    folder = tmp_path_factory.mktemp("shared")
    path = folder / "features.csv"
    with_splits(make_frame()).to_csv(path, index=False)

    @functools.cache
    def outputs(model: str) -> Path:
        musicreclass.train([*table_overrides(path), *quick(model), f"paths.outputs={folder}/{model}"])
        return folder / model

    return outputs


@pytest.fixture
def finished_run(shared_runs: Callable[[str], Path], table: Path, here: Path) -> Callable[..., Run]:
    """A run of a model over the `table` fixture, as after `musicreclass train` with its `quick` settings: a copy.

    It is in outputs/, or in the folder that is given, as with run_dir.
    """

    def copied(model: str, folder: str | None = None) -> Run:
        shared = shared_runs(model)
        if folder is None:
            shutil.copytree(shared, here / "outputs")
        else:
            (status,) = shared.glob("*/status.json")
            shutil.copytree(status.parent, here / folder)
        config = (only_run(here) if folder is None else here / folder) / "config.yaml"
        text = config.read_text().replace(str(shared.parent / "features.csv"), str(table))
        config.write_text(text.replace(str(shared), "outputs"))
        return Run.open(config.parent)

    return copied


def wait_until(condition: Callable[[], bool], seconds: float = 300) -> None:
    """Poll a condition; fails if it does not hold in time, which is generous, since the machine may be busy."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def settle(*paths: Path) -> None:
    """Wait until the files are older than a step of the clock; digests of newer ones are not remembered."""
    while not all(version and version.is_settled(time.time()) for version in map(FileVersion.of, paths)):
        time.sleep(CLOCK_STEP)


def written_at(folder: Path, pattern: str = "*") -> dict[str, int]:
    """When each file below a folder was last written, in nanoseconds, by relative path."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob(pattern) if path.is_file()}


def settings_for(*overrides: str) -> TrainSettings:
    """The checked settings of a command line."""
    return train_settings(list(overrides))


def table_overrides(path: Path) -> list[str]:
    """The overrides that read the `table` fixture quickly."""
    return [
        "data=table",
        f"data.path={path}",
        "data.split_column=split",
        "trainer.max_epochs=5",
        "trainer.batch_size=16",
    ]


def quick(model: str) -> list[str]:
    """The overrides that choose a model and make it small."""
    return [f"model={model}", *QUICK.get(model, [])]


def powerless(work: Callable[[], Any]) -> Any:
    """Call a function in a thread to which file permissions apply, also for root."""

    def without() -> Any:
        if os.geteuid() == 0:
            version_3, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
            assert ctypes.CDLL(None).capset(version_3, none) == 0
        return work()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(without).result()


def sum_again(model: Path) -> None:
    """Write SHA256SUMS for the files that a model's folder contains now, as a forger would."""
    files = [f for f in sorted(model.iterdir()) if f.name != "SHA256SUMS"]
    (model / "SHA256SUMS").write_text("".join(f"{sha256(f.read_bytes()).hexdigest()}  {f.name}\n" for f in files))


def only_run(here: Path) -> Path:
    """The one run folder under outputs/."""
    folders = [p.parent for p in (here / "outputs").glob("*/status.json")]
    assert len(folders) == 1, folders
    return folders[0]


@pytest.fixture
def real_data() -> Path:
    """The real data of MUSICRECLASS_TEST_DATA, or a skip."""
    folder = os.environ.get("MUSICRECLASS_TEST_DATA")
    if not folder:
        pytest.skip("MUSICRECLASS_TEST_DATA is not set")
    return Path(folder)


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Recordings of two stretches, in all formats and several rates."""
    folder = tmp_path_factory.mktemp("recordings")
    paths = []
    for i, (ending, options) in enumerate(FORMATS.items()):
        rate = 48000 if ending == "opus" else (44100, 22050, 8000)[i % 3]
        paths.append(write(folder / f"{i}.{ending}", music(33 + i / 10, rate, 1 + i % 2, seed=i), rate, **options))
    return paths


@pytest.fixture(scope="session")
def shared_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of genre folders of artist folders; tests must not change it."""
    folder = tmp_path_factory.mktemp("library")
    for k, (genre, tone) in enumerate(TONES.items()):
        for artist in range(6):
            for take in range(2):
                path = folder / "lib" / genre / f"{genre} artist {artist}" / f"song {take}.wav"
                write_tone(path, tone, 100 * k + 10 * artist + take)
    return folder / "lib"


@pytest.fixture
def library(shared_library: Path, here: Path) -> Path:
    """A folder of genre folders of artist folders."""
    return shutil.copytree(shared_library, here / "lib")


@pytest.fixture(scope="session")
def shared_clip_run(shared_library: Path) -> Path:
    folder = shared_library.parent
    data = ["data=folder", f"data.root={shared_library}", f"paths.outputs={folder}/outputs"]
    return musicreclass.train([*data, *SMALL, f"run_dir={folder}/r"]).folder


@pytest.fixture
def clip_run(shared_clip_run: Path, library: Path, here: Path) -> Path:
    """A run of a network over clips of the library: a copy, in the folder r."""
    shutil.copytree(shared_clip_run, here / "r")
    config = here / "r" / "config.yaml"
    config.write_text(config.read_text().replace(str(shared_clip_run.parent), str(here)))
    return here / "r"


@pytest.fixture
def parser_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Options]:
    """The parser of a task, before it parses."""

    def find(task: str) -> Options:
        parsers: list[Options] = []

        def stop(parser: Options, *_: Any) -> None:
            parsers.append(parser)
            raise SystemExit

        for name in ("parse_args", "parse_intermixed_args"):
            monkeypatch.setattr(Options, name, stop)
        with pytest.raises(SystemExit):
            cli.main([task, "x"])
        return parsers[0]

    return find
