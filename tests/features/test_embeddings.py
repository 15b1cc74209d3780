"""Recordings as a table of embeddings: computed once, used like any table, equal to the encoder inside the training loop."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from importlib import invalidate_caches
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

from musicreclass.cli import main as cli
from musicreclass.config.check import train_settings
from musicreclass.data.sources.folder import GenreFolders
from musicreclass.features.embeddings import EncoderPart
from musicreclass.features.feature_data import FeatureData
from musicreclass.models.encoder import Encoder
from musicreclass.models.openjmla import OpenJMLAEncoder
from musicreclass.runs.folder import Run
from musicreclass.runs.syntax import read_module
from musicreclass.tasks.machine import use_machine
from musicreclass.tasks.open_data import open_data
from tests.conftest import only_run, written_at

RATE = 16000
SECONDS = 1.2
WINDOW = "1.12"  # seconds; only 7 columns of patches, for speed


def library(
    folder: Path, tracks: int = 6, classes: tuple[str, ...] = ("bell", "drone", "noise"), seconds: float = SECONDS
) -> Path:
    """A folder of genres that sound different; each clip has one window."""
    rng = np.random.default_rng(0)
    t = np.arange(round(RATE * seconds)) / RATE
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for k in range(tracks):
            tone = np.sin(2 * np.pi * (150 * 4**label + 13 * k) * t) * np.exp(-label * t)
            soundfile.write(folder / name / f"{k}.wav", 0.3 * tone + 0.02 * rng.normal(size=len(t)), RATE)
    return folder


def command(folder: Path, *overrides: str) -> list[str]:
    return ["train", "data=folder", f"data.root={folder}", "features=openjmla", "features.checkpoint=random",
            f"features.window_seconds={WINDOW}", *overrides]  # fmt: skip


TABLE = (
    "model=mlp",
    "model.scale=false",
    "model.hidden=[256]",
    "model.dropout=0.3",
    "trainer.max_epochs=2",
    "trainer.batch_size=5",
)
LOOP = ("model=openjmla", "model.checkpoint=random", f"model.window_seconds={WINDOW}", f"data.clip_seconds={SECONDS}",
        "trainer.max_epochs=2", "trainer.batch_size=5", "logger=none")  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory, cache) -> Path:
    """Two runs that train the same head: on stored embeddings (`table`), and on the encoder in the loop (`loop`)."""
    here = tmp_path_factory.mktemp("runs")
    music = library(here / "music")
    splits = ["evaluate=[valid,test]"]
    assert cli.main(command(music, *TABLE, f"run_dir={here}/table", *splits)) == 0
    assert cli.main(["train", "data=folder", f"data.root={music}", *LOOP, f"run_dir={here}/loop", *splits]) == 0
    return here


def test_stored_embeddings_equal_the_encoder_in_the_loop(runs):
    table, loop = Run.open(runs / "table"), Run.open(runs / "loop")
    for split in ("valid", "test"):
        a, b = table.predictions(split), loop.predictions(split)
        assert a.table.track_id.tolist() == b.table.track_id.tolist()
        assert np.abs(a.probabilities() - b.probabilities()).max() < 1e-4
        assert a.probabilities().std() > 0.01
    loop_head = {
        name: w for name, w in torch.load(runs / "loop/model/weights.pt").items() if name.startswith("1.head.")
    }
    table_head = torch.load(runs / "table/model/weights.pt")
    assert len(loop_head) == 4
    for name, w in loop_head.items():
        assert torch.allclose(w, table_head[name.replace("1.head.", "1.")], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.7, 1.5])  # repeated to fill a window, and truncated
def test_clips_shorter_or_longer_than_a_window_are_equal_too(run, here, seconds):
    music = library(here / "music", tracks=4, seconds=seconds)
    options = ("trainer.max_epochs=1", "logger=none", "data.min_seconds=0.5")
    assert run(*command(music, *TABLE, *options, "run_dir=table")).code == 0
    assert (
        run(
            "train",
            "data=folder",
            f"data.root={music}",
            *LOOP,
            *options,
            f"data.clip_seconds={seconds}",
            "run_dir=loop",
        ).code
        == 0
    )
    table, loop = (Run.open(here / name).predictions("valid").probabilities() for name in ("table", "loop"))
    assert np.abs(table - loop).max() < 1e-4
    assert table.std() > 0.01


def test_head_training_neither_changes_nor_stores_the_encoder(runs):
    fresh = OpenJMLAEncoder.from_checkpoint("random").state_dict()
    saved = torch.load(runs / "loop/model/weights.pt", mmap=True)
    assert all(torch.equal(tensor, saved[f"1.encoder.{name}"]) for name, tensor in fresh.items())
    for file in ("last.ckpt", "best.ckpt"):
        assert (runs / "loop/checkpoints" / file).stat().st_size < 4e6  # the head and its optimizer, not 330 MB
    model = Run.open(runs / "loop").provenance["model"]
    assert model["trainable"] == 768 * 256 + 256 + 256 * 3 + 3
    assert model["parameters"] == model["trainable"] + 86_366_208


@pytest.mark.slow
def test_a_loaded_transfer_model_needs_no_checkpoint(run, here, tmp_path_factory):
    music = library(here / "music")
    weights = here / "models" / "epoch_20.pth"
    weights.parent.mkdir()
    torch.save({"state_dict": OpenJMLAEncoder.from_checkpoint("random").state_dict()}, weights)
    loop = [w for w in LOOP if "checkpoint" not in w]
    assert run("train", "data=folder", f"data.root={music}", *loop, "run_dir=r", "trainer.max_epochs=1").code == 0
    weights.unlink()
    result = run("evaluate", "r", "--split", "test")
    assert result.code == 0, result.err
    assert "test" in Run.open(here / "r").metrics


@pytest.mark.slow
def test_embeddings_are_computed_once_for_all_table_models(run, here, monkeypatch):
    monkeypatch.setenv("MUSICRECLASS_CACHE", str(here / "cache"))
    music = library(here / "music", tracks=8)
    result = run(*command(music, "model=xgboost", "model.n_estimators=5", "evaluate=[valid]"))
    assert result.code == 0, result.err
    vectors = written_at(here / "cache" / "vectors", "*.npy")
    assert len(vectors) == 24
    assert Run.open(only_run(here)).metrics["valid"]["accuracy"] > 0.5
    again = run(*command(music, "model=logreg"))
    assert again.code == 0, again.err
    assert written_at(here / "cache" / "vectors", "*.npy") == vectors
    folders = set((here / "outputs").iterdir())
    assert run(*command(music, "model=logreg")).code == 0
    assert set((here / "outputs").iterdir()) == folders
    rng = np.random.default_rng(1)
    soundfile.write(music / "bell" / "new.wav", 0.1 * rng.normal(size=20000), RATE)
    assert run(*command(music, "model=logreg")).code == 0
    one_more = written_at(here / "cache" / "vectors", "*.npy")
    assert len(one_more) == 25
    assert vectors.items() <= one_more.items()


def test_an_interrupted_computation_is_resumed(run, here, monkeypatch):
    from musicreclass.features import embeddings

    music = library(here / "music", tracks=7, classes=("one", "two"))
    save, saved = embeddings.EncoderPart.save, []

    def interrupt_second(self, source, tracks, folder):
        if saved:
            raise KeyboardInterrupt
        saved.append(folder)
        save(self, source, tracks, folder)

    monkeypatch.setattr(embeddings.EncoderPart, "save", interrupt_second)
    assert run(*command(music, "model=logreg", "features.batch_size=4", "features.pooling=cls")).code == 130
    first = written_at(saved[0], "*.npy")
    assert len(first) == 4
    monkeypatch.setattr(embeddings.EncoderPart, "save", save)
    result = run(*command(music, "model=logreg", "features.batch_size=4", "features.pooling=cls"))
    assert result.code == 0, result.err
    vectors = written_at(saved[0], "*.npy")
    assert len(vectors) == 14
    assert first.items() <= vectors.items()


@pytest.mark.slow
def test_weights_are_identified_by_content_not_by_path(run, here):

    from musicreclass.config.check import train_settings
    from musicreclass.runs.signature import signature

    def signed(path: Path, section: str) -> str:
        model = (
            ["model=openjmla", f"model.checkpoint={path}"]
            if section == "model"
            else ["features=openjmla", f"features.checkpoint={path}"]
        )
        return signature(train_settings(["data=folder", f"data.root={here}", *model]), "data")

    for section in ("model", "features"):
        (here / "a.pth").write_bytes(b"one")
        first = signed(here / "a.pth", section)
        shutil.copy(here / "a.pth", here / "b.pth")
        assert signed(here / "b.pth", section) == first
        (here / "b.pth").write_bytes(b"two")
        assert signed(here / "b.pth", section) != first
        assert signed(Path("random"), section) not in (first, signed(here / "b.pth", section))


@pytest.mark.parametrize(("overrides", "named"), [
    (["features=openjmla"], ["features.checkpoint=models/epoch_20.pth"]),
    (["features=openjmla", "features.pooling=max"], ["features.pooling=max", "mean", "cls", "cls_mean"]),
    (["features=openjmla", "features.window_seconds=40", "features.checkpoint=random"], ["position=interpolate"]),
    (["features=openjmla", "model=cnn"], ["features=openjmla", "model=cnn"]),
    (["features=openjmla", "data=fma_features"], ["data=fma_features", "features=none"]),
    (["model=mlp"], ["model=mlp", "features=", "openjmla"]),
    (["features=openjmla", "augmentation=waveform"], ["augmentation=none"]),
    (["model=openjmla"], ["models/epoch_20.pth"]),
    (["model=openjmla", "model.checkpoint=random", "augmentation=spectrogram", "data.clip_seconds=2"], ["augmentation"]),
    (["model=openjmla", "model.trainable=some"], ["model.trainable=some", "head", "last_blocks", "all"]),
])  # fmt: skip
def test_invalid_settings_are_one_line(run, here, overrides, named):
    music = library(here / "music", tracks=3)
    result = run("train", "data=folder", f"data.root={music}", *overrides)
    assert result.code == 2
    errors = [line for line in result.err.splitlines() if line.startswith("musicreclass: ")]
    assert len(errors) == 1, result.err
    assert all(name in errors[0] for name in named), errors
    assert not (here / "outputs").exists() or not list((here / "outputs").glob("*/status.json"))


def test_a_run_on_embeddings_can_be_scored_on_another_library(run, here, runs):
    shutil.copytree(runs / "table", here / "r")
    other = library(here / "other", tracks=3)
    result = run("evaluate", "r", "--split", "all", "data=folder", f"data.root={other}")
    assert result.code == 0, result.err
    (name,) = Run.open(here / "r").metrics["elsewhere"]
    assert Run.open(here / "r").metrics["elsewhere"][name]["n"] == 9


@pytest.mark.parametrize("features", [
    {"_target_": "musicreclass.storage.atomic.remove", "path": "precious"},
    {"_target_": "musicreclass.models.weights.torch_files.load_checkpoint", "path": "precious"},
    {"_target_": "musicreclass.models.openjmla.OpenJMLAEncoder.from_checkpoint",
     "checkpoint": {"_target_": "musicreclass.storage.atomic.remove", "path": "precious"}},
])  # fmt: skip
def test_a_crafted_run_executes_nothing_for_its_features(run, here, runs, features):
    shutil.copytree(runs / "table", here / "r")
    (here / "precious").write_text("intact")
    config = yaml.safe_load((here / "r/config.yaml").read_text())
    config["features"] = {"sample_rate": RATE, "precision": "32-true", "batch_size": 4, **features}
    (here / "r/config.yaml").write_text(yaml.safe_dump(config))
    result = run("evaluate", "r", "--split", "train")
    assert result.code == 2, result.err
    assert (here / "precious").read_text() == "intact"
    assert len(result.lines) == 1


@pytest.mark.slow
def test_fine_tuning_resumes_exactly(run, here, monkeypatch):
    from musicreclass.training.module import GenreModule

    music = library(here / "music", tracks=4)
    trainable = (
        "model.trainable=last_blocks",
        "model.last_blocks=1",
        "model.unfreeze_every=1",
        "model.layer_decay=0.5",
        "trainer.max_epochs=3",
    )
    loop = ["train", "data=folder", f"data.root={music}", *[w for w in LOOP if "max_epochs" not in w], *trainable]
    assert run(*loop, "run_dir=uninterrupted").code == 0
    end, ended = GenreModule.on_train_epoch_end, []

    def interrupt_third(self):
        end(self)
        ended.append(self.current_epoch)
        if len(ended) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(GenreModule, "on_train_epoch_end", interrupt_third)
    assert run(*loop, "run_dir=interrupted").code == 130
    monkeypatch.setattr(GenreModule, "on_train_epoch_end", end)
    assert run(*loop, "run_dir=interrupted").code == 0
    a, b = (Run.open(here / name).predictions("valid").probabilities() for name in ("uninterrupted", "interrupted"))
    assert np.array_equal(a, b)
    weights = {name: torch.load(here / name / "model/weights.pt") for name in ("uninterrupted", "interrupted")}
    assert all(torch.equal(w, weights["interrupted"][name]) for name, w in weights["uninterrupted"].items())


def test_inspect_shows_files_and_runs(run, here, runs):
    tensors = OpenJMLAEncoder.from_checkpoint("random").half().state_dict()
    torch.save({"model": {f"net.{name}": t for name, t in tensors.items()}, "epoch": 4}, here / "big.pth")
    result = run("inspect", here / "big.pth")
    assert result.code == 0, result.err
    output = " ".join(result.out.split())
    assert "'model.net.': features=openjmla features.checkpoint=" in output
    assert "all 150 86,366,208" in output
    assert "model.net.layers.0-11 144" in output
    assert "epoch 4" in output
    output = " ".join(run("inspect", runs / "table").out.split())
    for part in (
        "state done",
        "classes 3: bell, drone, noise",
        "table of 768 features",
        "protocol",
        "valid accuracy",
    ):
        assert part in output, part
    assert json.loads((runs / "table/metrics.json").read_text())["classes"]


def test_inspect_loads_no_foreign_objects(run, here):
    class Trap:
        def __reduce__(self):
            return (Path("executed").touch, ())

    torch.save({"weights": torch.zeros(3), "trap": Trap()}, here / "trap.pth")
    result = run("inspect", here / "trap.pth")
    assert result.code == 0, result.err
    assert "pathlib.PosixPath" in result.out  # named, but not loaded
    (here / "page.pth").write_text("<html>")
    assert run("inspect", here / "page.pth").code == 2
    assert run("inspect", here / "absent").code == 2
    assert run("inspect", here).code == 2
    assert not list(here.glob("**/executed"))


@pytest.mark.slow
def test_a_replaced_encoder_is_rejected_and_a_moved_one_accepted(run, here):
    music, other = library(here / "music"), library(here / "other", tracks=3)
    tensors = OpenJMLAEncoder.from_checkpoint("random").state_dict()
    torch.save(tensors, here / "w.pth")
    train = ["train", "data=folder", f"data.root={music}", "features=openjmla", "features.checkpoint=w.pth",
             f"features.window_seconds={WINDOW}", "model=logreg", "run_dir=r"]  # fmt: skip
    assert run(*train).code == 0
    (here / "w.pth").rename(here / "moved.pth")
    torch.save({name: 1.5 * tensor for name, tensor in tensors.items()}, here / "w.pth")
    for more in ([], ["--split", "all", "data=folder", f"data.root={other}"]):
        rejected = run("evaluate", "r", *more)
        assert rejected.code == 2, rejected.out
        assert "features.checkpoint=" in rejected.err
    assert Run.open(here / "r").metrics.keys().isdisjoint({"test", "elsewhere"})
    moved = run("evaluate", "r", "features.checkpoint=moved.pth")
    assert moved.code == 0, moved.err
    assert "test" in Run.open(here / "r").metrics
    assert "features.pooling" in run("evaluate", "r", "features.pooling=cls").err


@pytest.mark.slow
def test_damaged_embeddings_are_computed_again(run, here, monkeypatch):
    monkeypatch.setenv("MUSICRECLASS_CACHE", str(here / "cache"))
    music = library(here / "music", tracks=5, classes=("one", "two"))
    assert run(*command(music, "model=logreg", "run_dir=a")).code == 0
    files = sorted((here / "cache" / "vectors").rglob("*.npy"))
    before = [np.load(file) for file in files[:4]]
    intact = {file: file.stat().st_mtime_ns for file in files[4:]}
    files[0].write_bytes(b"")
    files[1].write_bytes(files[1].read_bytes()[:90])
    np.save(files[2], np.zeros((1, 5), np.float32))
    np.save(files[3], np.full((1, 768), np.nan, np.float32))
    shutil.rmtree(here / "cache" / "embeddings")
    result = run(*command(music, "model=logreg", "run_dir=a", "force=true"))
    assert result.code == 0, result.err
    assert {file: file.stat().st_mtime_ns for file in files[4:]} == intact
    assert all(np.allclose(np.load(file), vectors, atol=1e-5) for file, vectors in zip(files, before, strict=False))


def test_weights_that_give_nan_are_rejected(run, here):
    music = library(here / "music", tracks=4)
    tensors = OpenJMLAEncoder().state_dict()
    torch.save({name: torch.full((1,), float("nan")).expand(t.shape) for name, t in tensors.items()}, here / "nan.pth")
    result = run(*command(music, "model=logreg", "features.checkpoint=nan.pth"))
    assert result.code == 2, result.out
    assert result.problems[0].kind == "invalid_embeddings"
    assert str(music) in result.problems[0].key


def test_a_recording_that_the_encoder_rejects_is_named(run, here):
    music = library(here / "music", tracks=4)
    soundfile.write(music / "bell" / "tiny.wav", np.full(100, 0.1), RATE)
    result = run(*command(music, "model=logreg", "data.min_seconds=0.001"))
    assert result.code == 2, result.out
    (problem,) = result.problems
    assert (problem.kind, problem.key) == ("encoder_failed", str(music / "bell" / "tiny.wav"))
    assert "data.min_seconds" in problem.message


@pytest.mark.parametrize("override", ["model.sample_rate=22050", "data.sample_rate=8000"])
def test_an_encoder_in_the_loop_requires_its_sample_rate(run, here, override):
    music = library(here / "music", tracks=4)
    result = run("train", "data=folder", f"data.root={music}", *LOOP, override)
    assert result.code == 2, result.out
    assert "model.sample_rate=16000" in result.lines[-1]


def test_a_crafted_run_downloads_nothing(run, here, runs):
    shutil.copytree(runs / "table", here / "r")
    config = yaml.safe_load((here / "r/config.yaml").read_text())
    config["features"] = {"_target_": "musicreclass.models.musicnn.MusiCNNEncoder.fetch", "folder": str(here / "models"),
                          "wheel": str(here / "none.whl")}  # fmt: skip
    (here / "r/config.yaml").write_text(yaml.safe_dump(config))
    result = run("evaluate", "r", "--split", "train")
    assert result.code == 2, result.err
    assert "features._target_=musicreclass.models.musicnn.MusiCNNEncoder.fetch" in result.err


def test_inspect_handles_unusual_tensors_and_names(run, here):
    cyclic: dict[str, object] = {"t": torch.zeros(2)}
    cyclic["itself"] = cyclic
    torch.save(cyclic, here / "cyclic.pth")
    result = run("inspect", here / "cyclic.pth")
    assert result.code == 2, result.err
    assert result.problems[0].kind == "damaged_file"
    torch.save({"\x1b[31mred": torch.zeros(3).to_sparse(), "note": "\x1b[2Jgone"}, here / "odd.pth")
    result = run("inspect", here / "odd.pth")
    assert result.code == 0, result.err
    assert "\x1b" not in result.out


@pytest.mark.slow
def test_clip_settings_do_not_affect_embeddings(run, here):
    music = library(here / "music", tracks=4)
    assert run(*command(music, "model=logreg")).code == 0
    created = (only_run(here) / "provenance.json").stat().st_mtime_ns
    assert run(*command(music, "model=logreg", "data.clip_seconds=9", "data.eval_crops=7")).code == 0
    assert (only_run(here) / "provenance.json").stat().st_mtime_ns == created  # the finished run was found
    rejected = run(*command(music, "model=logreg", "data.sampler=balanced"))
    assert (rejected.code, len(rejected.lines)) == (2, 1)
    assert "class_weight=balanced" in rejected.lines[0]


def test_signatures_ignore_batch_size_and_weights_folder(here):
    from musicreclass.config.parse import parse
    from musicreclass.config.settings.tasks import TrainSettings
    from musicreclass.runs.signature import located, signature

    def settings(windows: int = 8, tracks: int = 8, folder: str = "models") -> TrainSettings:
        config = {
            "data": {},
            "model": {"_target_": "sklearn.neural_network.MLPClassifier", "batch_size": tracks},
            "features": {"_target_": "package.Encoder", "folder": folder, "batch_size": windows},
            "paths": {"cache": "cache"},
        }
        return parse("train", config)  # type: ignore[return-value]

    assert (
        signature(settings(windows=4), "data") == signature(settings(), "data") != signature(settings(tracks=4), "data")
    )
    assert located(settings())["features"]["folder"] == "models"
    (here / "models").mkdir()
    absolute = located(settings())["features"]["folder"]
    assert absolute == str(here / "models")
    assert signature(settings(folder=absolute), "data") == signature(settings(), "data")


class Sum(Encoder):
    """Embeds a window by its sum, and records whether TF32 is on."""

    sample_rate, columns, settings = RATE, ["sum"], {}

    def __init__(self) -> None:
        super().__init__()
        self.tf32: set[tuple[bool, bool]] = set()

    def windows(self, waveform: torch.Tensor) -> torch.Tensor:
        return waveform[None]

    def embed(self, windows: torch.Tensor) -> torch.Tensor:
        self.tf32.add(tf32())
        return windows.float().sum(1, keepdim=True)


def tf32() -> tuple[bool, bool]:
    """Whether a CUDA GPU may use TF32 in matrix multiplications and in convolutions."""
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.fixture
def half_precision_run() -> Iterator[None]:
    """The settings of a run that trains in half precision on a GPU."""
    before = tf32()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize(("precision", "used"), [("32-true", (False, False)), ("bf16-mixed", (True, True))])
@pytest.mark.usefixtures("half_precision_run")
def test_embeddings_under_32_true_use_no_tf32(here, precision, used):
    """Whatever the run has set, which is restored."""
    source = GenreFolders(
        str(library(here / "music")), {"protocol": "random"}, store=str(here / "cache"), sample_rate=RATE
    )
    encoder = Sum()
    data = FeatureData(source, {"features": EncoderPart(lambda: encoder, [], torch.device("cpu"), precision)})
    data.setup()
    assert encoder.tf32 == {used}
    assert data.x.shape == (18, 1)
    assert tf32() == (True, True)


class Narrow(Sum):
    """Runs out of memory with more than two windows."""

    def embed(self, windows: torch.Tensor) -> torch.Tensor:
        if len(windows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().embed(windows)


def test_windows_that_do_not_fit_in_memory_are_embedded_in_smaller_parts(here):
    root, tables = str(library(here / "music")), []
    for encoder in (Sum(), Narrow()):
        cache = str(here / type(encoder).__name__)
        source = GenreFolders(root, {"protocol": "random"}, store=cache, sample_rate=RATE)
        part = EncoderPart(lambda encoder=encoder: encoder, [], torch.device("cpu"))
        data = FeatureData(source, {"features": part})
        data.setup()
        tables.append(data.x)
    assert part.micro_batches.size == 2  # of 8
    assert np.array_equal(*tables)


OWN_ENCODER = """
import torch
from musicreclass.models.encoder import Encoder
from own_scale_7 import scaled

class Sum(Encoder):
    sample_rate, columns, settings = RATE, ["sum"], {}

    def windows(self, waveform):
        return waveform[None]

    def embed(self, windows):
        return scaled(windows.float().abs().sum(1, keepdim=True))
"""


def test_edited_code_of_an_encoder_computes_other_vectors(here, monkeypatch):
    """Also that of a helper; the stored vectors of the old code are not used."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # Python compares sizes and whole seconds
    (here / "own_encoder_7.py").write_text(OWN_ENCODER.replace("RATE", str(RATE)))
    (here / "mine" / "features").mkdir(parents=True)
    yaml = f"_target_: own_encoder_7.Sum\nsample_rate: {RATE}\nprecision: 32-true\ncache: none\nbatch_size: 4\n"
    (here / "mine" / "features" / "own.yaml").write_text(yaml)
    root = library(here / "music")
    vectors, fingerprints = [], []
    for factor in (1, 3, 1):
        (here / "own_scale_7.py").write_text(f"def scaled(x):\n    return {factor} * x\n")
        for module in ("own_encoder_7", "own_scale_7"):  # as in a new process
            sys.modules.pop(module, None)
        read_module.cache_clear()
        invalidate_caches()
        overrides = ["data=folder", f"data.root={root}", "features=own", "model=logreg", "paths.cache=cache"]
        settings = train_settings(overrides, "mine")
        data = open_data(settings, use_machine(settings)[1])
        assert isinstance(data, FeatureData)
        vectors.append(data.x)
        fingerprints.append(data.encoder_fingerprint)
    assert np.allclose(vectors[1], 3 * vectors[0])
    assert np.array_equal(vectors[2], vectors[0])
    assert fingerprints[0] == fingerprints[2] != fingerprints[1]
