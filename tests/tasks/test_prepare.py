"""Preparing weights, recordings and features; a user's encoder; pretraining overlap."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from musicreclass.data.sources.gtzan import load_index
from musicreclass.runs.folder import Run
from tests.conftest import only_run, written_at
from tests.library import write_tone

RATE = 16000
MODULE = '''
import torch
from musicreclass.models.encoder import Encoder


class Loudness(Encoder):
    """Mean power in four bands of each second; without weights."""

    overlaps = [{"dataset": "gtzan", "what": "pretrained on GTZAN", "source": "its author"}]

    def __init__(self, bands=4):
        super().__init__()
        self.sample_rate = 16000
        self.columns = [f"band_{i}" for i in range(bands)]
        self.settings = {"version": 1, "bands": bands}

    def windows(self, waveform):
        return waveform[: len(waveform) // 16000 * 16000].reshape(-1, 16000)

    def embed(self, windows):
        power = torch.fft.rfft(windows).abs().square()
        return torch.stack([part.mean(1).log() for part in power.chunk(len(self.columns), 1)], 1)
'''
YAML = """
_target_: loudness.Loudness
sample_rate: 16000
precision: 32-true
cache: none
batch_size: 8
bands: 4
"""


@pytest.fixture
def encoder_conf(here: Path) -> Path:
    """A user's encoder: a module and a YAML file; returns the folder of configuration."""
    (here / "loudness.py").write_text(MODULE)
    (here / "user_conf" / "features").mkdir(parents=True)
    (here / "user_conf" / "features" / "loudness.yaml").write_text(YAML)
    return here / "user_conf"


@pytest.fixture
def music(here: Path) -> Path:
    """Two genres, eight tones each."""
    for genre, frequency in (("high", 3000), ("low", 300)):
        for i in range(8):
            write_tone(here / "music" / genre / f"{i}.wav", frequency, i, seconds=2.2, rate=RATE)
    return here / "music"


def test_features_are_computed_ahead_and_written_as_a_table(run, here, encoder_conf, music, cache):
    arguments = ["--config-dir", encoder_conf, "data=folder", f"data.root={music}", "features=loudness"]
    result = run("prepare", *arguments, "table=out/loudness.csv")
    assert result.code == 0, result.err
    table = pd.read_csv(here / "out/loudness.csv")
    assert len(table) == 16
    assert table.columns.tolist() == ["track_id", "label", "split", "group", "path", "pretraining_overlap",
                                        *(f"band_{i}" for i in range(4))]  # fmt: skip
    assert sorted(table.label.unique()) == ["high", "low"]
    assert table[["band_0", "band_1"]].notna().all().all()
    assert not list(here.glob("outputs/*/status.json"))
    files = written_at(cache)
    trained = run("train", *arguments, "model=logreg")
    assert trained.code == 0, trained.err
    assert written_at(cache) == files
    assert Run.open(only_run(here)).metrics["valid"]["accuracy"] == 1
    again = run("train", "data=table", "data.path=out/loudness.csv", "model=logreg", "run_dir=table")
    assert again.code == 0, again.err
    first, second = (Run.open(folder).predictions("valid").table for folder in (only_run(here), here / "table"))
    assert first.set_index("track_id").equals(second.set_index("track_id").loc[first.track_id])


def test_recordings_are_decoded_ahead(run, here, music, monkeypatch):
    monkeypatch.setenv("MUSICRECLASS_CACHE", str(here / "cache"))
    assert run("prepare", "data=folder", f"data.root={music}").code == 0
    (entry,) = (here / "cache" / "waveforms").glob("*/entry.json")
    key = json.loads(entry.read_text())["key"]
    assert (key["count"], key["sample_rate"]) == (16, 22050)
    files = written_at(here / "cache")
    assert run("prepare", "data=folder", f"data.root={music}").code == 0
    assert written_at(here / "cache") == files


@pytest.mark.parametrize(("arguments", "kind", "key", "suggestion"), [
    ([], "nothing_chosen", "data", ""),
    (["features=musicnn", "verify=true"], "nothing_chosen", "data", ""),
    (["data=folder"], "missing_value", "data.root", ""),
    (["data=demo", "features=openjmla"], "features_of_table", "features", "features=none"),
    (["features=openjmla"], "file_not_found", "features.checkpoint", ""),
    (["model=mlp"], "unknown_group", "model", ""),
    (["features=opnjmla"], "unknown_option", "features", "openjmla"),
    (["tabel=x.csv", "features=musicnn"], "unknown_key", "tabel", "table"),
    (["-m", "features=musicnn,openjmla"], "no_multirun", "-m", ""),
    (["features=musicnn", "features.layer=middle", "data=demo_audio"], "invalid_value", "features.layer", ""),
])  # fmt: skip
def test_errors_of_prepare_are_one_problem(run, arguments, kind, key, suggestion):
    result = run("prepare", *arguments)
    assert (result.code, len(result.lines)) == (2, 1), result.err
    (problem,) = result.problems
    assert (problem.kind, problem.key, problem.suggestion) == (kind, key, suggestion)


def test_a_table_of_recordings_is_rejected(run, here, music):
    result = run("prepare", "data=folder", f"data.root={music}", "table=x.csv")
    assert result.code == 2
    assert [problem.kind for problem in result.problems] == ["no_table"]
    assert not (here / "x.csv").exists()


def test_pretraining_overlap_is_shown_with_every_score(run, here, encoder_conf):
    index = load_index()
    names = [n for split in ("train", "valid", "test") for n in index.index[index.fault_filtered == split][::25]]
    for i, name in enumerate(names):
        write_tone(
            here / "GTZAN/genres" / name[:-6] / f"{name}.wav", 200 + 97 * (sum(map(ord, name[:-6])) % 17), i, 1.2, RATE
        )
    result = run(
        "train",
        "--config-dir",
        encoder_conf,
        "data=gtzan",
        f"data.root={here / 'GTZAN'}",
        "features=loudness",
        "model=logreg",
    )
    assert result.code == 0, result.err
    protocol = json.loads((only_run(here) / "metrics.json").read_text())["protocol"]
    assert protocol["pretraining_overlap"] == ["pretrained on GTZAN (its author)"]
    for name in ("table.csv", "table.md"):
        assert run("compare", "outputs", "--output", name).code == 0
    assert pd.read_csv("table.csv")["pretraining overlap"].tolist() == ["yes"]
    assert protocol["pretraining_overlap"][0] in (here / "table.md").read_text()
    assert run("evaluate", only_run(here), "--split", "all", "--trust", "loudness").code == 0
    (elsewhere,) = Run.open(only_run(here)).metrics["elsewhere"].values()
    assert elsewhere["protocol"]["pretraining_overlap"] == protocol["pretraining_overlap"]


def test_pretraining_on_another_dataset_is_no_overlap(run, here, encoder_conf, music):
    assert (
        run(
            "train",
            "--config-dir",
            encoder_conf,
            "data=folder",
            f"data.root={music}",
            "features=loudness",
            "model=logreg",
        ).code
        == 0
    )
    assert Run.open(only_run(here)).metrics["protocol"]["pretraining_overlap"] == []
    assert run("compare", "outputs", "--output", "table.csv").code == 0
    assert pd.read_csv("table.csv")["pretraining overlap"].tolist() == ["no"]
