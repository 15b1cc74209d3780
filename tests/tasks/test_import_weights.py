"""Weights that users' scripts saved become runs with the same probabilities; other files are refused in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

import musicreclass as mrc
from musicreclass.errors import DataError, RunError, WeightsError
from musicreclass.features.fma518.columns import COLUMNS
from musicreclass.models.legacy_cnn import LibrosaMel, slaney_filters
from musicreclass.runs.folder import Run
from tests.legacy import FMA, GTZAN, cnn_content, mlp_content, save
from tests.sounds import music, write


def users_decibels(path: Path) -> np.ndarray:
    """What the CNN's script computes from a recording."""
    samples, _ = librosa.load(path, sr=22050, duration=30)
    mel = librosa.feature.melspectrogram(y=samples, sr=22050, n_mels=128)
    return librosa.power_to_db(mel, ref=np.max)


def softmax(logits: torch.Tensor) -> np.ndarray:
    return torch.softmax(logits.double(), 1).detach().numpy()


@pytest.mark.parametrize("protocol", [2, 4])
def test_the_mlp_gives_the_probabilities_of_the_users_script(here, protocol):
    network, content = mlp_content()
    run = mrc.import_weights(save(here / "mlp.pth", content, protocol), here / "mlp")
    x = np.random.default_rng(1).normal(size=(50, 518)) * content["scaler_scale"] + content["scaler_mean"]
    scaled = (x - content["scaler_mean"]) / content["scaler_scale"]
    reference = softmax(network(torch.from_numpy(scaled.astype(np.float32))))
    assert np.abs(run.predict_proba(x.astype(np.float32)) - reference).max() < 1e-5
    assert run.classes == FMA
    assert Run.open(here / "mlp").classifier().card.columns == list(COLUMNS)
    x[:, 7], scaled[:, 7] = np.nan, 0
    reference = softmax(network(torch.from_numpy(scaled.astype(np.float32))))
    assert np.abs(run.predict_proba(x.astype(np.float32)) - reference).max() < 1e-5


def test_the_mlp_reads_the_518_features_of_recordings(run, here):
    network, content = mlp_content()
    save(here / "mlp.pth", content)
    paths = [write(here / "lib" / genre / f"{i}.wav", music(3, 22050, seed=i), 22050) for i, genre in enumerate(["Rock", "Jazz", "Rock"])
             if (here / "lib" / genre).mkdir(parents=True, exist_ok=True) is None]  # fmt: skip
    assert run("import", here / "mlp.pth", "--output", here / "mlp").code == 0
    result = run("evaluate", here / "mlp", f"data.root={here / 'lib'}", "--split", "all")
    assert result.code == 0, result.err
    (table,) = (here / "mlp/predictions").glob("all@*.parquet")
    frame = pd.read_parquet(table)
    from musicreclass.features.fma518.extraction import extract_file

    x = np.stack([extract_file(path) for path in paths]).astype(np.float64)
    reference = softmax(
        network(torch.from_numpy(((x - content["scaler_mean"]) / content["scaler_scale"]).astype(np.float32)))
    )
    predicted = frame.set_index(frame.track_id.map(lambda name: Path(name).stem)).sort_index()
    assert np.abs(predicted[[f"p/{name}" for name in FMA]].to_numpy() - reference).max() < 1e-3
    (name,) = json.loads((here / "mlp/metrics.json").read_text())["elsewhere"]
    assert json.loads((here / "mlp/metrics.json").read_text())["elsewhere"][name]["protocol"]["leaky"] == "unknown"


def test_the_cnn_gives_the_probabilities_of_the_users_script(run, here):
    """From recordings of several rates and lengths, through decoding, clips of int16 and the network."""
    network, content = cnn_content()
    save(here / "cnn.pth", content)
    paths = []
    for i, (genre, seconds, rate, channels) in enumerate(
        [("rock", 31, 44100, 2), ("jazz", 30, 22050, 1), ("rock", 40, 22050, 1), ("jazz", 45, 48000, 1)]
    ):
        (here / "lib" / genre).mkdir(parents=True, exist_ok=True)
        paths.append(write(here / "lib" / genre / f"{i}.wav", music(seconds, rate, channels, seed=i), rate))
    assert run("import", here / "cnn.pth", "--output", here / "cnn").code == 0
    result = run("evaluate", here / "cnn", f"data.root={here / 'lib'}", "--split", "all")
    assert result.code == 0, result.err
    (table,) = (here / "cnn/predictions").glob("all@*.parquet")
    frame = pd.read_parquet(table)
    inputs = torch.from_numpy(np.stack([users_decibels(path) for path in paths]))[:, None]
    reference = softmax(network(inputs))
    assert reference.max(1).min() < 0.999  # the network is not saturated
    predicted = frame.set_index(frame.track_id.map(lambda name: Path(name).stem)).sort_index()
    assert np.abs(predicted[[f"p/{name}" for name in GTZAN]].to_numpy() - reference).max() < 2e-3
    waveforms = np.stack([librosa.load(path, sr=22050, duration=30)[0] for path in paths])
    assert np.abs(mrc.load(here / "cnn").predict_proba(waveforms) - reference).max() < 1e-5


def test_the_front_end_equals_librosa():
    for seed, samples in enumerate((music(4, 22050), np.zeros(30_000), np.full(30_000, 1e-7), np.eye(1, 30_000)[0])):
        y = samples.astype(np.float32)
        reference = librosa.power_to_db(librosa.feature.melspectrogram(y=y, sr=22050, n_mels=128), ref=np.max)
        front = LibrosaMel(22050)(torch.from_numpy(y)[None])
        assert front.shape == (1, 1, *reference.shape)
        assert np.abs(front[0, 0].numpy() - reference).max() < 1e-4, seed
    for rate in (22050, 16000, 1800):
        assert np.allclose(slaney_filters(rate, 2048), librosa.filters.mel(sr=rate, n_fft=2048, dtype=np.float64), atol=1e-12)  # fmt: skip


@pytest.mark.parametrize("name", ["blues", "classical"])
def test_the_cnn_on_real_recordings(here, real_data, name):
    network, content = cnn_content()
    run = mrc.import_weights(save(here / "cnn.pth", content), here / "cnn")
    path = next(iter(sorted((real_data / "GTZAN/Data/genres_original" / name).glob("*.wav"))), None)
    if path is None:
        pytest.skip(f"no recordings of {name}")
    samples, rate = soundfile.read(path, dtype="int16")
    assert rate == 22050
    reference = softmax(network(torch.from_numpy(users_decibels(path))[None, None]))
    assert np.abs(run.predict_proba(samples[None, : 30 * rate]) - reference).max() < 1e-4


def test_variants_of_the_cnn_are_read(here):
    """A last layer within a Sequential, convolutions without bias, and weights without the counters of batches."""
    _, content = cnn_content()
    state = {name: value for name, value in content["model_state_dict"].items() if "num_batches" not in name}
    x = np.random.default_rng(0).normal(size=(2, 30_000)).astype(np.float32)
    expected = mrc.import_weights(save(here / "a.pth", content), here / "a").predict_proba(x)
    content["model_state_dict"] = {name.replace("classifier.", "classifier.1."): value for name, value in state.items()}
    assert np.array_equal(mrc.import_weights(save(here / "b.pth", content), here / "b").predict_proba(x), expected)
    without_bias = {
        n: v for n, v in state.items() if not (n.endswith(".bias") and n.split(".")[1] in ("0", "5", "10", "15"))
    }
    content["model_state_dict"] = without_bias
    assert mrc.import_weights(save(here / "c.pth", content), here / "c").predict_proba(x).shape == (2, 10)


def test_the_claimed_accuracy_is_never_a_score(run, here):
    save(here / "mlp.pth", mlp_content()[1])
    result = run("import", here / "mlp.pth")
    assert result.code == 0
    (folder,) = (here / "outputs").iterdir()
    metrics = json.loads((folder / "metrics.json").read_text())
    assert not {"train", "valid", "test", "elsewhere"} & set(metrics)
    assert metrics["protocol"]["leaky"] == "unknown"
    assert "0.7709" in metrics["protocol"]["why"][0]
    inspected = " ".join(run("inspect", folder).out.split())
    assert "self-reported accuracy 0.7709" in inspected
    assert "leaks: unknown" in inspected
    result = run("compare", folder)
    assert (result.code, result.problems[0].kind) == (2, "no_finished_runs")
    assert str(folder.name) in result.err
    result = run("evaluate", folder)
    assert (result.code, result.problems[0].kind) == (2, "no_data")
    assert "imported" not in run("import", here / "mlp.pth", "--help").err
    before = (folder / "model/weights.pt").stat().st_mtime_ns
    assert run("import", here / "mlp.pth").code == 0  # again: the same folder
    assert (folder / "model/weights.pt").stat().st_mtime_ns == before


def test_inspect_names_the_command(run, here):
    for name, (_, content) in {"mlp": mlp_content(), "cnn": cnn_content()}.items():
        for protocol in (2, 4):
            result = run("inspect", save(here / f"{name}.pth", content, protocol))
            assert result.code == 0
            assert f"musicreclass import {here / f'{name}.pth'}" in " ".join(result.out.split())
    _, content = mlp_content(features=31)
    assert "musicreclass import" not in run("inspect", save(here / "x.pth", content)).out


def test_a_folder_of_something_else_is_not_written_into(run, here):
    save(here / "mlp.pth", mlp_content()[1])
    (here / "mine").mkdir()
    (here / "mine/notes.txt").write_text("keep")
    (here / "file").write_text("keep")
    for output in ("mine", "file"):
        result = run("import", here / "mlp.pth", "--output", here / output)
        assert (result.code, result.problems[0].kind) == (2, "foreign_files")
    assert run("import", here / "mlp.pth", "--output", here / "first").code == 0
    other = save(here / "other.pth", mlp_content(seed=1)[1])
    assert run("import", other, "--output", here / "first").problems[0].kind == "another_run"
    with pytest.raises(RunError):
        mrc.import_weights(other, here / "first")
    assert sorted(path.name for path in here.iterdir()) == ["file", "first", "mine", "mlp.pth", "other.pth"]
    assert (here / "mine/notes.txt").read_text() == "keep"


def changed(**values: object) -> dict[str, object]:
    """The MLP's file with other values; None removes a key."""
    content = {**mlp_content()[1], **values}
    return {key: value for key, value in content.items() if value is not None}


def with_tensor(name: str, value: torch.Tensor) -> dict[str, object]:
    content = mlp_content()[1]
    return {**content, "model": {**content["model"], name: value}}


def cnn_changed(**values: object) -> dict[str, object]:
    return {**cnn_content()[1], **values}


REFUSED = {
    "state dict": (lambda: mlp_content()[1]["model"], "incomplete_weights", "genres"),
    "fc names": (lambda: {"fc1.weight": torch.zeros(2, 31), "fc1.bias": torch.zeros(2)}, "incomplete_weights", "fc1"),
    "no genres": (lambda: changed(genres=None), "incomplete_weights", "genres"),
    "no scaler": (lambda: changed(scaler_mean=None, scaler_scale=None), "incomplete_weights", "scaler_mean, scaler_scale"),
    "no encoder": (lambda: {"model_state_dict": cnn_content()[1]["model_state_dict"]}, "incomplete_weights", "label_encoder"),
    "31 inputs": (lambda: mlp_content(features=31)[1], "wrong_tensors", "net.0.weight is (256, 31)"),
    "other layer": (lambda: with_tensor("net.9.weight", torch.zeros(3)), "wrong_tensors", "net.9.weight"),
    "genres": (lambda: changed(genres=FMA[:-1]), "class_mismatch", "15"),
    "repeated": (lambda: changed(genres=[*FMA[:-1], "Rock"]), "duplicate_class", "Rock"),
    "no text": (lambda: changed(genres=[*FMA[:-1], 3]), "invalid_genres", "genres"),
    "empty": (lambda: changed(genres=[*FMA[:-1], " "]), "invalid_genres", "genres"),
    "control": (lambda: changed(genres=[*FMA[:-1], "a\x1b[2J"]), "invalid_genres", "genres"),
    "not finite": (lambda: with_tensor("net.3.bias", torch.full((128,), torch.nan)), "invalid_values", "net.3.bias"),
    "complex": (lambda: with_tensor("net.3.bias", torch.zeros(128, dtype=torch.complex64)), "foreign_objects", "ComplexFloat"),
    "zero scale": (lambda: changed(scaler_scale=np.r_[0, np.ones(517)]), "invalid_values", "scaler_scale"),
    "infinite mean": (lambda: changed(scaler_mean=np.full(518, np.inf)), "invalid_values", "scaler_mean"),
    "short mean": (lambda: changed(scaler_mean=np.zeros(48)), "wrong_tensors", "48"),
    "integer mean": (lambda: changed(scaler_mean=np.zeros(518, int)), "wrong_tensors", "scaler_mean"),
    "endless mean": (lambda: changed(scaler_mean=torch.zeros(1).expand(10**13)), "wrong_tensors", "(10000000000000,)"),
    "endless weights": (lambda: with_tensor("net.3.bias", torch.zeros(1).expand(10**13)), "wrong_tensors", "(10000000000000,)"),
    "integer tensor": (lambda: changed(scaler_mean=torch.zeros(518, dtype=torch.int64)), "wrong_tensors", "scaler_mean"),
    "text mean": (lambda: changed(scaler_mean="0"), "wrong_tensors", "scaler_mean"),
    "no mapping": (lambda: [torch.zeros(3)], "incomplete_weights", "scaler_mean"),
    "list of weights": (lambda: changed(model=[1]), "wrong_tensors", ""),
    "cnn genres": (lambda: cnn_changed(label_encoder=["a", "b"]), "class_mismatch", "2"),
    "cnn width": (lambda: cnn_changed(model_state_dict={"features.0.weight": torch.zeros(8, 1, 3, 3)}), "wrong_tensors", "(8, 1, 3, 3)"),
    "variance": (
        lambda: cnn_changed(model_state_dict={**cnn_content()[1]["model_state_dict"], "features.6.running_var": -torch.ones(32)}),
        "invalid_values",
        "features.6.running_var",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_other_files_are_refused_in_one_line(run, here, case):
    make, kind, named = REFUSED[case]
    path = save(here / "x.pth", make())
    result = run("import", path)
    assert (result.code, result.problems[0].kind, result.problems[0].key) == (2, kind, str(path)), result.err
    assert len(result.lines) == 1
    assert named in result.err
    assert sorted(path.name for path in here.iterdir()) == ["x.pth"]


def test_files_without_their_content_are_refused(run, here):
    complete = save(here / "mlp.pth", mlp_content()[1]).read_bytes()
    for name, content, kind in (
        ("pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "git_lfs_pointer"),
        ("page", b"<!DOCTYPE html><html>", "web_page"),
        ("empty", b"", "empty_file"),
        ("half", complete[: len(complete) // 2], "damaged_file"),
        ("changed", complete.replace(b"data.pkl", b"data.pkk"), "damaged_file"),
    ):
        (here / name).write_bytes(content)
        result = run("import", here / name)
        assert (result.code, result.problems[0].kind, len(result.lines)) == (2, kind, 1), result.err
    assert run("import", here / "absent").problems[0].kind == "file_not_found"
    assert run("import", here).problems[0].kind == "unreadable"
    torch.save(mlp_content()[1], here / "old.pth", _use_new_zipfile_serialization=False)
    assert run("import", here / "old.pth").problems[0].kind == "unsupported_format"
    assert run("import").problems[0].kind == "invalid_arguments"


def test_an_interrupted_import_leaves_nothing(here, monkeypatch):
    path = save(here / "mlp.pth", mlp_content()[1])
    monkeypatch.setattr(Run, "save_model", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        mrc.import_weights(path, here / "mlp")
    assert sorted(path.name for path in here.iterdir()) == ["mlp.pth"]


def test_constant_columns_are_rejected(here):
    """A vector of few values padded with zeros is not classified."""
    run = mrc.import_weights(save(here / "mlp.pth", mlp_content()[1]), here / "mlp")
    x = np.zeros((8, 518), np.float32)
    x[:, :48] = np.random.default_rng(0).normal(size=(8, 48))
    with pytest.raises(DataError) as caught:
        run.predict_proba(x)
    assert caught.value.kind == "constant_columns"


def test_an_imported_run_can_be_moved(here):
    run = mrc.import_weights(save(here / "mlp.pth", mlp_content()[1]), here / "mlp")
    x = np.random.default_rng(0).normal(size=(3, 518)).astype(np.float32)
    expected = run.predict_proba(x)
    shutil.move(here / "mlp", here / "moved")
    (here / "mlp.pth").unlink()
    assert np.array_equal(mrc.load(here / "moved").predict_proba(x), expected)


def test_errors_are_those_of_weights(here):
    with pytest.raises(WeightsError):
        mrc.import_weights(here / "absent.pth")
