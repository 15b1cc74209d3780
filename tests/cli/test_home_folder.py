"""`~` is the home folder in all paths: of the command line, where a shell has left it, of the environment, and of Python."""

from __future__ import annotations

from pathlib import Path

import pytest

import musicreclass as mrc
from musicreclass.errors import UserError
from tests.run_factory import make_run
from tests.tasks.test_review import write_table

TASKS = ("predict", "review", "organize", "evaluate", "export", "import", "ensemble", "compare", "cite", "inspect", "cache", "new", "tensorboard")  # fmt: skip


@pytest.fixture
def home(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder that is not the working directory."""
    (here / "home").mkdir()
    (here / "work").mkdir()
    monkeypatch.setenv("HOME", str(here / "home"))
    monkeypatch.chdir(here / "work")
    return here / "home"


@pytest.mark.parametrize("task", TASKS)
def test_options_that_are_paths_are_expanded(task, home, parser_of):
    types = [action.type for action in parser_of(task)._actions if action.type not in (None, int, float)]
    paths = [kind for kind in types if isinstance(kind("7"), Path)]
    assert [kind("~/7") for kind in paths] == [home / "7"] * len(paths)
    assert [kind("~no such user/7") for kind in paths] == [Path("~no such user/7")] * len(paths)


def test_commands_find_files_and_folders_in_the_home_folder(run, home, monkeypatch):
    make_run(home / "outputs", "a")
    write_table(home)
    for arguments in (
        ["evaluate", "~/outputs/a", "--split", "valid"],
        ["compare", "~/outputs", "--output", "~/t.csv"],
        ["cite", "~/outputs/a", "--output", "~/r.bib"],
        ["review", "~/genres.csv", "--output", "~/r.html"],
        ["organize", "~/genres.csv", "--playlists", "~/lists"],
    ):
        result = run(*arguments)
        assert "no such" not in result.err, arguments
    names = {path.name for path in home.iterdir()}
    assert {"t.csv", "r.bib", "r.html", "lists"} <= names
    monkeypatch.setenv("MUSICRECLASS_CACHE", "~/cache")
    (home / "cache").mkdir()
    assert str(home / "cache") in run("cache").out
    assert list(Path().iterdir()) == []


def test_python_finds_files_and_folders_in_the_home_folder(home):
    make_run(home / "outputs", "a")
    write_table(home)
    assert mrc.load("~/outputs/a").folder == home / "outputs/a"
    assert set(mrc.compare("~/outputs").run) == {"a"}
    assert mrc.cite("~/outputs/a")
    mrc.review("~/genres.csv", "~/r.html")
    mrc.organize("~/genres.csv", playlists="~/lists")
    assert {"r.html", "lists"} <= {path.name for path in home.iterdir()}
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("value", [5, "", b"x", "a\0b", ["x"]])
def test_what_is_no_path_is_named(value, here):
    for call, name in (
        (lambda: mrc.load(value), "folder"),
        (lambda: mrc.evaluate(value), "run"),
        (lambda: mrc.review(value, "r.html"), "table"),
        (lambda: mrc.review("genres.csv", value), "output"),
        (lambda: mrc.organize("genres.csv", playlists=value), "playlists"),
        (lambda: mrc.undo_organize(value), "to"),
        (lambda: mrc.import_weights(value), "file"),
        (lambda: mrc.export("run", value), "output"),
    ):
        with pytest.raises(UserError) as caught:
            call()
        assert (caught.value.kind, caught.value.key) == ("invalid_value", name)
