"""Runs under readable names in TensorBoard."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from musicreclass.models.weights.musicnn_wheel import PIP
from musicreclass.tasks.tensorboard import START, Links, differing_settings
from tests.report.test_history import fetch, free_port, wait_for
from tests.run_factory import make_run


def link_targets(folder):
    """Link name -> name of the run folder."""
    return {link.name: link.resolve().parent.name for link in folder.iterdir() if link.is_symlink()}


def make_run_with_events(outputs, name, **settings):
    (make_run(outputs, name, **settings) / "tensorboard").mkdir()


def test_names_contain_the_model_and_what_differs(here):
    make_run_with_events(here / "o", "a", lr=0.01, seed=1)
    make_run_with_events(here / "o", "b", lr=0.002, seed=1)
    make_run_with_events(here / "o", "c", model="logreg", seed=2)
    make_run(here / "o", "without-events", model="logreg", seed=3)
    (here / "links").mkdir()
    links = Links(here / "links", [here / "o"])
    links.refresh()
    assert link_targets(here / "links") == {
        "mlp s1 lr=0.01": "a",
        "mlp s1 lr=0.002": "b",
        "logreg s2": "c",
    }

    make_run_with_events(here / "o", "d", model="logreg", seed=2, settings={"C": "a/b"})
    links.refresh()
    targets = link_targets(here / "links")
    assert targets["logreg s2"] == "c"  # links are never renamed
    assert targets["logreg s2 C=a_b"] == "d"


def test_columns_are_the_settings_in_which_runs_of_a_model_differ():
    a = {"model": "mlp", "model.dropout": 0.1, "optimizer.lr": 0.1, "scheduler.max_lr": 0.1, "seed": 1}
    b = {**a, "optimizer.lr": 0.2, "scheduler.max_lr": 0.2}
    assert differing_settings([a]) == ["model"]
    assert differing_settings([a, b, {"model": "svm", "model.C": 1, "seed": 2}]) == ["model", "optimizer.lr"]


def test_damaged_runs_and_copies_are_linked(here):
    make_run_with_events(here / "o", "a-111111")
    shutil.copytree(here / "o" / "a-111111", here / "o" / "a-222222")
    make_run_with_events(here / "o", "broken")
    (here / "o" / "broken" / "config.yaml").write_text("[")
    (here / "links").mkdir()
    make_run_with_events(here / "o", "five")
    config = here / "o" / "five" / "config.yaml"
    config.write_text(config.read_text() + "\nfeatures: 5\n")
    make_run_with_events(here / "o", "歌" * 80)  # 240 bytes
    (here / "o" / ("歌" * 80) / "config.yaml").write_text("loop: &loop [*loop]\n")
    Links(here / "links", [here / "o"]).refresh()
    targets = link_targets(here / "links")
    assert sorted(targets.values()) == ["a-111111", "a-222222", "broken", "five", "歌" * 80]
    assert targets["broken"] == "broken"


def test_long_names_are_shortened(here):
    for name in "ab":
        make_run_with_events(here / "o", name, settings={"note": "歌" * 200 + name})
    (here / "links").mkdir()
    Links(here / "links", [here / "o"]).refresh()
    assert sorted(link_targets(here / "links").values()) == ["a", "b"]


def test_a_folder_without_event_files_is_a_user_error(run, here):
    (here / "o").mkdir()
    result = run("tensorboard", "o")
    assert (result.code, len(result.lines)) == (2, 1)
    assert [(problem.kind, problem.key) for problem in result.problems] == [("no_event_files", "o")]


@pytest.mark.slow
def test_the_server_responds_and_removes_its_links(here):
    (here / "scratch").mkdir()
    make_run_with_events(here / "o", "a", lr=0.01)
    command = [sys.executable, "-m", "musicreclass", "tensorboard", "o", "--port", str(free_port())]
    board = subprocess.Popen(command, env={**os.environ, "TMPDIR": str(here / "scratch")}, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: fetch(f"http://localhost:{command[-1]}/data/environment"))
        address = f"http://localhost:{command[-1]}/data/plugin/hparams/experiment"
        experiment = fetch(address, {"experimentName": ""})
        assert [info["name"] for info in experiment["hparamInfos"]] == ["model"]
        (folder,) = (here / "scratch").glob("musicreclass-board-*")
        assert link_targets(folder) == {"mlp": "a"}
    finally:
        board.terminate()
        assert board.wait(30) == 0
    assert not list((here / "scratch").glob("musicreclass-board-*"))
    with pytest.raises(OSError):
        fetch(f"http://localhost:{command[-1]}/data/environment")


@pytest.mark.parametrize("start", [START, PIP])
def test_other_programs_import_nothing_from_the_working_directory(here, start):
    for name in ("tensorflow", "google", "pip", "lz4"):
        (here / f"{name}.py").write_text("import os\nos.mkdir('canary')\n")
    subprocess.run([sys.executable, "-c", start, "--version"], check=True, capture_output=True)
    assert not (here / "canary").exists()
