"""Encoders of transformers from a local folder: hidden states equal those of transformers, and unsafe folders are rejected."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from musicreclass.errors import ConfigError, UserError, WeightsError
from musicreclass.models.huggingface import HuggingFaceEncoder
from tests.conftest import Result, written_at
from tests.huggingface import FAMILIES, change, library, save_checkpoint, transformers

pytestmark = pytest.mark.encoders


def reference_states(network: Any, folder: Path, window: np.ndarray) -> list[torch.Tensor]:
    """The hidden states that transformers itself computes for a window."""
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    inputs = extractor([window], sampling_rate=extractor.sampling_rate, return_tensors="pt")
    values = inputs[extractor.model_input_names[0]].float()
    options: dict[str, Any] = {"output_hidden_states": True, "return_dict": True}
    if isinstance(network, transformers.ClapModel):
        output = network.audio_model(values, is_longer=torch.zeros(1, 1, dtype=torch.bool), **options)
    elif isinstance(network, transformers.WhisperModel):
        output = network.encoder(values, **options)
    else:
        output = network(values, **options)
    return [*output.hidden_states[:-1], output.last_hidden_state]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of wav2vec 2.0."""
    folder = tmp_path_factory.mktemp("checkpoints") / "w2v"
    save_checkpoint(folder, "wav2vec2")
    return folder


@pytest.fixture
def copied(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(checkpoint, tmp_path / "w2v"))


@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_equal_those_of_transformers(family: str, tmp_path: Path) -> None:
    network = save_checkpoint(tmp_path, family)
    encoder = HuggingFaceEncoder(
        str(tmp_path), "all", 1.0 if family in ("wav2vec2", "hubert", "wavlm", "data2vec") else None
    )
    rate, rng = encoder.sample_rate, np.random.default_rng(0)
    silence, short = np.zeros(rate, np.float32), 0.1 * rng.standard_normal(rate // 2).astype(np.float32)
    minute = 0.1 * rng.standard_normal(60 * rate).astype(np.float32)
    for samples in (silence, short, minute):
        windows = encoder.windows(torch.from_numpy(samples))
        count = max(1, round(len(samples) / encoder.tower.window))
        assert len(windows) == count
        for k in {0, count // 2, count - 1}:
            start = (len(samples) - encoder.tower.window) * k // max(1, count - 1)
            cut = (
                np.resize(samples, encoder.tower.length)
                if count == 1
                else samples[start : start + encoder.tower.window]
            )
            with torch.inference_mode():
                expected = reference_states(network, tmp_path, np.resize(cut, encoder.tower.length))
                states = encoder.tower.hidden_states(windows[k : k + 1])
                vectors = encoder.embed(windows[k : k + 1])
            assert len(states) == len(expected) == len(encoder.layers)
            for state, reference in zip(states, expected, strict=True):
                assert state.isfinite().all()
                torch.testing.assert_close(state, reference, atol=1e-5, rtol=1e-5)
            tokens = 2 if family == "ast" else 0
            means = [e.mean((2, 3)) if e.ndim == 4 else e[:, tokens:].mean(1) for e in expected]
            torch.testing.assert_close(vectors, torch.cat(means, 1), atol=1e-5, rtol=1e-5)
            assert vectors.shape == (1, len(encoder.columns))


def test_layers_and_fingerprints(checkpoint: Path, copied: Path) -> None:
    every = HuggingFaceEncoder(str(checkpoint), "all")
    assert list(every.layers) == ["0", "1", "2", "3"]
    assert every.columns[:2] == ["layer_0/0", "layer_0/1"]
    assert every.columns[-1] == "layer_3/15"
    last, third, first = (HuggingFaceEncoder(str(checkpoint), layer) for layer in ("last", 3, 1))
    assert last.fingerprint() == third.fingerprint() == every.fingerprint_of("3")
    assert first.fingerprint() == every.fingerprint_of("1")
    windows = every.windows(torch.randn(16000, generator=torch.Generator().manual_seed(0)))
    with torch.inference_mode():
        assert torch.equal(first.embed(windows), every.embed(windows)[:, 16:32])
    fingerprints = {every.fingerprint(), last.fingerprint(), first.fingerprint()}
    fingerprints.add(HuggingFaceEncoder(str(checkpoint), "last", 2.0).fingerprint())
    change(copied / "preprocessor_config.json", do_normalize=False)
    fingerprints.add(HuggingFaceEncoder(str(copied), "last").fingerprint())
    change(copied / "config.json", layer_norm_eps=1e-3)
    fingerprints.add(HuggingFaceEncoder(str(copied), "last").fingerprint())
    save_checkpoint(copied, "wav2vec2", seed=1)
    fingerprints.add(HuggingFaceEncoder(str(copied), "last").fingerprint())
    assert len(fingerprints) == 7
    moved = shutil.copytree(checkpoint, copied.with_name("moved"))
    change(moved / "config.json", transformers_version="0", _name_or_path="elsewhere")
    assert HuggingFaceEncoder(str(moved)).fingerprint() == last.fingerprint()


def test_checkpoints_with_a_head_and_in_shards(tmp_path: Path) -> None:
    network = save_checkpoint(tmp_path / "head", "hubert", "ForSequenceClassification")
    encoder = HuggingFaceEncoder(str(tmp_path / "head"), "last", 1.0)
    window = torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network.hubert(window).last_hidden_state
        torch.testing.assert_close(encoder.tower(window).last_hidden_state, expected, atol=1e-5, rtol=1e-5)
    model = save_checkpoint(tmp_path / "shards", "hubert")
    (tmp_path / "shards" / "model.safetensors").unlink()
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    with torch.inference_mode():
        sharded = HuggingFaceEncoder(str(tmp_path / "shards"), "last", 1.0).tower(window).last_hidden_state
        torch.testing.assert_close(sharded, model(window).last_hidden_state, atol=1e-5, rtol=1e-5)


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch executed'\ntR.")


def truncated(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def without_tensors(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    remaining = {name: tensor for name, tensor in tensors.items() if ".layers.1." not in name}
    save_file(remaining, folder / "model.safetensors", {"format": "pt"})


def index_outside(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "other.safetensors")
    index = {"weight_map": {"a": "../other.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def config(**values: Any) -> Callable[[Path], None]:
    return lambda folder: change(folder / "config.json", **values)


def preprocessor(**values: Any) -> Callable[[Path], None]:
    return lambda folder: change(folder / "preprocessor_config.json", **values)


@pytest.mark.parametrize(("damage", "kind"), [
    (pickled, "foreign_objects"), (truncated, "damaged_file"), (without_tensors, "wrong_weights"), (index_outside, "damaged_file"),
    (lambda folder: (folder / "model.safetensors").unlink(), "file_not_found"),
    (lambda folder: (folder / "config.json").write_text("{" * 9), "damaged_file"),
    (lambda folder: (folder / "config.json").write_text('{"model_type": "wav2vec2", "model_type": "hubert"}'), "damaged_file"),
    (lambda folder: (folder / "config.json").write_text('{"a":' * 10**5 + "1" + "}" * 10**5), "damaged_file"),
    (lambda folder: (folder / "config.json").write_bytes(b" " * (5 << 20)), "damaged_file"),
    (lambda folder: (folder / "config.json").unlink(), "file_not_found"),
    (lambda folder: (folder / "preprocessor_config.json").unlink(), "file_not_found"),
    (shutil.rmtree, "missing_folder"),
    (config(auto_map={"AutoModel": "modeling.Trap"}), "remote_code"),
    (config(model_type="mert_model"), "unsupported_format"), (config(model_type="bert"), "unsupported_format"),
    (config(model_type=None), "unsupported_format"), (config(hidden_size=64), "wrong_weights"),
    (config(hidden_size="wide"), "unsupported_format"), (config(num_hidden_layers=10**9), "damaged_file"),
    (config(hidden_size=2**20, intermediate_size=2**20), "wrong_weights"),
    (config(attn_implementation="someone/kernel"), "remote_code"), (config(quantization_config={"a": 1}), "unsupported_format"),
    (preprocessor(auto_map={"AutoFeatureExtractor": "features.Trap"}), "remote_code"),
    (preprocessor(feature_extractor_type="Trap"), "unsupported_format"), (preprocessor(sampling_rate="fast"), "damaged_file"),
    (preprocessor(sampling_rate=3), "damaged_file"),
])  # fmt: skip
def test_unsafe_and_damaged_folders_are_rejected(copied: Path, damage: Callable[[Path], None], kind: str) -> None:
    for module in ("modeling", "features"):
        (copied / f"{module}.py").write_text("from pathlib import Path\nPath('executed').touch()\nclass Trap: ...\n")
    damage(copied)
    with pytest.raises(WeightsError) as caught:
        HuggingFaceEncoder(str(copied))
    assert caught.value.kind == kind, caught.value
    assert "\n" not in str(caught.value)
    assert not list(copied.parent.rglob("executed"))
    assert not Path("executed").exists()


@pytest.mark.parametrize(("family", "settings", "kind", "key"), [
    ("wav2vec2", {"layer": 4}, "invalid_value", "features.layer"),
    ("wav2vec2", {"layer": "first"}, "invalid_value", "features.layer"),
    ("whisper", {"window_seconds": 2.0}, "window_too_long", "features.window_seconds"),
])  # fmt: skip
def test_settings_that_do_not_fit_the_checkpoint(
    tmp_path: Path, family: str, settings: dict[str, Any], kind: str, key: str
) -> None:
    save_checkpoint(tmp_path, family)
    with pytest.raises(ConfigError) as caught:
        HuggingFaceEncoder(str(tmp_path), **settings)
    assert (caught.value.kind, caught.value.key) == (kind, key)


def test_windows_too_short_for_the_network(checkpoint: Path) -> None:
    with pytest.raises(UserError) as caught:
        HuggingFaceEncoder(str(checkpoint), window_seconds=0.0005)
    assert caught.value.kind == "encoder_failed"
    assert "features.window_seconds" in str(caught.value)


def test_a_missing_package_is_one_line(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError) as caught:
        HuggingFaceEncoder(str(checkpoint))
    assert caught.value.kind == "missing_plugin"
    assert caught.value.problems[0].suggestion.startswith("pip install")


def test_prepare_train_evaluate_and_predict(
    checkpoint: Path, run: Callable[..., Result], here: Path, cache: Path
) -> None:
    library(here / "music")
    shutil.copytree(checkpoint, here / "w2v")
    overrides = ["data=folder", "data.root=music", "features=huggingface", "features.window_seconds=1"]
    overrides += ["paths.cache=cache"]
    assert run("prepare", *overrides).problems[0].kind == "missing_folder"  # the checkpoint
    overrides.append("features.checkpoint=w2v")
    prepared = run("prepare", *overrides, "table=vectors.csv")
    assert prepared.code == 0, prepared.err
    assert (here / "vectors.csv").read_text().splitlines()[0].endswith("layer_3/15")
    vectors = written_at(here / "cache" / "vectors", "*.npy")
    assert len(vectors) == 4 * 18  # every layer
    swept = run("train", "-m", *overrides, "model=logreg", "features.layer=0,1,2,last")
    assert swept.code == 0, swept.err
    trained = run("train", *overrides, "model=logreg", "features.layer=all", "run_dir=r")
    assert trained.code == 0, trained.err
    assert written_at(here / "cache" / "vectors", "*.npy") == vectors  # one extraction for all
    (here / "w2v").rename(here / "moved")
    assert run("evaluate", "r", "--split", "test", "features.checkpoint=moved").code == 0
    predicted = run("predict", "r", "--input", "music", "--output", "g.csv", "features.checkpoint=moved")
    assert predicted.code == 0, predicted.err
    assert written_at(here / "cache" / "vectors", "*.npy") == vectors
    library(here / "more", 2, seconds=0.9)
    predicted = run(
        "predict", "r", "--input", "more", "--output", "h.csv", "features.checkpoint=moved", "data.min_seconds=0.5"
    )
    assert predicted.code == 0, predicted.err
    save_checkpoint(here / "moved", "wav2vec2", seed=3)
    assert run("evaluate", "r", "--split", "train", "features.checkpoint=moved").code == 2


def test_signatures_follow_the_content_of_the_folder(checkpoint: Path, here: Path) -> None:
    from musicreclass.config.check import train_settings
    from musicreclass.runs.signature import located, signature

    def signed(name: str) -> str:
        overrides = ["data=folder", f"data.root={here}", "features=huggingface", f"features.checkpoint={name}"]
        settings = train_settings(overrides)
        assert located(settings)["features"]["checkpoint"] == str(here / name)
        return signature(settings, "data")

    for name in "ab":
        shutil.copytree(checkpoint, here / name)
    assert signed("a") == signed("b")
    save_checkpoint(here / "b", "wav2vec2", seed=2)
    assert signed("a") != signed("b")
