"""Runs under readable names in TensorBoard."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from musicreclass.tasks.tensorboard import Links
from tests.made_runs import made_run
from tests.report.test_history import fetch, free_port, wait_for


def linked(folder):
    return {link.name: link.resolve().parent.name for link in folder.iterdir()}


def made(outputs, name, **settings):
    (made_run(outputs, name, **settings) / "tensorboard").mkdir()


def test_names_tell_data_model_seed_and_what_differs(here):
    made(here / "o", "a", lr=0.01, seed=1)
    made(here / "o", "b", lr=0.002, seed=1)
    made(here / "o", "c", model="logreg", seed=2)
    made_run(here / "o", "without-events", model="logreg", seed=3)
    (here / "links").mkdir()
    links = Links(here / "links", [here / "o"])
    links.refresh()
    assert linked(here / "links") == {"table mlp s1 lr=0.01": "a", "table mlp s1 lr=0.002": "b", "table logreg s2": "c"}

    made(here / "o", "d", model="logreg", seed=2, settings={"C": "a/b"})
    links.refresh()
    found = linked(here / "links")
    assert found["table logreg s2"] == "c"  # as it was first called
    assert found["table logreg s2 C=a_b"] == "d"


def test_runs_that_cannot_be_read_or_read_alike_are_shown_all_the_same(here):
    made(here / "o", "a-111111")
    shutil.copytree(here / "o" / "a-111111", here / "o" / "a-222222")
    made(here / "o", "broken")
    (here / "o" / "broken" / "config.yaml").write_text("[")
    (here / "links").mkdir()
    Links(here / "links", [here / "o"]).refresh()
    found = linked(here / "links")
    assert sorted(found.values()) == ["a-111111", "a-222222", "broken"]
    assert found["broken"] == "broken"


def test_no_runs_is_one_line(here):
    (here / "o").mkdir()
    told = subprocess.run(
        [sys.executable, "-m", "musicreclass", "tensorboard", "o"], capture_output=True, text=True, check=False
    )
    assert told.returncode == 2
    assert told.stderr == "musicreclass: no runs with event files under o; train one first\n"


def test_it_answers_and_leaves_nothing_behind(here):
    (here / "scratch").mkdir()
    made(here / "o", "a", lr=0.01)
    words = [sys.executable, "-m", "musicreclass", "tensorboard", "o", "--port", str(free_port())]
    board = subprocess.Popen(words, env={**os.environ, "TMPDIR": str(here / "scratch")}, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: fetch(f"http://localhost:{words[-1]}/data/environment"))
        (place,) = (here / "scratch").glob("musicreclass-board-*")
        assert linked(place) == {"table mlp s0": "a"}
    finally:
        board.terminate()
        assert board.wait(30) == 0
    assert not list((here / "scratch").glob("musicreclass-board-*"))
    with pytest.raises(OSError):
        fetch(f"http://localhost:{words[-1]}/data/environment")
