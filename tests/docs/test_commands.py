"""The commands of the README and of the tutorials, in order, on small data. tests/tasks/test_tutorial.py has the library's.

Networks over audio are made smaller and searches shorter by the overrides of `SMALLER`; everything else runs as it is printed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from musicreclass.data.sources import gtzan
from musicreclass.runs.find import find_runs
from tests.conftest import make_frame
from tests.data.sources.test_fma import features_frame, tracks_frame
from tests.data.sources.test_fma import write as write_fma
from tests.docs.pages import BLOCK, README, ROOT, arguments, lines
from tests.library import TONES, write_tone
from tests.models.conftest import members, seeded  # noqa: F401  (fixtures)

NETWORK = ["model.channels=4", "model.sample_rate=8000", "model.frontend.n_fft=256", "model.frontend.hop_length=128",
           "model.frontend.n_mels=24", "trainer.max_epochs=1"]  # fmt: skip
SMALLER = {
    "experiment=gtzan_cnn": [*NETWORK, "data.clip_seconds=1"],
    "experiment=folder_cnn": [*NETWORK, "data.clip_seconds=1"],
    "search=xgboost": ["hydra.sweeper.n_trials=2"],
}
DOCS = ROOT / "docs"
pytestmark = pytest.mark.slow


def plant_gtzan(folder: Path) -> None:
    """Short tones under the names of some of GTZAN's clips: four of each genre and split."""
    index = gtzan.load_index().dropna(subset=["fault_filtered"])
    genres = index.index.str.split(".").str[0]
    chosen = index.groupby([genres, index.fault_filtered]).head(4)
    for number, clip in enumerate(chosen.index):
        genre = clip.split(".")[0]
        path = folder / "Data" / "genres_original" / genre / f"{clip}.wav"
        write_tone(path, 200 * (1 + sorted(set(genres)).index(genre)), number, seconds=2.5, rate=22050)


def plant_music(here: Path) -> None:
    """A library with folders of genres, and some recordings without a label."""
    for k, (genre, tone) in enumerate(TONES.items()):
        for artist in range(7):
            for take in range(2):
                path = here / "Music" / genre / f"{genre} artist {artist} - Song {take}.wav"
                write_tone(path, tone, 100 * k + 10 * artist + take, seconds=2.5, rate=22050)
        write_tone(here / "Unsorted" / f"{k}.wav", tone, 999 + k, seconds=2.5, rate=22050)


def plant_fma(folder: Path) -> None:
    """FMA's tables with 40 artists of 6 tracks; the features tell the artist, and hardly the genre."""
    random = np.random.default_rng(0)
    splits = ["training"] * 3 + ["validation", "test"]
    genres = ["Rock", "Folk"]
    rows = [
        (100 + i, splits[i // 6 % 5], "small", genres[i // 30 % 2], 1000 + i // 6, 500 + i // 6) for i in range(240)
    ]
    features = features_frame([row[0] for row in rows])
    artists = random.normal(scale=4, size=(40, features.shape[1]))
    features += np.repeat(artists, 6, axis=0).round(4)
    write_fma(folder / "fma_metadata", tracks_frame(rows), features)


def plant_tables(here: Path) -> None:
    """Tables with the columns that the page about splits names."""
    random = np.random.default_rng(0)
    features = pd.DataFrame(random.normal(size=(120, 6)), columns=[f"x{k}" for k in range(6)])
    artists = [f"artist {i // 5}" for i in range(120)]
    files = [f"{i}.wav" for i in range(120)]
    features.insert(0, "filename", files)
    features["label"] = ["rock" if i // 5 % 2 else "jazz" for i in range(120)]
    features.assign(artist=artists).to_csv(here / "features.csv", index=False)
    parts = ["train", "train", "train", "train", "train", "train", "valid", "valid", "test", "test"]
    features.assign(part=[parts[i // 5 % 10] for i in range(120)]).to_csv(here / "parts.csv", index=False)


@pytest.fixture
def served(monkeypatch) -> list[Path]:
    """The folders that TensorBoard was asked to serve; tests/tasks/test_tensorboard.py starts the server."""
    folders: list[Path] = []
    monkeypatch.setattr("musicreclass.cli.tensorboard.serve", lambda runs, host, port: folders.extend(runs) or 0)
    return folders


def follow(run: Callable, commands: list[str]) -> None:
    """Run commands as a shell would, one after the other."""
    assert commands
    for command in commands:
        smaller = [override for key, overrides in SMALLER.items() if key in command.split() for override in overrides]
        parts = [word for word in arguments(command) if not any(word.split("=")[0] == s.split("=")[0] for s in smaller)]
        result = run(*parts, *smaller)
        assert result.code == 0, (command, result.err)


def test_the_readme(run, here, seeded, served, monkeypatch):  # noqa: F811
    monkeypatch.setenv("MUSICRECLASS_MODELS", str(seeded.parent))
    plant_gtzan(here / "GTZAN")
    plant_music(here)
    frame = make_frame(120)
    frame.to_csv(here / "features.csv", index=False)
    commands = lines(README)
    tasks = {command.split()[1] for command in commands}
    assert {
        "prepare",
        "train",
        "compare",
        "tensorboard",
        "predict",
        "review",
        "organize",
        "evaluate",
        "export",
    } <= tasks
    follow(run, commands)
    assert served == [Path("outputs")]
    assert len(pd.read_csv(here / "genres.csv")) == len(TONES)
    assert {path.name for path in here.iterdir()} >= {"report.html", "review.html", "Playlists", "New"}


def test_make_demo_runs_these_commands(run, here):
    recipe = re.search(r"^demo: .*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    commands = [f"musicreclass {line}" for line in re.findall(r"^\t\$\(RUN\) (.*)$", recipe[1], re.MULTILINE)]
    assert [command.split()[1] for command in commands] == ["train", "compare"]
    follow(run, commands)
    assert {finished.folder.name.split("-")[1] for finished in find_runs(here / "outputs")} == {
        "mlp",
        "xgboost",
        "logreg",
    }


def test_the_quickstart(run, here):
    page = DOCS / "quickstart.md"
    follow(run, lines(page))
    (code,) = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    exec(compile(code, str(page), "exec"), {})


def test_the_gtzan_tutorial(run, here, served):
    plant_gtzan(here / "GTZAN")
    follow(run, lines(DOCS / "tutorial_gtzan.md"))
    leaky = {
        finished.metrics["protocol"]["split"]: finished.metrics["protocol"]["leaky"]
        for finished in find_runs(here / "outputs")
    }
    assert leaky["random"] == "yes"
    assert leaky["fault_filtered"] != "yes"


def test_the_fma_tutorial(run, here):
    plant_fma(here / "FMA")
    follow(run, lines(DOCS / "tutorial_fma.md"))
    runs = [finished for finished in find_runs(here / "outputs") if "logreg-s0" in finished.folder.name]
    scores = {finished.metrics["protocol"]["split"]: finished.metrics["test"]["accuracy"] for finished in runs}
    assert scores["random"] > scores["official"] + 0.2  # the artists are recognised
    assert {finished.metrics["protocol"]["split"]: finished.metrics["protocol"]["leaky"] for finished in runs}[
        "random"
    ] == "yes"


def test_the_sweep_tutorial(run, here):
    pytest.importorskip("optuna")
    follow(run, lines(DOCS / "tutorial_sweep.md"))
    assert (here / "table.md").stat().st_size
    assert {"accuracy"} <= set(" ".join(pd.read_csv(here / "table.csv").columns).split())


def test_the_jetson_tutorial(run, here):
    plant_music(here)
    trained = "outputs/demo_audio-cnn_small-*"
    follow(run, [line.replace("outputs/RUN", trained) for line in lines(DOCS / "tutorial_jetson.md")])
    assert len(pd.read_csv(here / "genres.csv")) == 14 * len(TONES)


def test_the_splits(run, here):
    plant_tables(here)
    follow(run, lines(DOCS / "splits.md"))


def test_the_models_of_your_own(run, here, monkeypatch):
    text = (DOCS / "models.md").read_text(encoding="utf-8")
    monkeypatch.syspath_prepend(here)
    for match in BLOCK.finditer(text):
        names = re.findall(r"`([\w/]+\.(?:py|yaml))`", text[: match.start()])
        if match[0].startswith(("```python", "```yaml")):
            (here / names[-1]).parent.mkdir(parents=True, exist_ok=True)
            (here / names[-1]).write_text(match[1], encoding="utf-8")
    follow(run, [command for command in lines(DOCS / "models.md") if "--config-dir my_conf" in command])
    sys.modules.pop("tiny_model", None)
