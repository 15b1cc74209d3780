"""Names cannot change what a terminal shows."""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from musicreclass.cli.terminal import say, show
from musicreclass.runs.folder import Run
from tests.conftest import table_overrides

ESCAPE = "\x1b[2J\x1b]0;title\x07"


@pytest.mark.slow
def test_control_characters_of_names_are_not_printed(run, table, library, here):
    (library / f"punk{ESCAPE}").mkdir()
    shutil.move(library / "rock", library / f"rock{ESCAPE}")
    (library / "jazz" / f"bad{ESCAPE}.wav").write_text("not audio")
    frame = pd.read_csv(table)
    frame["label"] += ESCAPE
    frame.rename(columns={"f0": f"f0{ESCAPE}"}).to_csv("names.csv", index=False)
    names = [argument.replace(str(table), "names.csv") for argument in table_overrides(table)]
    audio = ["data=folder", f"data.root={library}"]
    commands: list[list[str]] = [
        ["prepare", *audio, "data.max_bad_fraction=0.5"],
        ["train", *names, "model=logreg", "run_dir=r"],
        ["train", *names, "model=logreg", "run_dir=r"],
        ["train", "-m", *names, "model=logreg", "seed=0,1"],
        ["evaluate", "r"],
        ["inspect", "r"],
        ["compare", "r", "outputs"],
        ["train", "data=folder", f"data.root=nowhere{ESCAPE}"],
        ["train", *names, f"model={ESCAPE}"],
        ["evaluate", f"nowhere{ESCAPE}"],
        ["compare", f"nowhere{ESCAPE}"],
    ]
    for command in commands:
        result = run(*command)
        assert result.code in (0, 2), result.err
        for text in (result.out, result.err):
            assert text.replace("\n", "").isprintable(), (command, text)


@given(st.text(max_size=30))
def test_any_text_is_printed_without_control_characters(text):
    table = Table("name", box=None)
    table.add_row(text.replace("[", "("))  # brackets are rich's markup
    for put in (lambda: say(text), lambda: show(table)):
        with contextlib.redirect_stdout(io.StringIO()) as output:
            put()
        assert output.getvalue().replace("\n", "").isprintable()


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program = f"{sys.executable} -m musicreclass"
    script = f"set -o pipefail; {command.replace('musicreclass', program, 1)}"
    return subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_closed_pipe_does_not_end_a_task(table, here):
    arguments = " ".join([*table_overrides(table), "model=logreg", "run_dir=r"])
    result = shell(f"musicreclass train {arguments} | head -0", here)
    assert (result.returncode, result.stderr) == (0, "")
    assert Run.open(here / "r").state == "done"


@pytest.mark.slow
def test_closed_streams_are_no_error(table, here):
    arguments = " ".join([*table_overrides(table), "model=logreg", "run_dir=r"])
    assert shell(f"musicreclass train {arguments} >&-", here).returncode == 0
    assert shell("musicreclass compare r >&- 2>&-", here).returncode == 0


@pytest.mark.parametrize("command", ["train", "--help"])
def test_output_that_cannot_be_written_is_one_line(command, finished_run, table, here):
    finished_run("logreg", "r")  # found quickly by the process
    arguments = " ".join(
        [command, *table_overrides(table), "model=logreg", "run_dir=r"] if command == "train" else [command]
    )
    result = shell(f"musicreclass {arguments} >/dev/full", here)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert command != "train" or Run.open(here / "r").state == "done"


@pytest.mark.parametrize("task", ["train", "predict", "organize", "cache"])
def test_help_that_cannot_be_printed_is_one_line(task, here):
    result = shell(f"musicreclass {task} --help >/dev/full", here)
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)
    assert shell(f"musicreclass {task} --help", here).returncode == 0
