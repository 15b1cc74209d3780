"""Fine-tuning encoders of transformers: what is trained, what stays as it was, and that runs hold all they need."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

import musicreclass
from musicreclass.classifiers.model_folder import CARD
from musicreclass.config import plugins
from musicreclass.errors import ConfigError, WeightsError
from musicreclass.runs.folder import Run
from tests.conftest import Result, sum_again
from tests.huggingface import FAMILIES, library, save_checkpoint

from musicreclass.models.huggingface import HuggingFaceEncoder  # isort: skip  (after tests.huggingface, which may skip)
from musicreclass.models.huggingface_finetune import TRAINABLE, HuggingFace  # isort: skip

pytestmark = pytest.mark.encoders
QUICK = ("wav2vec2", "ast")
EACH_FAMILY = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in FAMILIES]
SPEECH = ("wav2vec2", "hubert", "wavlm", "data2vec")


def make(folder: Path, family: str, **settings: Any) -> HuggingFace:
    if settings.get("trainable") == "lora":
        pytest.importorskip("peft", reason="needs peft: pip install peft")
    torch.manual_seed(0)
    seconds = 1.0 if family in SPEECH else None
    return HuggingFace(3, str(folder), seconds, hidden=8, last_blocks=1, **settings).train()


def clips(network: HuggingFace, count: int = 2) -> torch.Tensor:
    return torch.randn(count, network.encoder.window, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", EACH_FAMILY)
def test_only_the_chosen_parameters_are_trained(family: str, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, family)
    sizes = {}
    for trainable in TRAINABLE:
        network = make(tmp_path, family, trainable=trainable)
        before = {name: value.clone() for name, value in network.named_parameters()}
        trained = {id(p) for group in network.parameter_groups() for p in group["params"]}
        assert {id(p) for p in network.parameters() if p.requires_grad} == trained
        assert not any(module.training for module in network.encoder.modules())
        optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 0.1)
        for _ in range(2):  # the first step only changes the second matrix of an adapter, which is zero
            optimizer.zero_grad()
            F.cross_entropy(network(clips(network)), torch.tensor([0, 2])).backward()
            optimizer.step()
        changed = {name for name, value in network.named_parameters() if not torch.equal(value, before[name])}
        names = {name for name, value in network.named_parameters() if id(value) in trained}
        assert changed <= names
        blocks = {name for name in changed if not name.startswith("head.")}
        assert bool(blocks) == (trainable != "head")
        assert all("lora_" in name for name in blocks) == (trainable in ("head", "lora"))
        if trainable == "lora":
            assert {name for name in names if "lora_B" in name} <= blocks  # no adapter is without effect
        sizes[trainable] = sum(value.numel() for value in network.parameters() if id(value) in trained)
    assert sizes["head"] < sizes["last_blocks"] < sizes["all"]
    assert sizes["head"] < sizes["lora"] < sizes["all"]


@pytest.mark.parametrize("family", EACH_FAMILY)
def test_merged_adapters_equal_unmerged_ones(family: str, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, family)
    network = make(tmp_path, family, trainable="lora").eval()
    plain = make(tmp_path, family).eval()
    with torch.no_grad():
        x = clips(network)
        torch.testing.assert_close(network.encoder.vectors(network.windows(x)), plain.encoder.vectors(plain.windows(x)))
        for name, parameter in network.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
        unmerged = network(x)
        network.end_training()
        torch.testing.assert_close(network(x), unmerged, atol=1e-5, rtol=1e-5)
        assert network.state_dict().keys() == plain.state_dict().keys()
        window = network.encoder.window / network.encoder.sample_rate
        loaded = HuggingFace(3, None, window, hidden=8, trainable="lora", **json_copy(network.saved_arguments()))
        loaded.load_state_dict(network.state_dict(), assign=True)
        assert torch.equal(loaded.eval()(x), network(x))


def json_copy(values: Any) -> Any:
    return json.loads(json.dumps(values))


def test_vectors_of_a_clip_equal_those_of_the_encoder(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, "wav2vec2")
    network, encoder = make(tmp_path, "wav2vec2"), HuggingFaceEncoder(str(tmp_path), "last", 1.0)
    x = torch.randn(2, 3 * 16000, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = torch.stack([encoder.embed(encoder.windows(clip)).mean(0) for clip in x])
        torch.testing.assert_close(network.eval()(x), network.head(expected))


def test_gradual_unfreezing_and_layer_decay(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, "wav2vec2")
    for trainable, depth in (("all", 4), ("lora", 3)):
        network = make(tmp_path, "wav2vec2", trainable=trainable, layer_decay=0.5, unfreeze_every=2)
        scales = [group["lr_scale"] for group in network.parameter_groups()]
        assert scales == [1.0, *(0.5**k for k in range(depth))]
        for epoch in range(10):
            network.begin_epoch(epoch)
            taking = [any(p.requires_grad for p in block.parameters()) for block in network.blocks]
            assert taking == [k >= 3 - epoch // 2 for k in range(3)]


@pytest.mark.parametrize(("settings", "kind"), [
    ({"trainable": "some"}, "invalid_value"), ({"trainable": "last_blocks", "last_blocks": 4}, "out_of_range"),
])  # fmt: skip
def test_invalid_settings(tmp_path: Path, settings: dict[str, Any], kind: str) -> None:
    save_checkpoint(tmp_path, "wav2vec2")
    with pytest.raises(ConfigError) as caught:
        HuggingFace(3, str(tmp_path), 1.0, **settings)
    *_, key = settings
    assert (caught.value.kind, caught.value.key) == (kind, f"model.{key}")


@pytest.mark.parametrize("config", [
    {"auto_map": {"AutoModel": "modeling.Trap"}}, {"attn_implementation": "someone/kernel"}, {"num_hidden_layers": 10**9},
    {"model_type": "mert_model"}, {"model_type": "bert"}, {},
])  # fmt: skip
def test_a_saved_configuration_cannot_ask_for_code(tmp_path: Path, config: dict[str, Any]) -> None:
    save_checkpoint(tmp_path, "wav2vec2")
    arguments = make(tmp_path, "wav2vec2").saved_arguments()
    arguments["config"] = {**arguments["config"], **config} if config else {}
    with pytest.raises(WeightsError):
        HuggingFace(3, None, 1.0, **arguments)


def test_errors_name_the_setting_before_data_is_read(
    run: Callable[..., Result], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library(here / "music", 6)
    save_checkpoint(here / "clap", "clap")
    base = ["train", "data=folder", "data.root=music", "model=huggingface"]
    missing = run(*base, "model.checkpoint=nowhere")
    assert (missing.code, missing.problems[0].kind, missing.problems[0].key) == (
        2,
        "missing_folder",
        "model.checkpoint",
    )
    rate = run(*base, "model.checkpoint=clap", "data.min_seconds=0.5")
    assert (rate.code, rate.problems[0].kind) == (2, "sample_rate_mismatch")
    monkeypatch.setattr(plugins, "is_installed", lambda module: module != "peft")
    lora = run(*base, "data.root=missing", "model.checkpoint=clap", "model.trainable=lora")
    assert (lora.code, lora.problems[0].kind, lora.problems[0].key) == (2, "missing_plugin", "model.trainable")
    assert ".[encoders]" in lora.problems[0].suggestion
    monkeypatch.undo()


@pytest.fixture
def tune(run: Callable[..., Result], here: Path) -> Callable[..., Run]:
    """Trains `model=huggingface` on made-up recordings and returns the run."""
    library(here / "music")

    def train(family: str, trainable: str, *overrides: str, code: int = 0) -> Run:
        if trainable == "lora":
            pytest.importorskip("peft", reason="needs peft: pip install peft")
        if not (here / family).exists():
            save_checkpoint(here / family, family)
        arguments = [
            "data=folder",
            "data.root=music",
            "model=huggingface",
            f"model.checkpoint={family}",
            "model.hidden=8",
        ]
        arguments += [f"model.trainable={trainable}", "data.clip_seconds=1", "data.eval_crops=1", "model.last_blocks=1"]
        arguments += [
            "trainer.max_epochs=2",
            "trainer.batch_size=8",
            "optimizer.lr=0.01",
            f"run_dir={trainable}",
            *overrides,
        ]
        result = run("train", *arguments)
        assert result.code == code, result.err
        return Run.open(here / trainable)

    return train


@pytest.mark.parametrize(("family", "trainable"), [
    ("wav2vec2", "head"), ("wav2vec2", "lora"), *(
        pytest.param(family, trainable, marks=pytest.mark.slow)
        for family, trainable in [("wav2vec2", "last_blocks"), ("wav2vec2", "all"), *((f, "lora") for f in ("ast", "hubert", "wavlm"))]
    ),
])  # fmt: skip
def test_a_run_is_saved_loaded_evaluated_and_predicts(
    tune: Callable[..., Run],
    run: Callable[..., Result],
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    trainable: str,
) -> None:
    trained = tune(family, trainable)
    weights = torch.load(here / trainable / "model" / "weights.pt", weights_only=True)
    network = HuggingFace(2, str(here / family), 1.0 if family in SPEECH else None, hidden=8)
    original = {f"1.{name}": value for name, value in network.state_dict().items()}
    assert weights.keys() == original.keys()
    changed = {n for n, value in weights.items() if n.startswith("1.encoder.") and not torch.equal(value, original[n])}
    tuned = {
        "head": lambda name: False,
        "last_blocks": lambda name: ".layers.2." in name,
        "all": lambda name: "masked_spec_embed" not in name,
        "lora": lambda name: ".layers." in name and name.endswith(".weight") and "norm" not in name,
    }[trainable]
    assert bool(changed) == (trainable != "head")
    assert all(map(tuned, changed)), changed
    summary = trained.provenance["model"]
    assert (summary["trainable"] < summary["parameters"]) or trainable == "all"
    log = (here / trainable / "run.log").read_text()
    assert f"{summary['trainable']:,} of {summary['parameters']:,}" in log

    shutil.rmtree(here / family)  # a run holds all it needs
    monkeypatch.setitem(sys.modules, "peft", None)
    assert run("evaluate", trainable, "--split", "test").code == 0
    table = trained.predictions("test").table
    files = [str(here / "music" / track) for track in table["track_id"]]
    predicted = musicreclass.predict(here / trainable, files, calibrated=False)
    assert trained.classifier().card.classes == ["high", "low"]
    np.testing.assert_allclose(predicted["p/high"].to_numpy(float), table["p/high"], atol=1e-6)


def test_a_run_with_adapters_resumes_exactly(
    tune: Callable[..., Run], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from musicreclass.training.module import GenreModule

    original = GenreModule.training_step

    def break_at(self: GenreModule, batches: Any, batch_idx: int) -> None:
        if self.current_epoch == 1 and batch_idx == 0:
            raise MemoryError("killed")
        original(self, batches, batch_idx)

    uninterrupted = tune("wav2vec2", "lora", "trainer.max_epochs=3").predictions("valid").table
    (here / "lora").rename(here / "first")
    with monkeypatch.context() as broken:
        broken.setattr(GenreModule, "training_step", break_at)
        tune("wav2vec2", "lora", "trainer.max_epochs=3", code=1)
    last = torch.load(here / "lora" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(
        "lora_" in name or ".head." in name or name.startswith("network.head.") for name in last if "encoder" in name
    )
    resumed = tune("wav2vec2", "lora", "trainer.max_epochs=3")
    pd.testing.assert_frame_equal(
        resumed.predictions("valid").table, uninterrupted, check_exact=True, check_dtype=False
    )


def test_a_tampered_run_is_rejected(tune: Callable[..., Run], run: Callable[..., Result], here: Path) -> None:
    tune("wav2vec2", "head", "trainer.max_epochs=1")
    card = here / "head" / "model" / CARD
    original = json.loads(card.read_text())
    for key, value in {
        "hidden_size": 2**14,
        "attn_implementation": "someone/kernel",
        "auto_map": {"AutoModel": "a.B"},
    }.items():
        changed = json_copy(original)
        changed["arguments"]["config"][key] = value
        card.write_text(json.dumps(changed))
        sum_again(here / "head" / "model")
        result = run("predict", "head", "--input", "music", "--output", "g.csv")
        assert result.code == 2, key
        assert "\n" not in result.err.strip()
