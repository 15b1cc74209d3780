"""`musicreclass` without arguments names commands that fit the folder."""

from __future__ import annotations

import json

import pytest

from tests.conftest import make_frame


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
