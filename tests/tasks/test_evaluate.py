"""Scoring a finished run on another split, or on other data with the same classes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

import musicreclass as mrc
from musicreclass.config.grammar import in_grammar
from musicreclass.errors import RunError
from musicreclass.runs.folder import Run
from musicreclass.tasks import evaluate
from musicreclass.tasks.settings_to_score import with_other_data
from tests.conftest import make_frame, only_run, table_overrides


@pytest.fixture
def finished(finished_run) -> Run:
    return finished_run("logreg")


def test_a_split_is_scored_into_the_run(run, finished):
    assert "test" not in finished.metrics
    result = run("evaluate", str(finished.folder), "--split", "test")
    assert result.code == 0, result.err
    assert finished.metrics["test"]["n"] == 18
    assert (finished.folder / "figures" / "confusion_matrix_test.png").exists()
    assert len(finished.predictions("test")) == 18
    again = run("evaluate", str(finished.folder))
    assert (again.code, finished.metrics["test"]["n"]) == (0, 18)
    assert "test" in again.out.splitlines()[0]


def test_a_run_that_another_process_took_over_is_not_scored(run, finished, monkeypatch):
    subfolder = Run.subfolder

    def taken_over(self, name):
        (self.folder / ".lock").write_text('{"token": "other"}')
        return subfolder(self, name)

    monkeypatch.setattr(Run, "subfolder", taken_over)
    result = run("evaluate", str(finished.folder), "--split", "test")
    assert result.code == 2
    assert [problem.kind for problem in result.problems] == ["lock_lost"]
    assert "test" not in finished.metrics
    assert not (finished.folder / "predictions" / "test.parquet").exists()


def make_other(n: int, seed: int) -> pd.DataFrame:
    """A table of tracks that no other table has."""
    frame = make_frame(n, seed=seed)
    return frame.assign(track_id="other-" + frame.track_id)


def test_other_data_is_recorded_separately(run, finished, here):
    before = finished.metrics["valid"]
    make_other(30, seed=1).to_csv("other.csv", index=False)
    result = run(
        "evaluate", str(finished.folder), "--split", "all", f"data.path={here}/other.csv", "data.split_column=null"
    )
    assert result.code == 0, result.err
    (name,) = finished.metrics["elsewhere"]
    assert name.startswith("all@")
    assert finished.metrics["elsewhere"][name]["n"] == 30
    assert finished.metrics["elsewhere"][name]["protocol"]["leaky"] == "unknown"
    assert finished.metrics["valid"] == before
    choices = finished.metrics["elsewhere"][name]["choices"]
    assert choices == {**finished.config["choices"], "data": "table"}  # the model is the run's, not a stand-in
    assert len(pd.read_parquet(finished.folder / "predictions" / f"{name}.parquet")) == 30


@pytest.mark.parametrize("n", [1, 12])
def test_data_with_one_label_is_no_test(run, finished, here, n):
    """As in a table that labels one's own files with any class, to get their probabilities."""
    before = finished.metrics
    log = (here / "outputs" / "scores.jsonl").read_text()
    make_other(30, seed=1).head(n).assign(label="jazz").to_csv("mine.csv", index=False)
    arguments = ("--split", "all", f"data.path={here}/mine.csv", "data.split_column=null")
    result = run("evaluate", str(finished.folder), *arguments)
    assert result.code == 0, result.err
    assert finished.metrics == before
    assert (here / "outputs" / "scores.jsonl").read_text() == log
    (file,) = (finished.folder / "predictions").glob("all@*.parquet")
    assert str(file.relative_to(here)) in result.out or str(file) in result.out
    assert len(pd.read_parquet(file)) == n
    assert mrc.evaluate(finished.folder, "all", arguments[2:]) == {}


def test_choices_of_other_data_are_those_of_its_overrides(finished):
    config = with_other_data(finished.config, ["data=demo", "data/split=random"], None)
    assert config["choices"] == {**finished.config["choices"], "data": "demo", "data/split": "random"}
    for name in ("model", "seed", "trainer", "hardware", "paths"):
        assert config[name] == finished.config[name]


TEXTS = [
    "\t",
    "a\\b",
    "a\nb",
    "${oc.env:HOME}",
    "\\${oc.env:HOME}",
    '"',
    "'",
    "\\",
    'a\\"b',
    "a,b",
    "null",
    "1",
    " x ",
    "$",
    "é",
    "[x]",
]


@pytest.mark.parametrize("text", TEXTS)
def test_settings_of_the_run_are_not_interpreted(finished, text):
    """The run may be another person's: an interpolation in its configuration is text."""
    data = {**finished.config["data"], "label_column": text, "ignore_columns": [text, "other"]}
    config = with_other_data({**finished.config, "data": data}, ["data.split_column=null"], None)
    assert config["data"] == {**data, "split_column": None}


@pytest.mark.parametrize(("section", "name", "value"), [
    ("data", "root=${oc.env:HOME}", "x"),
    ("data", "a b", "x"),
    ("choices", "data", "${oc.env:HOME}"),
    ("choices", "data/split", "column,random"),
])  # fmt: skip
def test_names_of_the_run_are_not_interpreted(finished, section, name, value):
    config = {**finished.config, section: {**finished.config[section], name: value}}
    with pytest.raises(RunError) as caught:
        with_other_data(config, ["data.split_column=null"], None)
    assert caught.value.kind == "unusable_config"
    assert name in caught.value.key


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text(alphabet="\\${}\"'a\n\t,=:[ é"),
        lambda values: (
            st.lists(values, max_size=3) | st.dictionaries(st.text("ab =,:", min_size=1), values, max_size=3)
        ),
        max_leaves=5,
    )
)
def test_values_in_hydras_grammar_are_read_again(value):
    (override,) = OverridesParser.create().parse_overrides([f"key={in_grammar(value)}"])
    config = OmegaConf.create({"key": override.value()})
    assert OmegaConf.to_container(config, resolve=True) == {"key": value}


@pytest.mark.parametrize("model", ["mlp", "logreg"])
def test_evaluation_uses_the_machine_as_the_profile_says(run, finished_run, here, model, monkeypatch):
    """Also for a model over a table; devices that this machine lacks are not needed to score."""
    path = finished_run(model).folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["hardware"].update(threads=1, accelerator="cuda", devices=4, strategy="ddp", pin_memory=True)
    config["trainer"]["precision"] = "16-mixed"
    path.write_text(yaml.safe_dump(config))
    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    result = run("evaluate", str(only_run(here)))
    assert (result.code, result.err) == (0, "")
    assert threads == [1]


def test_all_tracks_of_the_training_table(run, finished):
    before = finished.metrics
    result = run("evaluate", str(finished.folder), "--split", "all")
    assert result.code == 0, result.err
    (name,) = finished.metrics["elsewhere"]
    record = finished.metrics["elsewhere"][name]
    assert (record["n"], record["protocol"]["leaky"]) == (90, "yes")
    assert record["protocol"]["why"] == ["the run's own training tracks are among them"]
    assert {key: value for key, value in finished.metrics.items() if key != "elsewhere"} == before


@pytest.mark.parametrize(("artists", "leaky", "reason"), [
    ("other-{}", "no", None),
    ("jazz-{}", "yes", "2 of the 10 artists in test are also in train (6 of 30 test tracks)"),
])  # fmt: skip
def test_artists_that_other_data_shares_with_training_are_counted(run, artists_run, artists, leaky, reason):
    tracks = pd.read_parquet(artists_run / "tracks.parquet")
    trained = sorted(set(tracks.group[tracks.split == "train"]))
    other = make_other(30, seed=5)
    other["artist"] = [
        trained[i % 10] if leaky == "yes" and i % 10 < 2 else artists.format(100 + i % 10) for i in range(30)
    ]
    (protocol,) = scored_elsewhere(run, artists_run, other)
    assert protocol["leaky"] == leaky
    assert reason is None or reason in protocol["why"]


@pytest.mark.parametrize("typed", ["features.csv", '"~/features.csv"'])
def test_a_run_is_scored_from_any_working_directory(run, table, here, monkeypatch, typed):
    monkeypatch.setenv("HOME", str(here))
    assert run("train", *table_overrides(typed), "model=logreg").code == 0
    finished = Run.open(only_run(here))
    assert finished.config["data"]["path"] == str(table)
    assert run("train", *table_overrides(table), "model=logreg").code == 0
    assert only_run(here) == finished.folder  # no path is part of the signature
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    result = run("evaluate", str(finished.folder))
    assert result.code == 0, result.err
    assert finished.metrics["test"]["n"] == 18


def test_code_named_by_a_run_folder_is_not_executed(run, finished, here):
    """Neither is the named function called, nor the named module imported."""
    (here / "foreign_tracks.py").write_text("from pathlib import Path\n\nPath('owned').touch()\n")
    path = finished.folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    for target, module in {"os.system": "os", "foreign_tracks.Tracks": "foreign_tracks"}.items():
        path.write_text(yaml.safe_dump({**config, "data": {"_target_": target, "command": "touch owned"}}))
        result = run("evaluate", str(finished.folder))
        assert result.code == 2
        assert len(result.lines) == 1, result.err
        (problem,) = result.problems
        assert (problem.kind, problem.key, problem.value) == ("untrusted_module", "data._target_", target)
        assert problem.suggestion == module
    assert not (here / "owned").exists()


GTZAN = {"_target_": "musicreclass.data.sources.gtzan.GTZANFeatures", "root": ".", "split": {"protocol": "random"}}
DAMAGE = {
    "no data": lambda c: c.pop("data"),
    "no seed": lambda c: c.pop("seed"),
    "no choices": lambda c: c.pop("choices"),
    "data is a number": lambda c: c.update(data=3),
    "model is a list": lambda c: c.update(model=[]),
    "no target": lambda c: c["data"].pop("_target_"),
    "target is a number": lambda c: c["data"].update(_target_=3),
    "target is no class": lambda c: c["data"].update(_target_="musicreclass.data.sources.table_file.read_frame"),
    "target is abstract": lambda c: c["data"].update(_target_="musicreclass.data.table_source.TableSource"),
    "no path": lambda c: c["data"].pop("path"),
    "path is a number": lambda c: c["data"].update(path=3),
    "split is a number": lambda c: c["data"].update(split=3),
    "an unknown key": lambda c: c["data"].update(pth="x.csv"),
    "a key is a number": lambda c: c["data"].update({3: 3}),
    "limit is text": lambda c: c["data"].update(min_class_tracks="few"),
    "no such table": lambda c: c.update(data={**GTZAN, "seconds": 7}),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_configuration_is_reported_in_one_line(name, run, finished):
    path = finished.folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    DAMAGE[name](config)
    path.write_text(yaml.safe_dump(config))
    result = run("evaluate", str(finished.folder))
    assert result.code == 2
    assert len(result.lines) == 1, result.err
    assert result.lines[0].startswith(f"{path}: ")


@pytest.mark.parametrize("text", ["", "3", "data: [", "[" * 5000, "\udcff"])
def test_an_invalid_config_file_is_reported_in_one_line(text, run, finished):
    (finished.folder / "config.yaml").write_bytes(text.encode(errors="surrogateescape"))
    for arguments in ([], ["data.path=features.csv"]):
        result = run("evaluate", str(finished.folder), *arguments)
        assert result.code == 2
        assert len(result.lines) == 1, result.err
        assert result.lines[0].startswith(f"{finished.folder}/config.yaml: ")


def test_invalid_arguments(run, finished, here):
    folder = str(finished.folder)
    frame = make_frame(30)
    frame.loc[0, "label"] = "polka"
    frame.to_csv("polka.csv", index=False)
    make_frame(30, features=5).to_csv("narrow.csv", index=False)
    all_of = (folder, "--split", "all", "data.split_column=null")
    cases: dict[tuple[str, ...], tuple[str, str, Any]] = {
        ("nowhere",): ("missing_folder", "nowhere", None),
        (folder, "model=mlp"): ("not_data", "model", None),
        (folder, "data.pth=x"): ("unknown_key", "data.pth", None),
        (*all_of, f"data.path={here}/polka.csv"): ("unknown_classes", "data", ["polka"]),
        (*all_of, f"data.path={here}/narrow.csv"): ("other_features", "data", ["f5"]),
        (folder, "--split", "all", "data.path=gone.csv"): ("file_not_found", "data.path", "gone.csv"),
        (folder, "data=demo_audio"): ("input_mismatch", "data", "table"),
    }
    for arguments, expected in cases.items():
        result = run("evaluate", *arguments)
        assert (result.code, len(result.lines)) == (2, 1)
        (problem,) = result.problems
        assert (problem.kind, problem.key, problem.value) == expected
    assert "elsewhere" not in finished.metrics


def test_arguments_that_are_missing_are_named(run):
    for task, required, optional in (("evaluate", "RUN", "OVERRIDE"), ("compare", "RUN_OR_DIR", "FILE")):
        result = run(task)
        assert (result.code, [(p.kind, p.key) for p in result.problems]) == (2, [("invalid_arguments", task)])
        assert required in result.lines[0]
        assert optional not in result.lines[0]


@pytest.mark.slow
def test_a_run_is_locked_while_it_is_scored(run, finished, table, here):
    """Several commands score several splits at once, and no score is lost; a run that is trained again is not scored."""
    code = (
        "import os, sys, musicreclass.tasks.evaluate, musicreclass.classifiers.factory\n"
        "from musicreclass.cli import main as cli\n"
        "children = []\n"
        "for split in ('test', 'train', 'all'):\n"
        "    children.append(os.fork())\n"
        "    if not children[-1]: os._exit(cli.main(['evaluate', sys.argv[1], '--split', split]))\n"
        "sys.exit(any(os.waitpid(child, 0)[1] for child in children))"
    )
    assert subprocess.run([sys.executable, "-c", code, finished.folder], cwd=here, check=False).returncode == 0
    metrics = finished.metrics
    assert {"train", "valid", "test"} <= metrics.keys()
    assert len(metrics["elsewhere"]) == 1


def test_a_run_that_changes_while_it_is_scored_is_not_written(run, finished, monkeypatch):
    opened = evaluate.open_to_score

    def open_slowly(*arguments: Any) -> Any:
        finished.write_identity(replace(finished.identity, code="newer"))  # as another process would
        return opened(*arguments)

    monkeypatch.setattr(evaluate, "open_to_score", open_slowly)
    before = finished.metrics
    result = run("evaluate", str(finished.folder))
    assert (result.code, [problem.kind for problem in result.problems]) == (2, ["run_changed"])
    assert finished.metrics == before


@pytest.mark.parametrize("name", ["predictions", "figures"])
def test_nothing_is_written_through_links(run, finished, here, name):
    shutil.rmtree(finished.folder / name)
    (here / "elsewhere").mkdir()
    (finished.folder / name).symlink_to(here / "elsewhere")
    result = run("evaluate", str(finished.folder))
    assert (result.code, [problem.kind for problem in result.problems]) == (2, ["link_in_run"])
    assert list((here / "elsewhere").iterdir()) == []


def test_a_run_does_not_choose_where_results_are_stored(run, clip_run, here):
    """A run folder of another person may name any folder as its cache."""
    config = yaml.safe_load((here / "r" / "config.yaml").read_text())
    config["paths"]["cache"] = config["data"]["store"] = str(here / "foreign")
    (here / "r" / "config.yaml").write_text(yaml.safe_dump(config))
    assert run("evaluate", "r", "--split", "train").code == 0
    assert not (here / "foreign").exists()
    assert run("evaluate", "r", f"paths.cache={here}/mine").code == 0
    assert (here / "mine").is_dir()


@pytest.mark.slow
def test_leaks_of_other_data_are_those_of_the_scored_split(run, here):
    """The training tracks of the other data are not scored, so they do not leak."""
    frame = make_frame(90, groups=9)
    frame["split"] = np.array(["train", "valid", "test"])[frame.artist.str[-1].astype(int) // 3]
    frame.to_csv("a.csv", index=False)
    arguments = ["data=table", "data.path=a.csv", "data.split_column=split", "data.group_column=artist"]
    assert run("train", *arguments, "model=logreg", "run_dir=r").code == 0
    frame.loc[0, "f0"] += 1  # other data
    frame.to_csv("b.csv", index=False)
    for split, leaky in (("test", "no"), ("train", "yes"), ("all", "yes")):
        result = run("evaluate", "r", "--split", split, "data.path=b.csv")
        assert result.code == 0, result.err
        (record,) = [r for name, r in Run.open(here / "r").metrics["elsewhere"].items() if name.startswith(split)]
        assert record["protocol"]["leaky"] == leaky, split


def train_on(frame: pd.DataFrame, folder: Path) -> Path:
    """A run in `folder` over a table with artists."""
    frame.to_csv(folder / "a.csv", index=False)
    data = ["data=table", f"data.path={folder}/a.csv", "data.group_column=artist"]
    return mrc.train([*data, "model=logreg", f"run_dir={folder}/r", f"paths.outputs={folder}/outputs"]).folder


@pytest.fixture(scope="module")
def shared_artists_run(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_on(make_frame(90, groups=9), tmp_path_factory.mktemp("artists"))


@pytest.fixture
def artists_run(shared_artists_run: Path, here: Path) -> Path:
    """A copy of the run over `make_frame(90, groups=9)`."""
    shutil.copytree(shared_artists_run.parent, here, dirs_exist_ok=True)
    config = here / "r" / "config.yaml"
    config.write_text(config.read_text().replace(str(shared_artists_run.parent), str(here)))
    return here / "r"


def scored_elsewhere(run, folder: Path, *others: pd.DataFrame) -> list[dict]:
    """The protocol of scoring each of several tables with the model of a run, in their order."""
    protocols: dict[str, dict] = {}
    for i, other in enumerate(others):
        other.to_csv(f"b{i}.csv", index=False)
        result = run("evaluate", str(folder), "--split", "all", f"data.path=b{i}.csv")
        assert result.code == 0, result.err
        records = Run.open(folder).metrics["elsewhere"]
        protocols |= {name: record["protocol"] for name, record in records.items() if name not in protocols}
        assert len(protocols) == i + 1
    return list(protocols.values())


NOISE = {
    "none": lambda x, rng: x,
    "relative": lambda x, rng: x * (1 + 0.01 * rng.standard_normal(x.shape)),
    "absolute": lambda x, rng: x + 1e-4 * rng.standard_normal(x.shape),
    "rounded": lambda x, rng: x.round(4),
}


@pytest.mark.parametrize("artists", [None, pytest.param("other-{}", marks=pytest.mark.slow)])
def test_renamed_and_noisy_copies_of_training_tracks_are_a_leak(run, here, artists):
    frame = make_frame(120, features=12, groups=10)
    other = frame.assign(track_id="other-" + frame.track_id)
    other["artist"] = None if artists is None else [artists.format(name) for name in other.artist]
    features = [name for name in frame if name.startswith("f")]
    rng = np.random.default_rng
    copies = [other.assign(**NOISE[noise](other[features], rng(0))) for noise in NOISE]
    for protocol in scored_elsewhere(run, train_on(frame, here), *copies):
        assert protocol["leaky"] == "yes"
        assert any("other-t" in line for line in protocol["why"])


def test_equal_ids_are_a_leak(run, artists_run):
    frame = make_frame(90, groups=9)
    other = make_frame(30, seed=3).assign(artist=[f"someone-{i}" for i in range(30)])
    other["track_id"] = [frame.track_id[i] if i < 20 else f"u{i}" for i in range(30)]
    (protocol,) = scored_elsewhere(run, artists_run, other)
    assert protocol["leaky"] == "yes"
    (line,) = [line for line in protocol["why"] if "ids" in line]
    assert line.split()[2] == "30"


def test_artists_of_another_vocabulary_are_unknown(run, artists_run):
    expected = {"{}": "unknown", "band-{}": "no", "": "unknown"}
    others = [
        make_other(30, seed=3).assign(artist=[name.format(1000 + i // 3) for i in range(30)]) for name in expected
    ]
    leaks = [protocol["leaky"] for protocol in scored_elsewhere(run, artists_run, *others)]
    assert leaks == list(expected.values())


def test_artists_of_other_data_are_compared_in_their_normal_form(run, here):
    frame = make_frame(90, groups=9)
    frame["artist"] = "The " + frame.artist
    other = make_other(30, seed=3).assign(artist=[f"{frame.artist[i][4:].upper()} feat. X" for i in range(30)])
    assert scored_elsewhere(run, train_on(frame, here), other)[0]["leaky"] == "yes"
