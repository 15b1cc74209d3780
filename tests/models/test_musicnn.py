"""musicnn's taggers: outputs match TensorFlow, log-mel matches librosa, weights are installed completely or not at all."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file

from musicreclass.errors import ConfigError, WeightsError
from musicreclass.models.musicnn import HOP, PATCH_FRAMES, PATCH_SAMPLES, PATCH_STEP, MusiCNNEncoder
from musicreclass.models.weights import musicnn_wheel
from musicreclass.models.weights.musicnn import TAGS, install_weights, read_weights
from musicreclass.models.weights.musicnn_wheel import CHECKPOINTS, WHEEL
from tests import tensorflow_bundle as bundle
from tests.conftest import Result, only_run
from tests.make_musicnn_outputs import make_patches, make_variables

EXPECTED = np.load(Path(__file__).parents[1] / "files" / "musicnn_outputs.npz")
MODELS = os.environ.get("MUSICRECLASS_MODELS")  # read before conftest.py removes it
REAL_WHEEL = os.environ.get("MUSICRECLASS_TEST_MUSICNN")  # musicnn's wheel from PyPI


def seeded_name(checkpoint: str) -> str:
    """The name under which the outputs of a network with seeded weights are recorded."""
    return "seeded_" + checkpoint.rpartition("_")[2]


def seeded_bundle(checkpoint: str) -> tuple[bytes, bytes]:
    """Index and data of a checkpoint with seeded weights, including a few variables of an optimizer."""
    variables = make_variables(json.loads(str(EXPECTED[f"{seeded_name(checkpoint)}/shapes"])))
    variables |= {"dense/bias/Adam": variables["dense/bias"], "beta1_power": np.array(0.5, np.float32)}
    blocks, last_keys, data = bundle.bundle(variables)
    return bundle.table(blocks, last_keys), data


def write_wheel(path: Path, members: dict[str, bytes | None], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a wheel and make its SHA-256 the known one."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            if data is not None:
                archive.writestr(name, data)
    monkeypatch.setattr(musicnn_wheel, "SHA256", sha256(content.getvalue()).hexdigest())
    path.write_bytes(content.getvalue())
    return path


@pytest.fixture(scope="session")
def members() -> dict[str, bytes]:
    """The files of a package like musicnn's, with seeded weights."""
    files: dict[str, bytes] = {"musicnn/__init__.py": b"raise SystemExit('imported')"}
    for name in CHECKPOINTS:
        files[f"musicnn/{name}/.index"], files[f"musicnn/{name}/.data-00000-of-00001"] = seeded_bundle(name)
    return files


@pytest.fixture
def make_wheel(members: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes the wheel with some members replaced, or removed where None."""

    def make(**changes: bytes | None) -> Path:
        return write_wheel(tmp_path / WHEEL, {**members, **changes}, monkeypatch)

    return make


@pytest.fixture(scope="session")
def seeded(members: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with seeded weights, installed from a wheel."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as monkeypatch:
        install_weights(folder / "musicnn", write_wheel(folder / WHEEL, {**members}, monkeypatch))
    return folder / "musicnn"


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with musicnn's published weights; skips the test if there are none."""
    if MODELS and (Path(MODELS) / "musicnn" / f"{CHECKPOINTS[0]}.safetensors").is_file():
        return Path(MODELS) / "musicnn"
    if not REAL_WHEEL:
        pytest.skip("needs musicnn's weights in MUSICRECLASS_MODELS, or its wheel in MUSICRECLASS_TEST_MUSICNN")
    folder = tmp_path_factory.mktemp("published")
    install_weights(folder, Path(REAL_WHEEL))
    return folder


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
        assert all(overlap["what"] and overlap["source"] for overlap in overlaps)
    assert encoders["MSD_musicnn", "tags"].columns[:2] == ["rock", "pop"]


def test_unknown_layers_and_checkpoints_and_missing_weights(seeded: Path, tmp_path: Path) -> None:
    for settings, key, choice in (
        (("MSD_vgg", "embedding"), "features.layer", "pooled"),
        (("big", "tags"), "features.checkpoint", "MSD_musicnn"),
    ):
        with pytest.raises(ConfigError) as invalid:
            MusiCNNEncoder(*settings, str(seeded))
        assert (invalid.value.kind, invalid.value.key) == ("invalid_choice", key)
        assert choice in str(invalid.value)
    with pytest.raises(WeightsError) as missing:
        MusiCNNEncoder(folder=str(tmp_path))
    assert (missing.value.kind, missing.value.key) == ("file_not_found", str(tmp_path / "MSD_musicnn.safetensors"))
    assert "musicreclass prepare features=musicnn" in str(missing.value)


def install_error(folder: Path, wheel: Path | None) -> tuple[str, str]:
    """Kind and key of the error that keeps weights from being installed."""
    with pytest.raises(WeightsError) as caught:
        install_weights(folder, wheel)
    assert "\n" not in str(caught.value)
    assert not folder.exists()
    return caught.value.kind, caught.value.key


def test_only_the_known_wheel_is_accepted(make_wheel: Callable[..., Path], tmp_path: Path) -> None:
    wheel, folder = make_wheel(), tmp_path / "models"
    content = bytearray(wheel.read_bytes())
    content[len(content) // 2] ^= 1
    for damaged in (content, content[:1000]):
        wheel.write_bytes(damaged)
        assert install_error(folder, wheel) == ("wrong_checksum", str(wheel))
    for path in (tmp_path / "musicnn-0.2.0-py3-none-any.whl", tmp_path):  # a missing file, a folder
        assert install_error(folder, path) == ("unreadable_file", str(path))


def test_wheels_with_other_content_are_rejected(
    make_wheel: Callable[..., Path], members: dict[str, bytes], tmp_path: Path
) -> None:
    folder, index, data = tmp_path / "models", "musicnn/MTT_vgg/.index", "musicnn/MTT_vgg/.data-00000-of-00001"
    wheel = make_wheel(**{index: None})
    assert install_error(folder, wheel) == ("not_the_package", str(wheel))
    for name, content in ((data, members[data][:-1]), (index, members[index][:-9])):
        wheel = make_wheel(**{name: content})
        assert install_error(folder, wheel) == ("damaged_file", f"{wheel}/{name}")
    for variables, kind in (
        ({"other/kernel": np.zeros(3, np.float32)}, "unknown_variable"),
        (make_variables({"dense/bias": [50]}), "missing_variables"),
    ):
        blocks, last_keys, content = bundle.bundle(variables)
        wheel = make_wheel(**{index: bundle.table(blocks, last_keys), data: content})
        assert install_error(folder, wheel) == (kind, "MTT_vgg")
    wheel = make_wheel()
    wheel.write_bytes(b"not an archive")
    musicnn_wheel.SHA256 = sha256(b"not an archive").hexdigest()  # the monkeypatch of make_wheel restores it
    assert install_error(folder, wheel) == ("not_the_package", str(wheel))


def test_download_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    assert install_error(tmp_path / "models", None) == ("download_failed", "features.wheel")


def test_no_file_is_partially_installed(
    make_wheel: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel, folder, calls = make_wheel(), tmp_path / "models", []

    def fail_on_second_file(file: int) -> None:
        calls.append(file)
        if len(calls) == 2:
            os.ftruncate(file, 1000)
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail_on_second_file)
    with pytest.raises(WeightsError) as caught:
        install_weights(folder, wheel)
    assert (caught.value.kind, caught.value.key) == ("unwritable_folder", str(folder))
    assert [path.name for path in folder.iterdir()] == [f"{CHECKPOINTS[0]}.safetensors"]
    read_weights(folder, CHECKPOINTS[0])
    monkeypatch.undo()
    monkeypatch.setattr(musicnn_wheel, "SHA256", sha256(wheel.read_bytes()).hexdigest())
    assert sorted(install_weights(folder, wheel)) == sorted(folder.iterdir())
    unused = tmp_path / "unused.whl"  # not read when all weights are installed
    assert len({path.stat().st_mtime_ns for path in install_weights(folder, unused)}) == 4


def test_a_killed_installation_leaves_only_complete_files(make_wheel: Callable[..., Path], tmp_path: Path) -> None:
    wheel, folder = make_wheel(), tmp_path / "models"
    if (child := os.fork()) == 0:
        actions = iter([lambda: None, lambda: os.kill(os.getpid(), signal.SIGKILL)])
        os.fsync = lambda file: next(actions)()
        install_weights(folder, wheel)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert [path.name for path in folder.glob("*.safetensors")] == [f"{CHECKPOINTS[0]}.safetensors"]
    read_weights(folder, CHECKPOINTS[0])
    assert all(path.is_file() for path in install_weights(folder, wheel))


def test_damaged_weights_are_reported_and_replaced(make_wheel: Callable[..., Path], tmp_path: Path) -> None:
    wheel, folder = make_wheel(), tmp_path / "models"
    install_weights(folder, wheel)
    path = folder / "MSD_vgg.safetensors"
    content = path.read_bytes()

    def read_error() -> str:
        with pytest.raises(WeightsError) as caught:
            read_weights(folder, "MSD_vgg")
        assert caught.value.key == str(path)
        assert "musicreclass prepare" in str(caught.value)
        return caught.value.kind

    for damaged in (content[:-4], content[:50], b"", bytes(300)):
        path.write_bytes(damaged)
        assert read_error() == "damaged_file"
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert read_error() == "wrong_checksum"
    install_weights(folder, wheel)
    assert path.read_bytes() == content
    weights, card = read_weights(folder, "MSD_vgg")
    for change in ({"tags": ["rock"]}, {"tags": None}, {"overlaps": ["gtzan"]}, {"overlaps": [{"dataset": "gtzan"}]}):
        save_file(weights, path, {"card": json.dumps({**card, **change})})
        assert read_error() == "invalid_card"
    save_file({"w": torch.zeros(3)}, path)  # another program's file, without a card
    assert read_error() == "damaged_file"
    with pytest.raises(WeightsError):
        MusiCNNEncoder("MSD_vgg", "tags", str(folder))


def test_prepare_and_train(make_wheel: Callable[..., Path], run: Callable[..., Result], here: Path) -> None:
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
    assert header == f"track_id,path,target,split,group,{TAGS['MTT']}"
    assert len(rows) == 18
    trained = run("train", *overrides, "model=logreg")
    assert trained.code == 0, trained.err
    assert "embedding" not in trained.err  # prepare has computed all embeddings
    assert json.loads((only_run(here) / "metrics.json").read_text())["valid"]["accuracy"] == 1.0


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
