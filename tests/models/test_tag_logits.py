"""musicnn's taggers as runs: their predictions are the mean tags of the recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import musicreclass as mrc
from musicreclass.errors import ConfigError, DataError, WeightsError
from musicreclass.models.musicnn import MusiCNNEncoder
from musicreclass.models.tag_logits import TagLogits
from musicreclass.models.weights.musicnn import TAGS
from musicreclass.runs.folder import Run
from tests.sounds import music, write

RATE = 16000


def test_a_sigmoid_gives_the_probabilities_back():
    p = torch.cat([torch.rand(1000, 50, generator=torch.manual_seed(0)), torch.tensor([[0.0, 1.0] * 25])])
    assert (TagLogits(50, 50)(p).sigmoid() - p).abs().max() < 1e-6
    with pytest.raises(ConfigError):
        TagLogits(50, 49)


def mean_tags(folder: Path, checkpoint: str, path: Path) -> np.ndarray:
    """The mean of a tagger's tags over the patches of a recording, whose samples are int16."""
    import soundfile

    encoder = MusiCNNEncoder(checkpoint, "tags", str(folder))
    samples = torch.from_numpy(soundfile.read(path, dtype="int16")[0].astype(np.float32) / 32768)
    with torch.inference_mode():
        return encoder.embed(encoder.windows(samples)).mean(0).numpy()


def check_run(run, here: Path, folder: Path, checkpoint: str, paths: list[Path]) -> None:
    """Import a tagger, and compare what `predict` and `evaluate` give with its mean tags."""
    assert run("import", folder / f"{checkpoint}.safetensors", "--output", here / "tagger").code == 0
    expected = np.stack([mean_tags(folder, checkpoint, path) for path in paths])
    tags = TAGS[checkpoint[:3]].split(",")
    imported = Run.open(here / "tagger")
    assert imported.classifier().card.is_multi
    assert imported.metrics["classes"] == tags
    table = mrc.predict(here / "tagger", paths)
    assert np.abs(table[[f"p/{tag}" for tag in tags]].to_numpy() - expected).max() < 1e-5
    chosen = [{tags[i] for i in np.flatnonzero(row >= 0.2)} for row in expected]
    assert [{*str(text or "").split("|")} - {""} for text in table.tags] == chosen
    labels = ["|".join(sorted(tags[i] for i in np.argsort(-row)[: 1 + k])) for k, row in enumerate(expected)]
    pd.DataFrame({"path": paths, "tags": labels}).to_csv(here / "labels.csv", index=False)
    data = ["data=csv", f"data.path={here / 'labels.csv'}", "data.label_column=tags", "data.label_separator='|'"]
    result = run("evaluate", here / "tagger", *data, "--split", "all")
    assert result.code == 0, result.err
    (scores,) = Run.open(here / "tagger").metrics["elsewhere"].values()
    assert scores["per_tag"][labels[0]]["support"] >= 1
    assert scores["f1_thresholds"] == "the import (0.2)"
    (predicted,) = (here / "tagger" / "predictions").glob("all@*.parquet")
    frame = pd.read_parquet(predicted).set_index("track_id").loc[[str(path) for path in paths]]
    assert np.abs(frame[[f"p/{tag}" for tag in tags]].to_numpy() - expected).max() < 1e-5


@pytest.fixture
def recordings(here) -> list[Path]:
    return [write(here / f"{i}.wav", music(3.5 + i, RATE, seed=i), RATE) for i in range(3)]


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint", ["MTT_musicnn", "MSD_vgg"])
def test_a_tagger_as_a_run(run, here, seeded, recordings, checkpoint):
    check_run(run, here, seeded, checkpoint, recordings)


@pytest.mark.slow
def test_a_tagger_with_published_weights_on_real_recordings(run, here, published, real_data):
    """Clips of GTZAN, resampled by the test, since mean tags depend on the resampler."""
    from musicreclass.data.audio.decoding import decode

    clips = sorted((real_data / "GTZAN_excerpts").rglob("*.wav"))[::120]
    paths = [write(here / clip.name, decode(clip, RATE).astype(np.int16), RATE) for clip in clips]
    assert len(paths) >= 3
    check_run(run, here, published, "MTT_musicnn", paths)


def test_a_tagger_by_its_name(run, here, seeded, monkeypatch):
    monkeypatch.setenv("MUSICRECLASS_MODELS", str(seeded.parent))
    imported = mrc.import_weights("MTT_musicnn")
    assert Run.open(imported.folder).classifier().card.is_multi
    monkeypatch.setenv("MUSICRECLASS_MODELS", str(here))
    with pytest.raises(WeightsError) as caught:
        mrc.import_weights("MSD_musicnn")
    assert caught.value.kind == "file_not_found"


@pytest.mark.slow
def test_a_tagger_twice_and_damaged(run, here, seeded, monkeypatch):
    monkeypatch.setenv("MUSICRECLASS_MODELS", str(seeded.parent))
    first, second = mrc.import_weights("MTT_musicnn"), mrc.import_weights(seeded / "MTT_musicnn.safetensors")
    assert first.folder == second.folder
    result = run("evaluate", first.folder)
    assert (result.code, result.problems[0].kind) == (2, "no_data")
    assert run("export", first.folder).code == 0
    (here / "MTT_vgg.safetensors").write_bytes((seeded / "MTT_vgg.safetensors").read_bytes()[:-9])
    with pytest.raises(WeightsError):
        mrc.import_weights(here / "MTT_vgg.safetensors", here / "other")


@pytest.mark.slow
def test_data_with_one_label_a_track_is_not_scored(run, here, seeded):
    imported = mrc.import_weights(seeded / "MTT_vgg.safetensors", here / "tagger")
    for genre in ("rock", "techno"):
        (here / "lib" / genre).mkdir(parents=True)
        write(here / "lib" / genre / "a.wav", music(3.5, RATE, seed=len(genre)), RATE)
    with pytest.raises(DataError) as caught:
        mrc.evaluate(imported.folder, "all", [f"data.root={here / 'lib'}"])
    assert caught.value.kind == "other_task"
