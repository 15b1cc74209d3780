"""Labelling files: probabilities equal those of the run's own table, bad files stop nothing, and a kill loses no finished row."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
import yaml

import musicreclass as mrc
from musicreclass.cli import main as cli
from musicreclass.data.audio import decoding
from musicreclass.errors import DataError, RunError, UserError
from musicreclass.features.extractors import Extractor
from musicreclass.models.encoder import Encoder
from musicreclass.tasks.predict import find_recordings
from tests.conftest import wait_until
from tests.failpoints import Failpoint, run_in_fork
from tests.library import SMALL, TONES, write_tone
from tests.sounds import music, write

RATE = 16000
ENCODER = """_target_: tests.tasks.test_predict.Bands
sample_rate: 8000
cache: none
precision: 32-true
batch_size: 4
"""


class Bands(Encoder):
    """The spectrum of each half second in four bands."""

    def __init__(self) -> None:
        super().__init__()
        self.sample_rate, self.columns, self.settings = 8000, ["b0", "b1", "b2", "b3"], {"version": 1}

    def windows(self, waveform: torch.Tensor) -> torch.Tensor:
        return waveform[: len(waveform) // 4000 * 4000].reshape(-1, 4000)

    def embed(self, windows: torch.Tensor) -> torch.Tensor:
        bands = torch.fft.rfft(windows).abs()[:, 1:2001].reshape(len(windows), 4, 500)
        return torch.log1p(bands.mean(2))


class Planted(Extractor):
    """Loudness; ends or blocks the process for recordings that are named so."""

    def __init__(self) -> None:
        self.columns, self.settings = ["mean", "deviation"], {"version": 1}

    def extract(self, path: Path) -> np.ndarray:
        if path.stem == "crash":
            ctypes.string_at(0)
        if path.stem == "hang":
            ctypes.PyDLL(None).sleep(600)  # holds the GIL
        samples, _ = soundfile.read(path)
        return np.array([np.abs(samples).mean(), samples.std()])


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three genres of eight tones of four artists each."""
    folder = tmp_path_factory.mktemp("library")
    for genre, frequency in TONES.items():
        for i in range(8):
            write_tone(folder / genre / f"{genre} artist {i % 4}" / f"{i}.wav", frequency, i, seconds=2.3, rate=RATE)
    return folder


@pytest.fixture(scope="session")
def trained(library: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run of each kind."""
    conf = tmp_path_factory.mktemp("conf")
    (conf / "features").mkdir()
    (conf / "features" / "bands.yaml").write_text(ENCODER)
    (conf / "features" / "planted.yaml").write_text("_target_: tests.tasks.test_predict.Planted\n")
    outputs = tmp_path_factory.mktemp("outputs")
    data = ["data=folder", f'data.root="{library}"', "logger=none"]
    kinds = {
        "features": ["features=fma518", "features.sets=[mfcc,zcr]", "model=logreg"],
        "mlp": ["features=fma518", "features.sets=[mfcc,zcr]", "model=mlp", "trainer.max_epochs=1"],
        "crops": [*SMALL, "data.eval_crops=3"],
        "encoder": ["features=bands", "model=logreg"],
        "joined": ["features=[fma518,bands]", "features.parts.fma518.sets=[zcr]", "model=logreg"],
        "planted": ["features=planted", "model=logreg"],
    }
    runs = {}
    for name, overrides in kinds.items():
        run_dir = outputs / name
        runs[name] = mrc.train([*data, *overrides, f"run_dir={run_dir}"], config_dir=conf).folder
    return runs


KINDS = ("features", "mlp", "crops", "encoder", "joined")
TRUST = ["tests.tasks.test_predict"]


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_equal_those_of_the_run(trained, library, kind):
    expected = mrc.load(trained[kind]).predictions("valid").set_index("track_id")
    paths = [library / track_id for track_id in expected.index]
    labels = mrc.predict(trained[kind], paths, calibrated=False, trust=TRUST)
    names = [name for name in expected.columns if name.startswith("p/")]
    assert labels.path.tolist() == [str(path) for path in paths]
    np.testing.assert_allclose(labels[names], expected[names], atol=1e-5)
    assert labels.duration.tolist() == pytest.approx([2.3] * len(paths), abs=0.01)


def test_runs_are_averaged_and_layers_are_usable_alone(trained, library):
    path = library / "jazz/jazz artist 0/0.wav"
    runs = [trained["features"], trained["crops"]]
    single = [mrc.file_classifier(run, calibrated=False).predict_proba(path) for run in runs]
    both = mrc.file_classifier(runs, calibrated=False)
    np.testing.assert_allclose(both.predict_proba(path), np.mean(single, axis=0), atol=1e-6)
    assert both.classes == ["blues", "jazz", "rock"]
    with pytest.raises(DataError):
        both.predict_proba(library / "none.wav")


def test_calibration_changes_confidences_and_no_label(trained, library):
    raw = mrc.predict(trained["features"], library, calibrated=False)
    calibrated = mrc.predict(trained["features"], library)
    names = ["p/blues", "p/jazz", "p/rock"]
    assert (raw[names].to_numpy().argmax(1) == calibrated[names].to_numpy().argmax(1)).all()
    np.testing.assert_allclose(calibrated[names].sum(axis=1), 1)


@pytest.fixture
def messy(library: Path, tmp_path: Path) -> Path:
    """Good, bad and oddly named files."""
    folder = tmp_path / "messy"
    good = library / "jazz/jazz artist 0/0.wav"
    names = ("周杰伦 - 晴天.wav", " two  spaces .wav", "line\nbreak.wav", "Twin.wav", "twin.wav", "deep/er/song.wav",
             "=1+1.wav", "quote\".wav")  # fmt: skip
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(good, folder / name)
    (folder / "text.mp3").write_text("no music at all\n" * 50)
    (folder / "empty.flac").touch()
    (folder / "cut.wav").write_bytes(good.read_bytes()[:5000])
    write(folder / "short.wav", music(0.3, RATE), RATE)
    os.mkfifo(folder / "pipe.wav")
    (folder / "gone.wav").symlink_to(folder / "nothing")
    (folder / "cover.jpg").write_bytes(b"jpeg")
    (folder / "notes.docx").write_bytes(b"text")
    (folder / ".hidden.wav").write_bytes(b"")
    return folder


@pytest.mark.parametrize("kind", ["features", "crops", "encoder"])
def test_bad_files_get_a_row_and_stop_nothing(run, trained, messy, kind):
    trust = [part for module in TRUST for part in ("--trust", module)]
    before = {path: path.lstat().st_mtime_ns for path in messy.rglob("*")}
    result = run("predict", trained[kind], "--input", messy, "--output", "genres.csv", *trust)
    assert [line for line in result.out.splitlines() if "genres.csv" in line and line.startswith("wrote ")]
    assert result.code == 0, result.err
    table = pd.read_csv("genres.csv", keep_default_na=False).set_index("path")
    bad = {"text.mp3", "empty.flac", "cut.wav", "short.wav", "pipe.wav", "gone.wav"}
    rows = {os.path.relpath(path, messy): row for path, row in table.iterrows()}
    assert len(rows) == 14
    assert {name for name, row in rows.items() if row.error} == bad
    assert all(row.genre == "" and name in row.error for name, row in rows.items() if row.error)
    assert all(row.genre for row in rows.values() if not row.error)
    assert {path: path.lstat().st_mtime_ns for path in messy.rglob("*")} == before
    assert "notes" not in result.out
    assert ".docx" in result.out


@pytest.mark.slow
@pytest.mark.parametrize("workers", [pytest.param("1", marks=pytest.mark.slow), ""])
def test_a_crash_and_a_hang_are_rows_with_an_error(run, trained, messy, workers, monkeypatch):
    if workers:
        monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    for i, name in enumerate(("crash.wav", "hang.wav", "deep/crash.wav")):  # new content, which is not in the store
        write(messy / name, music(2.3, RATE, seed=i), RATE)
    arguments = ("--output", "genres.csv", "--trust", TRUST[0], "--time-limit", "3")
    result = run("predict", trained["planted"], "--input", messy, *arguments)
    assert result.code == 0, result.err
    table = pd.read_csv("genres.csv", keep_default_na=False)
    errors = {os.path.relpath(path, messy): error for path, error in zip(table.path, table.error, strict=True)}
    assert len(errors) == 17
    assert "SIGSEGV" in errors["crash.wav"]
    assert "SIGSEGV" in errors["deep/crash.wav"]
    assert "--time-limit" in errors["hang.wav"]
    assert {name for name, error in errors.items() if not error} == {
        "周杰伦 - 晴天.wav", " two  spaces .wav", "line\nbreak.wav", "Twin.wav", "twin.wav", "deep/er/song.wav", "=1+1.wav",
        "quote\".wav", "short.wav",
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["crops", "encoder", "features"])
def test_a_crashing_decoder_is_the_error_of_its_file(trained, library, kind, monkeypatch):
    crash = library / "jazz/jazz artist 0/0.wav"
    probe = decoding.probe
    monkeypatch.setattr(decoding, "probe", lambda path, *args: os.abort() if path == crash else probe(path, *args))
    table = mrc.predict(trained[kind], [crash, *sorted((library / "rock").rglob("*.wav"))], trust=TRUST)
    assert "SIGABRT" in table.error[0]
    assert (table.error[1:] == "").all()


def test_a_second_call_labels_only_what_is_new_changed_or_was_bad(run, trained, messy):
    arguments = ["predict", trained["features"], "--input", messy, "--output", "genres.jsonl"]
    assert run(*arguments).code == 0
    first = {row["path"]: row for row in map(json.loads, Path("genres.jsonl").read_text().splitlines())}
    write(messy / "new.wav", music(2.5, RATE), RATE)
    write(messy / "twin.wav", music(2.5, RATE, seed=1), RATE)
    write(messy / "short.wav", music(2.5, RATE, seed=2), RATE)
    assert run(*arguments).code == 0
    second = {row["path"]: row for row in map(json.loads, Path("genres.jsonl").read_text().splitlines())}
    changed = {Path(p).name for p in second if second[p] != first.get(p) and not second[p]["error"]}
    assert changed == {"new.wav", "twin.wav", "short.wav"}
    assert len(second) == 15
    assert "rows that were up to date: 9" not in run(*arguments).out  # all good ones have
    assert run(*arguments, "--force").code == 0


def test_the_exit_code_is_1_if_no_file_could_be_used(run, trained, library, here):
    (here / "text.mp3").write_text("no music")
    arguments = ["predict", trained["features"], "--output", "genres.csv", "--input", "text.mp3"]
    for _ in range(2):
        assert run(*arguments).code == 1
    assert run(*arguments, library / "jazz").code == 0


def test_files_may_be_named_one_by_one(run, trained, library):
    song = library / "rock/rock artist 0/0.wav"
    result = run("predict", trained["features"], "--input", song, song, library / "rock", "--output", "genres.parquet")
    assert result.code == 0, result.err
    table = pd.read_parquet("genres.parquet")
    assert len(table) == 8
    np.testing.assert_allclose(table[["p/blues", "p/jazz", "p/rock"]].sum(axis=1), 1)


def test_invalid_arguments_are_one_line(run, trained, here, library):
    features, song = trained["features"], library / "rock"
    (here / "empty").mkdir()
    cases = {
        ("output",): [features, "--input", song, "--output", "genres.txt"],
        ("precision",): [features, "--input", song, "--output", "g.csv", "--precision", "0"],
        ("time_limit",): [features, "--input", song, "--output", "g.csv", "--time-limit", "0"],
        ("top_k",): [features, "--input", song, "--output", "g.csv", "--top-k", "0"],
        (str(here / "none"),): [features, "--input", "none", "--output", "g.csv"],
        (str(here / "empty"),): [features, "--input", "empty", "--output", "g.csv"],
        ("nothing",): ["nothing", "--input", song, "--output", "g.csv"],
    }
    for keys, arguments in cases.items():
        result = run("predict", *arguments)
        assert result.code == 2, arguments
        assert [problem.key for problem in result.problems] == list(keys)
        assert len(result.err.splitlines()) == 1
        assert not Path("g.csv").exists()


@pytest.mark.parametrize(
    ("name", "values"),
    {
        "run": [None, 5, [], "", [None], b"x", "a\0b"],
        "paths": [None, 5, [], "", [None], [["x"]], b"x", "a\0b", iter(())],
        "precision": [0, 1, -1, 2, float("nan"), "0.9", True],
        "top_k": [0, -1, 1.5, "3", True],
        "time_limit": [0, -1, float("nan"), float("inf"), "1"],
    }.items(),
)
def test_wrong_arguments_in_python_are_named(trained, library, name, values):
    for value in values:
        with pytest.raises(UserError) as caught:
            mrc.predict(**{"run": trained["features"], "paths": library, name: value})
        assert (caught.value.kind, caught.value.key) == ("invalid_value", name), value
    for runs in (None, 5, [], [None]):
        with pytest.raises(UserError) as caught:
            mrc.ensemble(runs)
        assert caught.value.key == "runs"


def test_python_and_the_command_line_give_the_same_labels(run, trained, library, here):
    """With a class map of one's own folder, labels that were checked, and more classes listed."""
    (here / "my_conf/class_map").mkdir(parents=True)
    (here / "my_conf/class_map/mine.yaml").write_text("blues: Roots\njazz: Jazz\nrock: Rock\n")
    checked = library / "rock/rock artist 0/0.wav"
    (here / "c.csv").write_text(f"path,genre\n{checked},Polka\n{here}/other.wav,Polka\n")
    arguments = ("--class-map", "mine", "--config-dir", "my_conf", "--uncalibrated", "--top-k", "2")
    result = run(
        "predict", trained["features"], "--input", library, "--output", "g.jsonl", "--corrections", "c.csv", *arguments
    )
    assert result.code == 0, result.err
    rows = {row["path"]: row for row in map(json.loads, (here / "g.jsonl").read_text().splitlines())}
    options = {"class_map": "mine", "config_dir": here / "my_conf", "calibrated": False}
    table = mrc.predict(trained["features"], library, corrections="c.csv", top_k=2, **options)
    assert len(table) == len(rows)
    for row in table.to_dict("records"):
        names = ("genre", "checked", "reason", "top_predictions")
        assert {name: row[name] for name in names} == {name: rows[row["path"]][name] for name in names}
    assert table.set_index("path").genre[str(checked)] == "Polka"
    (label,) = mrc.file_classifier(trained["features"], top_k=1, **options).label([checked])
    assert len(label.top) == 1
    assert label.top[0][0] in ("Roots", "Jazz", "Rock")


@pytest.mark.parametrize("kind", ["features", "crops", "encoder"])
def test_a_recording_that_training_leaves_out_as_too_short_is_not_labelled(trained, library, tmp_path, kind):
    """By the limit of the run's data, also if the store has its features; a recording of exactly this length is labelled."""
    short, enough = tmp_path / "short.wav", tmp_path / "enough.wav"
    for path, seconds in ((short, 2.9999), (enough, 3)):
        write_tone(path, 440, 1, seconds, RATE)
    assert mrc.predict(trained[kind], [short, enough], trust=TRUST).error.tolist() == ["", ""]
    shutil.copytree(trained[kind], tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    content = yaml.safe_load(config.read_text())
    content["data"]["min_seconds"] = 3.0
    config.write_text(yaml.safe_dump(content))
    errors = mrc.predict(tmp_path / "run", [short, enough], trust=TRUST).error
    assert ["too short" in error for error in errors] == [True, False]
    errors = mrc.predict([tmp_path / "run", trained[kind]], [short, enough], trust=TRUST).error
    assert ["too short" in error for error in errors] == [True, False]


@pytest.mark.parametrize(("option", "kind"), [("precision", "no_validation"), ("class_map", "invalid_arguments")])
def test_options_that_do_not_fit_a_tagger_are_rejected(run, here, library, option, kind):
    value = {"precision": 0.9, "class_map": "gtzan_to_fma"}[option]
    for call in (mrc.file_classifier, partial(mrc.predict, paths=library)):
        with pytest.raises(UserError) as caught:
            call("musicnn", **{option: value})
        assert (caught.value.kind, caught.value.key) == (kind, option)
    result = run("predict", "musicnn", "--input", library, "--output", "g.csv", f"--{option.replace('_', '-')}", value)
    assert [(problem.kind, problem.key) for problem in result.problems] == [(kind, option)]


def test_overrides_reach_the_run(trained, library, here):
    song = library / "rock/rock artist 0/0.wav"
    mrc.predict(trained["features"], song, overrides=f"paths.cache={here}/c")
    assert list((here / "c").iterdir())
    for overrides, kind in (("seed=1", "not_data"), ("--trust", "flag_in_python")):
        with pytest.raises(UserError) as caught:
            mrc.file_classifier(trained["features"], overrides=overrides)
        assert caught.value.kind == kind


def test_a_run_must_be_named(run, here, library):
    for arguments in (
        ["predict", "paths.cache=c", "--input", library, "--output", "g.csv"],
        ["evaluate", "data.path=x"],
    ):
        result = run(*arguments)
        assert [(problem.kind, problem.key) for problem in result.problems] == [("missing_value", "run")]


def test_python_takes_iterators_relative_paths_and_any_name(trained, library, here):
    song = library / "rock/rock artist 0/0.wav"
    for name in ("a.wav", b"caf\xe9.wav".decode("utf-8", "surrogateescape")):
        shutil.copy(song, here / name)
    labels = mrc.predict(iter([trained["features"]]), (name for name in (str(here), "a.wav")))
    assert sorted(labels.path) == sorted(str(path) for path in here.iterdir())
    assert labels.error.tolist() == ["", ""]
    (label,) = mrc.file_classifier(trained["features"]).label(["a.wav"])
    assert label.confidence == pytest.approx(labels.confidence[0])
    with pytest.raises(DataError) as caught:
        mrc.predict(trained["features"], "x" * 5000)
    assert caught.value.kind == "file_not_found"


def test_a_run_over_other_columns_says_that_they_cannot_be_computed(run, table, trained, library):
    assert (
        run("train", "data=table", f"data.path={table}", "data.split_column=split", "model=logreg", "run_dir=own").code
        == 0
    )
    result = run("predict", "own", "--input", library, "--output", "g.csv")
    assert (result.code, result.problems[0].kind) == (2, "no_features")
    result = run("predict", "own", trained["crops"], "--input", library, "--output", "g.csv")
    assert result.code == 2


def test_a_run_on_some_of_the_518_columns_labels_recordings(run, library, here):
    """Of several sets, in another order; columns are found by their names."""
    from musicreclass.features.fma518.columns import column_names
    from musicreclass.features.fma518.extraction import extract_file

    paths = sorted(library.rglob("*.wav"))
    sets = ("mfcc", "zcr")
    table = pd.DataFrame([extract_file(path, "fast", sets) for path in paths], columns=list(column_names(sets)))
    names = ["zcr_std_01", "mfcc_mean_20", "mfcc_mean_01", "mfcc_max_03"]
    table = table[names].assign(label=[path.parts[-3] for path in paths], split=["train", "valid", "train", "test"] * 6)
    table.insert(0, "track_id", [str(i) for i in range(len(paths))])
    table.to_csv("some.csv", index=False)
    overrides = ["data=table", "data.path=some.csv", "data.split_column=split", "model=logreg", "run_dir=some"]
    assert run("train", *overrides).code == 0
    labels = mrc.predict("some", paths, calibrated=False)
    assert labels.error.tolist() == [""] * len(paths)
    expected = mrc.load("some").predict_proba(table[names].to_numpy(np.float32))
    np.testing.assert_allclose(labels[["p/blues", "p/jazz", "p/rock"]], expected, atol=1e-5)


def test_a_run_on_several_datasets_labels_recordings(library, here):
    for genre, frequency in TONES.items():
        for i in range(8):
            path = here / "other" / genre / f"{genre} singer {i % 4}" / f"{i}.wav"
            write_tone(path, frequency, 100 + i, seconds=2.3, rate=RATE)
    (here / "mine/data").mkdir(parents=True)
    (here / "mine/data/shelf.yaml").write_text("defaults:\n  - folder\n  - _self_\n")
    roots = {"folder": library, "shelf": here / "other"}
    data = ["data=[folder,shelf]", *(f'data.parts.{name}.root="{root}"' for name, root in roots.items())]
    for name, overrides in {
        "features": ["features=fma518", "features.sets=[zcr]", "model=logreg"],
        "crops": SMALL,
    }.items():
        trained = mrc.train([*data, *overrides, "logger=none", f"run_dir={here / name}"], config_dir=here / "mine")
        expected = trained.predictions("valid")
        parts = [track_id.partition("/") for track_id in expected.track_id]
        assert {name for name, _, _ in parts} == set(roots)
        labels = mrc.predict(trained, [roots[name] / path for name, _, path in parts], calibrated=False)
        names = [column for column in expected if column.startswith("p/")]
        np.testing.assert_allclose(labels[names], expected[names], atol=1e-5)


def test_an_unfinished_run_and_other_classes_are_rejected(trained, library, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(trained["features"], other)
    card = json.loads((other / "model/meta.json").read_text())
    (other / "model/meta.json").write_text(json.dumps({**card, "classes": ["blues", "jazz", "pop"]}))
    sums = (other / "model/SHA256SUMS").read_text().splitlines()
    from musicreclass.storage.store import sha256

    lines = [f"{sha256(other / 'model' / line.split()[1])}  {line.split()[1]}" for line in sums]
    (other / "model/SHA256SUMS").write_text("\n".join(lines) + "\n")
    with pytest.raises(RunError) as caught:
        mrc.predict([trained["crops"], other], library)
    assert caught.value.kind == "other_classes"
    (other / "status.json").write_text('{"state": "interrupted"}')
    with pytest.raises(RunError) as caught:
        mrc.predict(other, library)
    assert caught.value.kind == "unfinished_run"


def test_an_untrusted_encoder_is_not_imported(trained, library):
    with pytest.raises(UserError) as caught:
        mrc.predict(trained["encoder"], library)
    assert caught.value.kind == "untrusted_module"


def test_long_recordings_get_more_crops(trained, tmp_path):
    """A recording of ten times the length is windowed as a whole, and its genre is that of most of it."""
    long = tmp_path / "long.wav"
    write_tone(long, TONES["jazz"], 3, seconds=23, rate=RATE)
    classifier = mrc.file_classifier(trained["crops"], calibrated=False)
    (reader,) = classifier.readers.values()
    crops = reader.read(long, {})
    assert crops.shape == (30, 6000)
    samples, _ = soundfile.read(long, dtype="int16")
    assert np.abs(crops).max() <= np.abs(samples).max() + 100
    (label,) = classifier.label([long])
    assert label.top[0][0] == mrc.predict(trained["crops"], _short(tmp_path), calibrated=False).genre[0]


def _short(folder: Path) -> Path:
    path = folder / "short.wav"
    write_tone(path, TONES["jazz"], 3, seconds=2.3, rate=RATE)
    return path


COMMAND = [sys.executable, "-m", "musicreclass", "predict"]


@pytest.mark.slow
@pytest.mark.parametrize("send", [os.kill, os.killpg])  # a terminal sends Ctrl-C to the whole group
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stopped_process_loses_no_finished_row(trained, here, sent, send):
    songs = here / "songs"
    for i in range(60):
        write_tone(songs / f"{i}.wav", 300 + 30 * i, i, seconds=20, rate=RATE)
    arguments = [*COMMAND, str(trained["features"]), "--input", "songs", "--output", "genres.csv"]
    environment = {**os.environ, "MUSICRECLASS_CACHE": str(here / "cache")}
    process = subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    journal = here / ".genres.csv.rows"
    wait_until(lambda: (journal.exists() and journal.read_bytes().count(b"\n") >= 3) or process.poll() is not None)
    send(process.pid, sent)
    _, err = process.communicate()
    assert process.returncode == (-9 if sent == signal.SIGKILL else 128 + sent), err
    lines = err.splitlines()[2:]  # after a caution, and that it labels
    assert len(lines) == (0 if sent == signal.SIGKILL else 1), err
    done = {json.loads(line)["path"] for line in journal.read_bytes().splitlines()} if journal.exists() else set()
    if sent != signal.SIGKILL:
        done = set(pd.read_csv("genres.csv").path)
        assert not journal.exists()
    assert 3 <= len(done) < 60
    started = time.time()
    result = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True)
    table = pd.read_csv("genres.csv", keep_default_na=False)
    assert sorted(table.path) == sorted(str(here / "songs" / f"{i}.wav") for i in range(60)), started
    assert f"rows that were up to date: {len(done)}" in result.stdout
    assert [path.name for path in here.glob(".genres*")] == []


def test_a_class_map_sums_probabilities(run, trained, library, here):
    (here / "map.yaml").write_text("blues: Roots\njazz: Roots\nrock: null\n")
    result = run("predict", trained["features"], "--input", library, "--output", "g.parquet", "--class-map", "map.yaml")
    assert result.code == 0, result.err
    table = pd.read_parquet("g.parquet")
    names = table.path.map(lambda path: Path(path).parts[-3])
    plain = mrc.predict(trained["features"], library)
    np.testing.assert_allclose(table["p/Roots"], plain["p/blues"] + plain["p/jazz"], atol=1e-6)
    assert set(table.genre) == {"Roots", "unknown"}
    assert (table.genre == "unknown").sum() >= (names == "rock").sum() - 2
    assert (
        run("predict", trained["features"], "--input", library, "--output", "h.csv", "--class-map", "nomap").code == 2
    )


def test_an_ensemble_and_its_copy_label_as_its_members(trained, library, tmp_path):
    """Of a table model and a network over crops; the folder may be moved."""
    runs = [trained["features"], trained["crops"], trained["mlp"]]
    ensemble = mrc.ensemble(runs, "mean", output=tmp_path / "ensemble")
    moved = tmp_path / "moved"
    shutil.copytree(ensemble.folder, moved)
    single = [mrc.predict(run, library, calibrated=False) for run in runs]
    names = ["p/blues", "p/jazz", "p/rock"]
    expected = np.mean([table[names].to_numpy() for table in single], axis=0)
    np.testing.assert_allclose(mrc.predict(moved, library, calibrated=False)[names], expected, atol=1e-6)
    with pytest.raises(RunError):
        mrc.predict([moved, trained["crops"]], library)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill", "full"])
def test_a_failure_at_any_write_is_recovered_from(trained, library, here, how):
    import musicreclass.tasks.predict  # noqa: F401  (imported once, before the forks)

    songs = sorted((library / "jazz").rglob("*.wav"))[:4]
    run = ["predict", str(trained["features"]), f"paths.cache={here}/cache", "--input", *map(str, songs), "--output"]

    def work(output: str, at: int, count: Path | None = None) -> int:
        failpoint = Failpoint(here, at, how)
        sys.addaudithook(failpoint)
        code = cli.main([*run, output])
        if count is not None:
            count.write_text(str(failpoint.count))
        return code

    assert run_in_fork(lambda: work("whole.csv", -1, here / "count"), here / "log") == 0
    expected = pd.read_csv("whole.csv")
    writes = int((here / "count").read_text())
    assert writes > 5
    for at in range(writes):
        output = f"{at}/genres.csv"
        first = run_in_fork(lambda at=at, output=output: work(output, at), here / "log")
        log = (here / "log").read_text()
        assert "Traceback" not in log, log
        assert first in ((0, 9) if how == "kill" else (0, 2)), log
        assert run_in_fork(lambda output=output: work(output, -1), here / "log") == 0, (here / "log").read_text()
        table = pd.read_csv(output)
        columns = ["path", "genre", "confidence", "size", "run"]
        pd.testing.assert_frame_equal(table[columns], expected[columns])
        assert [path.name for path in (here / str(at)).iterdir()] == ["genres.csv"]


def test_links_to_recordings_of_the_input_are_left_out(here):
    """As those that organize has made in the library; links that are named, and those to other files, are taken."""
    for name in ("Music/a.wav", "Music/b.wav", "other.wav"):
        write_tone(here / name, 440, 1)
    (here / "Music/ByGenre/Rock").mkdir(parents=True)
    for target in ("Music/a.wav", "other.wav", "none.wav"):
        (here / "Music/ByGenre/Rock" / Path(target).name).symlink_to(here / target)
    folder = here / "Music/ByGenre/Rock"
    paths, notes = find_recordings([here / "Music"])
    assert paths == [here / "Music/a.wav", here / "Music/b.wav", folder / "none.wav", folder / "other.wav"]
    assert any("1 link " in note for note in notes)
    assert folder / "a.wav" in find_recordings([here / "Music", folder / "a.wav"])[0]
    assert len(find_recordings([folder])[0]) == 3
