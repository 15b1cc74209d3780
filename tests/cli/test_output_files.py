"""Commands name the files that they were asked for, in a line each."""

from __future__ import annotations

import errno
import os

import pytest

import musicreclass as mrc
from musicreclass.errors import RunError, UserError
from musicreclass.storage.writing import writing
from tests.legacy import mlp_content, save
from tests.run_factory import make_run
from tests.tasks.test_review import write_table


def written(out: str) -> list[str]:
    """The lines about files that were written."""
    return [line.split("; ")[0].split(": ")[0] for line in out.splitlines() if line.startswith("wrote ")]


@pytest.mark.parametrize("suffix", ["html", "csv", "md", "tex", "png"])
def test_compare_names_its_files(run, here, suffix):
    make_run(here / "outputs", "a")
    result = run("compare", "outputs", "--output", f"t.{suffix}", "--output", f"u.{suffix}")
    assert (result.code, written(result.out)) == (0, [f"wrote t.{suffix}", f"wrote u.{suffix}"])
    assert (here / f"t.{suffix}").exists()


def test_cite_names_its_file(run, here):
    make_run(here / "outputs", "a")
    assert written(run("cite", "outputs", "--output", "r.bib").out) == ["wrote r.bib"]


def test_review_and_organize_name_their_files(run, here):
    table = write_table(here)
    assert written(run("review", table, "--output", "review.html").out) == ["wrote review.html"]
    result = run("organize", table, "--playlists", "lists")
    assert (result.code, written(result.out)) == (0, ["wrote lists"])


def test_new_names_its_files(run, here):
    (line,) = written(run("new", "model", "tiny").out)
    assert all((here / name).exists() for name in line.removeprefix("wrote ").split(", "))


def test_completion_names_its_files(run, here, monkeypatch):
    for variable in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(variable, str(here))
    lines = written(run("completion", "fish", "--install").out)
    assert [line for line in lines if "musicreclass.fish" in line] == lines != []


def test_prepare_and_analyze_name_their_files(run, here, table):
    data = ["data=table", f"data.path={table}", "data.split_column=split"]
    result = run("prepare", *data, "table=copy.csv")
    assert (result.code, written(result.out)) == (0, ["wrote copy.csv"]), result.err
    result = run("analyze", *data, "output=analysis")
    assert (result.code, written(result.out)) == (0, ["wrote analysis/report.html"]), result.err


def test_ensemble_names_its_folder(run, here):
    runs = [make_run(here / "outputs", name, model=name, groups=20) for name in ("mlp", "cnn")]
    result = run("ensemble", *runs, "--output", "combined")
    assert result.code == 0, result.err
    assert any(line.split()[-1] == "combined" for line in result.out.splitlines() if line.strip())


@pytest.mark.parametrize("command", ["review", "compare", "cite", "prepare", "analyze", "new", "import"])
def test_a_file_that_cannot_be_written_is_named_with_the_remedy(run, here, table, command):
    """And neither a scratch file nor the system's call."""
    (here / "file").touch()
    data = ["data=table", f"data.path={table}", "data.split_column=split"]
    if command in ("compare", "cite"):
        make_run(here / "outputs", "a")
    arguments = {
        "review": lambda: [write_table(here), "--output", "file/x.html"],
        "compare": lambda: ["outputs", "--output", "file/x.csv"],
        "cite": lambda: ["outputs", "--output", "file/x.bib"],
        "prepare": lambda: [*data, "table=file/x.csv"],
        "analyze": lambda: [*data, "output=file/x"],
        "new": lambda: ["model", "tiny", "--to", "file/x"],
        "import": lambda: [save(here / "mlp.pth", mlp_content()[1]), "--output", "file/x"],
    }[command]()
    result = run(command, *arguments)
    assert (result.code, len(result.lines)) == (2, 1), result.err
    (problem,) = result.problems
    assert problem.kind == "unwritable"
    assert "file/x" in result.lines[0]
    assert "choose another" in result.lines[0]
    assert ".part" not in result.err


def test_python_names_the_file_too(here):
    (here / "file").touch()
    with pytest.raises(UserError) as caught:
        mrc.review(write_table(here), "file/x.html")
    assert (caught.value.kind, caught.value.problems[0].value) == ("unwritable", "file/x.html")


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, "no_space"), (errno.EDQUOT, "no_space"), (errno.EROFS, "unwritable")]
)
def test_the_remedy_fits_the_fault(here, number, kind):
    with pytest.raises(RunError) as caught, writing(here / "x", error=RunError):
        raise OSError(number, os.strerror(number), "scratch")
    assert (caught.value.kind, caught.value.key) == (kind, str(here / "x"))
    assert "scratch" not in str(caught.value)
