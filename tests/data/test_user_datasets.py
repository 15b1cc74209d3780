"""Datasets that users write: the examples of docs/datasets.md run, and mistakes are reported."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from musicreclass.data.recording_files import Recordings
from musicreclass.data.recordings import AudioData
from musicreclass.data.sources.folder import GenreFolders
from musicreclass.data.table_source import FeatureTable, TableSource
from musicreclass.data.tracks import make_tracks
from musicreclass.errors import DataError
from musicreclass.runs.folder import Run
from tests.conftest import only_run
from tests.library import SMALL, TONES, write_tone

PAGE = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
FAST = [
    "model.channels=4",
    "model.hidden=8",
    "trainer.max_epochs=1",
    "data.clip_seconds=1",
    "logger=none",
    "hardware=cpu",
]
SPLIT = {"protocol": "auto"}


def write_documented_files(folder: Path) -> None:
    """Write every code block of docs/datasets.md that follows the name of its file."""
    blocks = list(re.finditer(r"```(?:python|yaml)\n(.*?)```", PAGE, re.DOTALL))
    assert len(blocks) == 5
    for block in blocks:
        path = folder / re.findall(r"`([\w/]+\.(?:py|yaml))`", PAGE[: block.start()])[-1]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block[1])


def documented_commands() -> list[list[str]]:
    """The arguments of every command in docs/datasets.md."""
    return [line.split()[1:] for line in PAGE.splitlines() if line.startswith("musicreclass ")]


def moods() -> pd.DataFrame:
    """Labels of 48 tracks in three classes, by 12 artists."""
    i = np.arange(48)
    return pd.DataFrame({"id": i, "mood": np.array([*TONES])[i % 3], "artist": [f"{k % 3}-{k // 3 % 4}" for k in i]})


def write_moods(folder: Path) -> None:
    folder.mkdir()
    moods().to_csv(folder / "tracks.csv", index=False)
    np.save(folder / "features.npy", np.random.default_rng(0).normal(size=(48, 3)) + np.arange(48)[:, None] % 3)


def write_radio(folder: Path) -> None:
    rows = []
    for genre, frequency in TONES.items():
        for i in range(9):
            name = f"{genre} {i}.wav"
            write_tone(folder / "audio" / name, frequency, i)
            rows.append([name, genre, f"{genre} artist {i // 3}", ("train", "valid", "test")[i // 3]])
    pd.DataFrame(rows, columns=["file", "genre", "artist", "part"]).to_csv(folder / "labels.csv", index=False)


def test_the_documented_examples_run(run, here):
    write_documented_files(here)
    write_moods(here / "MOODS")
    write_radio(here / "RADIO")
    table, official, grouped, evaluate = documented_commands()
    assert run(*table).code == 0
    assert Run.open(only_run(here)).metrics["protocol"]["split"] == "grouped"
    for command, protocol in ((official, "radio"), (grouped, "grouped")):
        result = run(*command, *FAST, f"run_dir={protocol}")
        assert result.code == 0, result.err
        assert Run.open(here / protocol).metrics["protocol"]["split"] == protocol
        assert Run.open(here / protocol).metrics["protocol"]["leaky"] == "no"
    evaluate[evaluate.index("RUN")] = "radio"
    result = run(*evaluate)
    assert result.code == 0, result.err
    assert "test" in Run.open(here / "radio").metrics
    assert run(*evaluate[: evaluate.index("--trust")], "data.max_tracks=9").code == 2  # not trusted


def test_an_unknown_split_name_lists_the_available_ones(run, here, monkeypatch):
    monkeypatch.setenv("MUSICRECLASS_CACHE", str(here / "cache"))
    write_documented_files(here)
    write_radio(here / "RADIO")
    official = documented_commands()[1]
    result = run(*official, *FAST, "data.split.protocol=raido")
    assert result.code == 2
    (problem,) = result.problems
    assert (problem.kind, problem.value, problem.suggestion) == ("unknown_protocol", "raido", "radio")
    assert all(name in problem.message for name in ("radio", "grouped", "random"))
    assert not list((here / "cache").rglob("samples.i16"))  # nothing was decoded


FOLDERS = """
import csv
from dataclasses import replace

from musicreclass.data.sources.folder import GenreFolders


class Relabelled(GenreFolders):
    def find(self):
        with open("genres.txt") as file:
            genres = dict(csv.reader(file))
        recordings = super().find()
        return replace(recordings, target=[genres[target] for target in recordings.target])
"""


def test_an_edited_label_is_noticed_although_its_file_is_not_listed(run, here, library, monkeypatch):
    """`files` of the base class does not list genres.txt."""
    from musicreclass.training.module import GenreModule

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    (here / "my_folders.py").write_text(FOLDERS)
    (here / "mine" / "data").mkdir(parents=True)
    defaults = "defaults:\n  - _audio\n  - split: auto\n  - _self_\n"
    (here / "mine" / "data" / "relabelled.yaml").write_text(
        f"{defaults}_target_: my_folders.Relabelled\nprovides: [waveform]\nroot: lib\n"
    )
    command = ["train", "--config-dir", "mine", "data=relabelled", *SMALL, "trainer.max_epochs=1"]
    genres = "blues,{}\njazz,b\nrock,c\n"
    (here / "genres.txt").write_text(genres.format("a"))
    assert run(*command).code == 0
    monkeypatch.setattr(GenreModule, "training_step", interrupt)
    assert run(*command).code == 0  # the finished run is found
    assert len(list((here / "outputs").glob("*/status.json"))) == 1
    (here / "genres.txt").write_text(genres.format("d"))
    assert run(*command).code == 130
    assert len(list((here / "outputs").glob("*/status.json"))) == 2


def recordings(**changes: Any) -> Recordings:
    values = {"paths": [Path("a.wav"), Path("b.wav")], "track_id": ["a", "b"], "target": ["x", "y"]}
    return Recordings(**{**values, **changes})


def table(**changes: Any) -> FeatureTable:
    values = {"track_id": ["a", "b"], "target": ["x", "y"], "x": np.zeros((2, 3)), "columns": ["f0", "f1", "f2"]}
    return FeatureTable(**{**values, **changes})


BAD: dict[str, tuple[Callable[[], Any], str, str, str]] = {  # what makes it, and kind, key and suggestion
    "tracks, artist": (lambda: make_tracks(["a"], ["x"], artist=["p"]), "unknown_column", "artist", "group"),
    "tracks, typing error": (lambda: make_tracks(["a"], ["x"], grp=["p"]), "unknown_column", "grp", "group"),
    "tracks, too short": (lambda: make_tracks(["a", "b"], ["x"]), "wrong_length", "target", ""),
    "tracks, too long": (lambda: make_tracks(["a"], ["x"], duration=[1, 2]), "wrong_length", "duration", ""),
    "tracks, a name": (lambda: make_tracks(["a"], ["x"], group="artist"), "wrong_length", "group", ""),
    "recordings, artist": (lambda: recordings(metadata={"artist": ["p", "q"]}), "unknown_column", "artist", "group"),
    "recordings, path": (lambda: recordings(metadata={"path": ["p", "q"]}), "unknown_column", "path", ""),
    "recordings, ids": (lambda: recordings(track_id=["a"]), "wrong_length", "track_id", ""),
    "recordings, groups": (lambda: recordings(metadata={"group": ["p"]}), "wrong_length", "group", ""),
    "recordings, no path": (lambda: recordings(paths=[Path("a"), None]), "not_a_path", "paths", ""),
    "table, label": (lambda: table(metadata={"label": ["x", "y"]}), "unknown_column", "label", ""),
    "table, typing error": (lambda: table(metadata={"groups": ["p", "q"]}), "unknown_column", "groups", "group"),
    "table, targets": (lambda: table(target=["x", "y", "z"]), "wrong_length", "target", ""),
    "table, groups": (lambda: table(metadata={"group": ["p"]}), "wrong_length", "group", ""),
    "table, ids": (lambda: table(track_id=range(3)), "wrong_length", "track_id", ""),
    "table, columns": (lambda: table(columns=["f0", "f1"]), "wrong_columns", "columns", ""),
    "table, text": (lambda: table(x=[["a", "b", "c"]] * 2), "not_a_matrix", "x", ""),
    "table, ragged": (lambda: table(x=[[1.0, 2.0, 3.0], [1.0]]), "not_a_matrix", "x", ""),
    "table, one row": (lambda: table(x=np.zeros(3)), "not_a_matrix", "x", ""),
}


@pytest.mark.parametrize("name", BAD)
def test_invalid_tracks_recordings_and_tables(name):
    make, kind, key, suggestion = BAD[name]
    with pytest.raises(DataError) as caught:
        make()
    (problem,) = caught.value.problems
    assert (problem.kind, problem.key, problem.suggestion) == (kind, key, suggestion)


def test_lists_and_text_are_converted():
    assert recordings(paths=["a.wav", Path("b.wav")], folders="music").paths == [Path("a.wav"), Path("b.wav")]
    values = [[1, 2.5, None], [1e300, 0, 1]]
    x = table(x=values).x
    assert (x.dtype, x.shape) == (np.float32, (2, 3))
    assert np.isnan(x[0, 2])
    assert np.isinf(x[1, 0])


class Audio(AudioData):
    """Recordings that a test sets."""

    recordings: Recordings

    def find(self) -> Recordings:
        return self.recordings


def audio(here: Path, recordings: Recordings, **options: Any) -> Audio:
    data = Audio(SPLIT, str(here / "cache"), sample_rate=8000, **options)
    data.recordings = recordings
    return data


def test_find_and_read_must_return_something(here):
    class Forgotten(TableSource):
        def read(self):
            table()

    with pytest.raises(DataError) as caught:
        Forgotten(SPLIT).setup()
    assert (caught.value.kind, caught.value.key) == ("wrong_return", "Forgotten.read")
    with pytest.raises(DataError) as caught:
        audio(here, None).setup()
    assert (caught.value.kind, caught.value.key) == ("wrong_return", "Audio.find")


def library_recordings(library: Path) -> Recordings:
    paths = sorted(library.rglob("*.wav"))
    names = [path.relative_to(library) for path in paths]
    groups = [name.parts[1] for name in names]
    return Recordings(paths, [str(name) for name in names], [name.parts[0] for name in names], {"group": groups})


@pytest.mark.parametrize("cache", ["waveform", "none"])
def test_missing_files_are_bad_files(library, here, cache):
    listed = library_recordings(library)
    listed.paths[3].unlink()
    data = audio(here, listed, cache=cache, max_bad_fraction=0.2)
    data.setup()
    assert len(data.tracks) == len(listed.paths) - 1
    assert [n for reason, n in data.dropped.items() if reason.endswith("no such file")] == [1]
    assert any(str(listed.paths[3]) in note for note in data.notes)
    for options, kind in (({"on_bad_file": "error"}, "bad_files"), ({"max_bad_fraction": 0.01}, "too_many_bad_files")):
        with pytest.raises(DataError) as caught:
            audio(here, listed, cache=cache, **options).setup()
        assert caught.value.kind == kind
    write_tone(listed.paths[3], 900, 3)
    complete = audio(here, listed, cache=cache)
    complete.setup()
    assert len(complete.tracks) == len(listed.paths)


def test_recordings_without_a_label_are_left_out(library, here):
    listed = library_recordings(library)
    listed.target[0], listed.target[5] = None, float("nan")
    data = audio(here, listed)
    data.setup()
    assert data.dropped["without a label"] == 2
    assert len(data.tracks) == len(listed.paths) - 2
    assert not set(data.tracks.track_id) & {listed.track_id[0], listed.track_id[5]}


@pytest.mark.parametrize("sources", [None, []])
def test_files_are_listed_only_if_the_sources_are_known(library, here, sources):
    listed = library_recordings(library)
    listed.sources = sources
    data = audio(here, listed)
    data.setup()
    assert data.files() == ([] if sources is None else listed.paths)


@pytest.mark.parametrize(
    ("name", "value"),
    [("labels", "labels.csv"), ("files", []), ("source", "a"), ("size", 3), ("arrays", None), ("split", SPLIT),
     ("tracks", "tracks.csv"), ("provides", "table")],
)  # fmt: skip
def test_names_of_the_base_class_cannot_be_reused(name, value):
    class Table(TableSource):
        def read(self):
            return table()

    def check(act: Callable[[], object], class_name: str) -> None:
        with pytest.raises(DataError) as caught:
            act()
        assert (caught.value.kind, caught.value.key) == ("reserved_name", name)
        assert f"{class_name}.{name}" in str(caught.value)

    check(lambda: setattr(Table(SPLIT), name, value), "Table")
    check(lambda: type("Mine", (Table,), {name: value}), "Mine")


def test_methods_can_be_overridden_and_other_names_used():
    class Table(TableSource):
        label_file = "labels.csv"
        provides = ("table",)

        def read(self):
            return table()

        def files(self):
            return [Path(self.label_file)]

        @staticmethod
        def source():
            return "x"

    data = Table(SPLIT)
    data.artist = "name"
    assert (data.files(), data.source()) == ([Path("labels.csv")], "x")


def test_recordings_need_the_settings_of_recordings(run, here, library):
    for kind in (Audio, GenreFolders):
        with pytest.raises(DataError) as caught:
            kind(split=SPLIT, **({"root": str(library)} if kind is GenreFolders else {}))
        (problem,) = caught.value.problems
        assert (problem.kind, problem.key, problem.suggestion) == ("missing_value", "data.store", "_audio")
    (here / "mine" / "data").mkdir(parents=True)
    (here / "mine" / "data" / "bare.yaml").write_text(
        "defaults:\n  - split: auto\n_target_: musicreclass.data.sources.folder.GenreFolders\nprovides: [waveform]\nroot: lib\n"
    )
    result = run("train", "--config-dir", "mine", "data=bare", "model=cnn_small")
    assert (result.code, [problem.kind for problem in result.problems]) == (2, ["missing_value"])


@pytest.mark.parametrize(
    ("text", "kind", "keys"),
    [
        ("provides: [table]", "missing_value", ["data.split"]),
        ("defaults: [{split: auto}]", "missing_value", ["data.provides"]),
        ("root: x", "missing_value", ["data.provides", "data.split"]),
        ("defaults: [{split: auto}]\nprovides: []", "invalid_value", ["data.provides"]),
        ("defaults: [{split: auto}]\nprovides: table", "invalid_value", ["data.provides"]),
    ],
)
def test_an_incomplete_file_is_rejected(run, here, text, kind, keys):
    (here / "mine" / "data").mkdir(parents=True)
    (here / "mine" / "data" / "moods.yaml").write_text(f"{text}\n_target_: my_moods.Moods\n")
    result = run("train", "--config-dir", "mine", "data=moods", "model=logreg")
    assert result.code == 2
    assert [(problem.kind, problem.key) for problem in result.problems] == [(kind, key) for key in keys]


def test_the_documented_names_are_reserved():
    (names,) = re.findall(r"among them (.*?)\.\s+Setting", PAGE.replace("\n", " "))
    for name in re.findall(r"`(\w+)`", names):
        with pytest.raises(DataError) as caught:
            setattr(Audio(SPLIT, "cache"), name, 1)
        assert caught.value.key == name
