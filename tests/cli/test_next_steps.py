"""`musicreclass` without arguments names commands that fit the folder."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from musicreclass.data.audio.suffixes import SUFFIXES
from musicreclass.features.fma518.columns import COLUMNS
from musicreclass.runs.model_input import labels_recordings
from tests.conftest import make_frame, only_run, with_splits


def commands(out: str) -> list[str]:
    """The commands in the output."""
    return [line.strip() for line in out.splitlines() if line.startswith("  musicreclass ")]


def add_run(folder, state: str) -> None:
    folder.mkdir(parents=True)
    (folder / "status.json").write_text(json.dumps({"state": state}))


def test_an_empty_folder_starts_with_the_demo(run):
    result = run()
    assert result.code == 0
    assert commands(result.out)[0].startswith("musicreclass train -m experiment=demo")
    assert max(map(len, result.out.splitlines())) <= 80


@pytest.mark.parametrize("parent", ["outputs", "."])
def test_runs_are_compared(run, here, parent):
    add_run(here / parent / "a", "done")
    add_run(here / parent / "b", "interrupted")
    result = run()
    assert commands(result.out)[0].startswith(f"musicreclass compare {parent}")
    assert "1 done, 1 interrupted" in result.out
    assert "experiment=demo" not in result.out
    (here / parent / "a" / "status.json").write_text("{")
    assert "compare" not in run().out


def test_the_command_that_uses_a_run_of_a_table_works(run, here, shared_runs):
    """Recordings are labelled only with runs that read them, of which one is named."""
    shutil.copytree(shared_runs("logreg"), here / "outputs")
    table = only_run(here)
    (command,) = (line for line in commands(run().out) if "TABLE" in line or "predict" in line)
    frame = with_splits(make_frame())
    frame.to_csv("other.csv", index=False)
    assert run(*command.replace("TABLE", "other.csv").split()[1:]).code == 0
    assert not labels_recordings(table)
    card = json.loads((table / "model" / "meta.json").read_text())
    for name, changes in {"waveform": {"input": "waveform"}, "fma": {"columns": list(COLUMNS[:3])}}.items():
        other = here / "outputs" / name
        shutil.copytree(table, other)
        (other / "model" / "meta.json").write_text(json.dumps({**card, **changes}))
        assert labels_recordings(other)
        assert any(line.startswith(f"musicreclass predict outputs/{name} ") for line in commands(run().out))
        shutil.rmtree(other)


def test_an_ensemble_labels_recordings_if_all_members_do(here, shared_runs):
    ensemble = here / "e"
    for k in range(2):
        shutil.copytree(next(shared_runs("logreg").glob("*logreg*")), ensemble / "members" / str(k))
    assert not labels_recordings(ensemble)
    for k, expected in enumerate((False, True)):
        path = ensemble / "members" / str(k) / "model" / "meta.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "input": "waveform"}))
        assert labels_recordings(ensemble) == expected


def test_data_is_analyzed(run, here):
    make_frame().to_csv("my features.csv", index=False)
    (here / "gtzan").mkdir()
    for genre in ("blues", "jazz"):
        (here / "music" / genre).mkdir(parents=True)
        (here / "music" / genre / "a.MP3").touch()
    (here / "notes.csv").write_text("a,b\n1,2\n")
    shown = commands(run().out)
    assert [line for line in shown if "analyze" in line] == [
        "musicreclass analyze data=gtzan data.root=gtzan",
        "musicreclass analyze data=table data.path='my features.csv'",
        "musicreclass analyze data=folder data.root=music",
    ]
    assert not any("notes" in line or "demo" in line for line in shown)


@pytest.mark.slow
def test_the_command_for_a_table_runs(run, table):
    shown = [line for line in commands(run().out) if "analyze" in line]
    assert len(shown) == 1
    assert run(*shown[0].split()[1:]).code == 0


def test_labels_are_reviewed_and_own_options_are_listed(run, here):
    (here / "genres.csv").write_text("path,genre,confidence\na.mp3,rock,0.5\n")
    assert run("new", "model", "tiny").code == 0
    shown = commands(run().out)
    assert "musicreclass review genres.csv --output review.html" in shown
    assert "musicreclass train --config-dir my_conf model=tiny" in shown


def test_an_unreadable_folder_is_no_error(run, here):
    (here / "outputs").write_text("no folder")
    (here / "a.csv").write_bytes(b"\xff\xfe\x00label")
    assert run().code == 0


@pytest.mark.parametrize(
    "name", ["a.csv", "outputs/r/status.json", "outputs/r/identity.json", "outputs/r/model/meta.json"]
)
@pytest.mark.parametrize("content", [None, "[" * 100_000, "\xff", ""])
def test_pipes_and_damaged_files_are_no_reason_to_wait_or_fail(run, here, name, content):
    add_run(here / "outputs" / "r", "done")
    (here / name).parent.mkdir(exist_ok=True)
    (here / name).unlink(missing_ok=True)
    if content is None:
        os.mkfifo(here / name)
    else:
        (here / name).write_text(content, encoding="latin-1")
    result = run()
    assert (result.code, result.err) == (0, "")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_library_is_recognised_by_all_suffixes_that_can_be_read(run, here, suffix):
    for genre in ("rock", "jazz"):
        (here / "Music" / genre).mkdir(parents=True)
        (here / "Music" / genre / f"a{suffix.upper()}").touch()
    assert any("data.root=Music" in line for line in commands(run().out))
