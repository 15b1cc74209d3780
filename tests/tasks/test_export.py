"""Exported files give the run's probabilities in ONNX Runtime, and describe how to use them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import musicreclass as mrc
from musicreclass.errors import UserError
from musicreclass.features.fma518.columns import COLUMNS
from musicreclass.runs.folder import Run
from tests.legacy import FMA, cnn_content, mlp_content, save

EXTRA = ("onnx", "onnxruntime", "onnxscript", "skl2onnx")


@pytest.fixture
def onnx() -> object:
    """The packages of the extra, or a skip."""
    for name in EXTRA[1:]:
        pytest.importorskip(name, reason="pip install 'musicreclass[export]'")
    return pytest.importorskip("onnx", reason="pip install 'musicreclass[export]'")


def probabilities(file: Path, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert len(session.get_inputs()) == len(session.get_outputs()) == 1
    return session.run(["probabilities"], {session.get_inputs()[0].name: x})[0]


def properties(onnx: object, file: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(str(file)).metadata_props}


@pytest.mark.parametrize("model", ["mlp", "logreg", "svm", pytest.param("random_forest", marks=pytest.mark.slow)])
def test_models_of_tables(run, finished_run, onnx, model):
    run_folder = finished_run(model)
    folder = run_folder.folder
    calibration = {
        **dict.fromkeys(("ece_before", "ece_after", "log_loss_before", "log_loss_after"), 0.1),
        "n": 18,
        "folds": 5,
    }
    calibration |= {"temperature": 1.7, "over": "18 tracks"}
    run_folder.write("metrics.json", {**run_folder.metrics, "calibration": calibration})
    result = run("export", folder)
    assert result.code == 0, result.err
    assert str(folder / "model/model.onnx") in result.out
    x = np.random.default_rng(3).normal(size=(40, 6)).astype(np.float32)
    x[::5, 2] = np.nan
    assert np.abs(probabilities(folder / "model/model.onnx", x) - mrc.load(folder).predict_proba(x)).max() < 1e-4
    described = properties(onnx, folder / "model/model.onnx")
    assert json.loads(described["classes"]) == ["blues", "jazz", "rock"]
    assert json.loads(described["columns"]) == [f"f{i}" for i in range(6)]
    assert (described["input"], described["temperature"]) == ("table", "1.7")
    assert described["signature"] == run_folder.identity.signature
    assert run("export", folder).code == 0  # over its own file
    assert run("evaluate", folder, "--split", "test").code == 0  # the file does not invalidate the model


def test_a_network_over_clips_reads_batches_and_clips_of_any_size(run, here, clip_run, onnx):
    folder = clip_run
    result = run("export", folder, "--output", here / "small.onnx")
    assert result.code == 0, result.err
    assert "recordings" not in result.out  # compared on those of the run's data
    random = np.random.default_rng(0)
    for shape in ((1, 6000), (9, 6000), (2, 9000)):
        x = 0.1 * random.normal(size=shape).astype(np.float32)
        assert np.abs(probabilities(here / "small.onnx", x) - mrc.load(folder).predict_proba(x)).max() < 1e-4
    described = properties(onnx, here / "small.onnx")
    assert (described["sample_rate"], described["clip_seconds"], described["eval_crops"]) == ("8000", "0.75", "2")
    assert json.loads(described["frontend"])["n_mels"] == 24


@pytest.mark.slow
def test_imported_weights(run, here, onnx):
    imported = mrc.import_weights(save(here / "mlp.pth", mlp_content()[1]), here / "mlp")
    file = mrc.export(imported, here / "mlp.onnx")
    described = properties(onnx, file)
    assert json.loads(described["columns"]) == list(COLUMNS)
    assert json.loads(described["classes"]) == FMA
    assert json.loads(described["features"])["_target_"].endswith("FMA518")
    assert "0.7709" in json.loads(described["protocol"])["why"][0]
    cnn = mrc.import_weights(save(here / "cnn.pth", cnn_content()[1]), here / "cnn")
    x = 0.1 * np.random.default_rng(0).normal(size=(2, 40_000)).astype(np.float32)
    assert np.abs(probabilities(mrc.export(cnn, here / "cnn.onnx"), x) - cnn.predict_proba(x)).max() < 1e-4
    result = run("export", here / "mlp", "--output", here / "again.onnx")
    assert "features=fma518" in result.out


@pytest.mark.slow
def test_openjmla_end_to_end(onnx):
    import onnxruntime

    from musicreclass.classifiers.model_folder import ModelCard
    from musicreclass.classifiers.network import NetworkClassifier
    from musicreclass.classifiers.onnx_model import to_onnx

    target = "musicreclass.models.openjmla_finetune.OpenJMLA"
    card = ModelCard("network", target, {"checkpoint": "random", "window_seconds": 4.8}, "waveform", ["a", "b"], [],
                     sample_rate=16000, clip_seconds=5.0)  # fmt: skip
    classifier = NetworkClassifier(card)
    model = to_onnx(classifier)
    session = onnxruntime.InferenceSession(model.proto.SerializeToString())
    x = 0.1 * np.random.default_rng(0).normal(size=(3, 80_000)).astype(np.float32)
    for clips in (x, x[:1], *([x[:, :30_000]] if model.any_length else [])):
        assert np.abs(session.run(None, {"waveform": clips})[0] - classifier.predict_proba(clips)).max() < 1e-4


def test_what_is_not_exported_is_one_line(run, here, finished_run, onnx, monkeypatch):
    folder = finished_run("logreg", "r").folder
    with monkeypatch.context() as patch:
        patch.setattr("musicreclass.tasks.export.TOLERANCE", -1.0)
        result = run("export", folder)
    assert (result.code, result.problems[0].kind, len(result.lines)) == (2, "no_parity", 1)
    assert not (folder / "model/model.onnx").exists()
    (here / "mine.onnx").write_text("keep")
    result = run("export", folder, "--output", here / "mine.onnx")
    assert (result.code, result.problems[0].kind) == (2, "exists")
    assert (here / "mine.onnx").read_text() == "keep"
    assert run("export", folder, "--output", here / "mine.onnx", "--force").code == 0
    assert run("export", folder, "--output", here).problems[0].kind == "is_folder"
    assert run("export", folder, "--output", here / "absent/x.onnx").problems[0].kind == "missing_folder"
    boosted = finished_run("xgboost", "b").folder
    result = run("export", boosted)
    assert (result.code, result.problems[0].kind, len(result.lines)) == (2, "unsupported_model", 1)
    assert "trees.ubj" in result.err
    Run.open(boosted).set_state("failed")
    assert run("export", boosted).problems[0].kind == "unfinished_run"
    (folder / "members/0").mkdir(parents=True)
    assert run("export", folder).problems[0].kind == "ensemble"
    assert run("export", folder, "--format", "coreml").problems[0].kind == "invalid_arguments"


@pytest.mark.parametrize("name", EXTRA)
def test_a_missing_package_is_one_line_with_the_remedy(here, monkeypatch, run, name):
    mrc.import_weights(save(here / "mlp.pth", mlp_content()[1]), here / "mlp")
    for other in EXTRA:
        monkeypatch.setitem(sys.modules, other, None if other == name else sys)
    result = run("export", here / "mlp")
    assert (result.code, result.problems[0].kind, result.problems[0].key) == (2, "missing_package", name)
    assert "pip install 'musicreclass[export]'" in result.err
    assert len(result.lines) == 1


def test_the_format_is_checked(here):
    with pytest.raises(UserError) as caught:
        mrc.export(here, format="tflite")
    assert caught.value.problems[0].suggestion == "onnx"
