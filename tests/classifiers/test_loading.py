"""A loaded model predicts the same, and loading executes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from musicreclass.classifiers.network import check_size
from musicreclass.errors import RunError
from musicreclass.runs.folder import Run
from tests.conftest import MODELS, sum_again


@pytest.mark.parametrize("model", MODELS)
def test_a_loaded_run_predicts_the_same(model, finished_run, table):
    loaded = finished_run(model)
    frame = pd.read_csv(table)
    valid = frame[frame.split == "valid"]
    x = valid[loaded.classifier().card.columns].to_numpy(np.float32)
    assert np.array_equal(loaded.classifier().predict_proba(x), loaded.predictions("valid").probabilities())


def test_a_loaded_model_executes_nothing(finished_run, here):
    """A pickle in place of weights or an estimator is rejected, and its payload does not run."""
    import pickle

    class Payload:
        def __reduce__(self):
            return (Path("owned").touch, ())

    for model, name in (
        ("mlp", "weights.pt"),
        ("logreg", "pipeline.skops"),
        ("xgboost", "trees.ubj"),
        ("xgboost", "present.npy"),
    ):
        loaded = finished_run(model, f"{model} {name}")
        path = loaded.folder / "model" / name
        assert path.exists()
        path.write_bytes(pickle.dumps(Payload()))
        with pytest.raises(RunError) as caught:
            loaded.classifier()
        assert (caught.value.kind, Path(caught.value.key).name) == ("damaged_model", name)
        assert "SHA256SUMS" in str(caught.value)
        sum_again(path.parent)
        with pytest.raises(RunError):
            Run.open(loaded.folder).classifier()
    finished_run("mlp", "mlp").classifier()
    meta = here / "mlp" / "model" / "meta.json"
    original = meta.read_text()
    crafted = {
        "musicreclass.models.mlp.MLP": [
            "os.system",
            "musicreclass.models.mlp.nn.Linear",
            "musicreclass.training.module.torch.load",
        ],
        '"dropout": 0.5': ['"dropout": {"_target_": "pathlib.Path.touch", "self": "owned"}', '"_target_": "os.mkdir"'],
        '"kind": "network"': ['"kind": ["network"]', '"kind": "pickle"'],
    }
    for old, news in crafted.items():
        for new in news:
            meta.write_text(original.replace(old, new))
            sum_again(meta.parent)
            assert meta.read_text() != original
            with pytest.raises(RunError):
                Run.open(here / "mlp").classifier()
    assert not Path("owned").exists()


@pytest.mark.parametrize("name", ["/dev/zero", "../config.yaml", "sub/weights.pt", "link.pt"])
def test_checksums_name_only_files_of_the_model(name, finished_run, here):
    model = finished_run("mlp", "r").folder / "model"
    (model / "link.pt").symlink_to("/dev/zero")
    sums = model / "SHA256SUMS"
    sums.write_text(f"{'0' * 64}  {name}\n{sums.read_text()}")
    with pytest.raises(RunError) as caught:
        Run.open(here / "r").classifier()
    assert (caught.value.kind, caught.value.key) == ("damaged_model", str(sums))


def test_a_network_is_not_larger_than_its_file(shared_runs):
    """Views of one number do not count as weights, however large they are."""
    (path,) = shared_runs("mlp").rglob("weights.pt")
    card = Run.open(path.parents[1]).classifier().card
    weights = torch.load(path, weights_only=True)
    check_size(card, weights)
    endless = {**weights, "x": torch.zeros(1).expand(10**13)}
    with pytest.raises(ValueError):
        check_size(replace(card, arguments={**card.arguments, "hidden": [1000, 1000]}), endless)
