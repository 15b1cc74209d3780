"""musicnn's taggers: outputs match TensorFlow, log-mel matches librosa."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import torch

from musicreclass.errors import ConfigError, WeightsError
from musicreclass.models.musicnn import HOP, PATCH_FRAMES, PATCH_SAMPLES, PATCH_STEP, MusiCNNEncoder
from musicreclass.models.weights.musicnn import TAGS
from musicreclass.models.weights.musicnn_wheel import CHECKPOINTS
from tests.conftest import Result, only_run, written_at
from tests.make_musicnn_outputs import make_patches
from tests.models.conftest import EXPECTED, seeded_name


def check_outputs(folder: Path, checkpoint: str, recorded: str) -> None:
    """Compare every layer with TensorFlow's output: relative tolerance 1e-4, absolute 1e-4 for values below 1."""
    expected = {
        layer: EXPECTED[f"{recorded}/{layer}"]
        for layer in ("tags", "embedding", "pooled")
        if f"{recorded}/{layer}" in EXPECTED
    }
    if f"{recorded}/max" in EXPECTED:
        expected["pooled"] = np.stack((EXPECTED[f"{recorded}/max"], EXPECTED[f"{recorded}/mean"]), 2).reshape(4, -1)
    assert expected.keys() == MusiCNNEncoder(checkpoint, "tags", str(folder)).network.layer_sizes.keys()
    for layer, values in expected.items():
        encoder = MusiCNNEncoder(checkpoint, layer, str(folder))
        encoder.patches = lambda x: x  # type: ignore[method-assign]  # the input is patches, as it was for TensorFlow
        with torch.inference_mode():
            output = encoder.embed(torch.from_numpy(make_patches()))
        assert output.dtype == torch.float32
        assert output.shape == values.shape == (4, len(encoder.columns))
        np.testing.assert_array_less(np.abs(output.numpy() - values), 1e-4 * np.maximum(1, np.abs(values)))


@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_outputs_match_tensorflow(seeded: Path, checkpoint: str) -> None:
    check_outputs(seeded, checkpoint, seeded_name(checkpoint))


@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_outputs_with_published_weights_match_tensorflow(published: Path, checkpoint: str) -> None:
    check_outputs(published, checkpoint, checkpoint)


@pytest.mark.parametrize("seconds", [2.0, 2.976, 3.0, 7.3, 30.0])
def test_patches_match_librosa(seeded: Path, seconds: float) -> None:
    encoder = MusiCNNEncoder("MSD_vgg", "tags", str(seeded))
    t = np.arange(int(seconds * 16000)) / 16000
    wave = 0.4 * np.sin(2 * np.pi * (100 + 300 * t) * t) + 0.1 * np.random.default_rng(0).standard_normal(len(t))
    wave = (wave * np.minimum(1, 4 * np.abs(np.sin(t)))).astype(np.float32)
    shorter_than_a_patch = 1 + len(wave) // HOP < PATCH_FRAMES
    repeated = np.tile(wave, 2)[:PATCH_STEP] if shorter_than_a_patch else wave
    mel = librosa.feature.melspectrogram(y=repeated, sr=16000, hop_length=256, n_fft=512, n_mels=96).T
    count = len(mel) // PATCH_FRAMES
    expected = np.log10(10000 * mel + 1)[: count * PATCH_FRAMES].reshape(count, PATCH_FRAMES, 96)
    windows = encoder.windows(torch.from_numpy(wave))
    assert windows.shape == (count, PATCH_SAMPLES)
    patches = encoder.patches(windows)
    assert patches.dtype == torch.float32
    np.testing.assert_allclose(patches.numpy(), expected, atol=2e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(encoder.patches(windows), patches)


def test_short_recordings_are_repeated_and_empty_ones_rejected(seeded: Path) -> None:
    encoder = MusiCNNEncoder("MSD_vgg", "tags", str(seeded))
    wave = torch.arange(1.0, 1001)
    (window,) = encoder.windows(wave)
    assert torch.equal(window[256 : 256 + PATCH_STEP], wave.repeat(48)[:PATCH_STEP])
    assert torch.equal(encoder.windows(torch.ones(1))[0, 256 : 256 + PATCH_STEP], torch.ones(PATCH_STEP))
    with pytest.raises(ValueError):
        encoder.windows(torch.zeros(0))


def test_vectors_do_not_depend_on_the_batch(seeded: Path) -> None:
    encoder = MusiCNNEncoder("MSD_musicnn", "embedding", str(seeded))
    windows = encoder.windows(0.1 * torch.randn(4 * PATCH_STEP, generator=torch.Generator().manual_seed(0)))
    with torch.inference_mode():
        in_one_batch = encoder.embed(windows)
        one_by_one = torch.cat([encoder.embed(window[None]) for window in windows])
    assert len(in_one_batch) == 4
    assert torch.equal(one_by_one, in_one_batch)


def test_fingerprints_columns_and_cards(seeded: Path) -> None:
    encoders = {
        (name, layer): MusiCNNEncoder(name, layer, str(seeded))
        for name in CHECKPOINTS
        for layer in (("tags", "pooled") if name.endswith("vgg") else ("tags", "embedding", "pooled"))
    }
    assert len({encoder.fingerprint() for encoder in encoders.values()}) == len(encoders)
    same = MusiCNNEncoder("MSD_vgg", "tags", str(seeded))
    assert same.fingerprint() == encoders["MSD_vgg", "tags"].fingerprint()
    for (name, layer), encoder in encoders.items():
        assert encoder.sample_rate == 16000
        assert len(set(encoder.columns)) == len(encoder.columns)
        tags = TAGS[name[:3]].split(",")
        assert len(tags) == 50
        assert (encoder.columns == tags) is (layer == "tags")
        assert encoder.card["tags"] == tags
        assert encoder.card["licence"] == "ISC"
        overlaps = encoder.card["overlaps"]
        assert [overlap["dataset"] for overlap in overlaps] == (["gtzan"] if name.startswith("MSD") else [])
        assert [overlap["dataset"] for overlap in encoder.overlaps] == (
            ["gtzan"] if name.startswith("MSD") else ["magnatagatune"]
        )
        assert all(overlap["what"] and overlap["source"] for overlap in encoder.overlaps)
    assert encoders["MSD_musicnn", "tags"].columns[:2] == ["rock", "pop"]


def test_unknown_layers_and_checkpoints_and_missing_weights(seeded: Path, tmp_path: Path) -> None:
    for settings, key, choice in (
        (("MSD_vgg", "embedding"), "features.layer", "pooled"),
        (("big", "tags"), "features.checkpoint", "MSD_musicnn"),
    ):
        with pytest.raises(ConfigError) as invalid:
            MusiCNNEncoder(*settings, str(seeded))
        assert (invalid.value.kind, invalid.value.key) == ("invalid_value", key)
        assert choice in str(invalid.value)
    with pytest.raises(WeightsError) as missing:
        MusiCNNEncoder(folder=str(tmp_path))
    assert (missing.value.kind, missing.value.key) == ("file_not_found", str(tmp_path / "MSD_musicnn.safetensors"))
    assert "musicreclass prepare features=musicnn" in str(missing.value)


def test_prepare_and_train(
    make_wheel: Callable[..., Path], run: Callable[..., Result], here: Path, cache: Path
) -> None:
    wheel, rng = make_wheel(), np.random.default_rng(0)
    for i in range(18):
        path = here / "music" / ("low", "high")[i % 2] / f"artist {i // 2}" / f"{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        tone = 0.3 * np.sin(2 * np.pi * (200, 4000)[i % 2] * np.arange(20000) / 16000)
        soundfile.write(path, tone + 0.01 * rng.standard_normal(20000), 16000)
    overrides = ["data=folder", "data.root=music", "features=musicnn", "features.layer=tags"]
    overrides += ["features.checkpoint=MTT_vgg"]
    missing = run("train", *overrides, "model=logreg")
    assert missing.code == 2
    assert missing.problems[-1].kind == "file_not_found"
    assert missing.problems[-1].key.endswith("MTT_vgg.safetensors")
    prepared = run("prepare", *overrides, f"features.wheel={wheel}", "table=tags.csv")
    assert prepared.code == 0, prepared.err
    header, *rows = (here / "tags.csv").read_text().splitlines()
    assert header == f"track_id,label,split,group,path,pretraining_overlap,{TAGS['MTT']}"
    assert len(rows) == 18
    vectors = written_at(cache / "vectors")
    trained = run("train", *overrides, "model=logreg")
    assert trained.code == 0, trained.err
    assert written_at(cache / "vectors") == vectors  # prepare has computed all embeddings
    assert json.loads((only_run(here) / "metrics.json").read_text())["valid"]["accuracy"] == 1.0
    for layer in ("pooled", "all"):  # computed in the same pass
        assert run("prepare", *overrides, f"features.layer={layer}").code == 0
    assert written_at(cache / "vectors", "*.npy") == {
        name: time for name, time in vectors.items() if name.endswith(".npy")
    }


@pytest.mark.slow
def test_real_clips_are_classified_from_their_tags(
    published: Path, real_data: Path, run: Callable[..., Result], here: Path
) -> None:
    (here / "models").mkdir()
    (here / "models" / "musicnn").symlink_to(published)
    overrides = ["data=gtzan", f"data.root={real_data / 'GTZAN_excerpts'}", "features=musicnn", "features.layer=tags"]
    result = run("train", *overrides, "model=logreg")
    assert result.code == 0, result.err
    valid = json.loads((only_run(here) / "metrics.json").read_text())["valid"]
    assert valid["n"] == 93
    assert valid["accuracy"] >= 0.60
