"""Malformed tables: one line that names the file, what is wrong and a remedy; unusual tables that can be trained on are."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musicreclass.config.check import train_settings
from musicreclass.errors import DataError
from musicreclass.hardware.resolution import resolve_profile
from musicreclass.runs.folder import Run
from musicreclass.tasks.open_data import open_data
from tests.hostile import tables
from tests.hostile.command import check_text, run_process, tree

LIMIT = 10  # seconds of processor time for one table


def kind_of(path: Path) -> str:
    """The kind of the error that opening a table raises; empty if it can be opened."""
    chosen = train_settings(["data=table", f'data.path="{path}"'])
    try:
        open_data(chosen, resolve_profile(chosen.hardware))
    except DataError as error:
        return error.kind
    return ""


@pytest.mark.parametrize(("name", "content", "kind"), [
    ("t.csv", tables.text(sep=";", decimal=",").encode(), "wrong_separator"),
    ("t.csv", tables.text().encode("utf-16"), "unsupported_format"),
    ("t.csv", tables.text().encode("utf-16-be"), "unsupported_format"),
    ("t.csv", tables.rejected_text()["gzip"], "unsupported_format"),
    ("t.csv", tables.rejected_text()["latin-1 header"], "unreadable"),
    ("t.csv", tables.rejected_text()["header twice"], "repeated_header"),
    ("t.csv", tables.rejected_text()["pointer"], "git_lfs_pointer"),
    ("t.csv", tables.rejected_text()["html"], "web_page"),
    ("t.parquet", tables.rejected_parquet()["same column twice"], "duplicate_column"),
    ("t.parquet", tables.rejected_parquet()["list of labels"], "unreadable"),
    ("t.parquet", tables.accepted()["decimal.parquet"], ""),
])  # fmt: skip
def test_kinds_of_tables(here, name, content, kind):
    Path(name).write_bytes(content)
    assert kind_of(here / name) == kind


@pytest.mark.parametrize("value", ["?", "1,5", tables.ESCAPE])
def test_the_wrong_cell_is_named(here, value):
    Path("t.csv").write_text(tables.text(tables.with_cell(value)))
    chosen = train_settings(["data=table", "data.path=t.csv"])
    with pytest.raises(DataError) as caught:
        open_data(chosen, resolve_profile(chosen.hardware))
    (problem,) = caught.value.problems
    assert (problem.kind, problem.key, problem.value) == ("not_numeric", "f0", value)
    assert "row 8 " in problem.message


@pytest.mark.slow
def test_malformed_tables_are_rejected(run):
    makers = {".csv": tables.rejected_text, ".parquet": tables.rejected_parquet}
    paths = [path for suffix, make in makers.items() for path in tables.write_all(Path.cwd(), make, suffix=suffix)]
    paths += [Path.cwd() / name for name in tables.special(Path.cwd())]
    assert len(paths) >= 100
    before = tree(Path.cwd())
    for path in paths:
        start = time.process_time()
        result = run("train", "data=table", f'data.path="{path}"', "model=logreg")
        assert time.process_time() - start < LIMIT, path
        check_text(result.out + result.err)
        assert (result.code, len(result.problems)) == (2, 1), (path, result.err)
        (problem,) = result.problems
        assert problem.kind or len(path.name) > 255, (path, result.err)
        assert path.name in result.err
    assert tree(Path.cwd()) == before
    assert not list(Path.cwd().glob("outputs/*/model"))


@pytest.mark.slow
def test_unusual_tables_are_trained_on(run):
    paths = tables.write_all(Path.cwd(), tables.accepted)
    before = tree(Path.cwd())
    for i, path in enumerate(paths):
        start = time.process_time()
        result = run("train", "data=table", f'data.path="{path}"', "model=logreg", f"run_dir=outputs/{i}")
        assert time.process_time() - start < 3 * LIMIT, path
        check_text(result.out + result.err)
        assert result.code == 0, (path, result.err)
        assert Run.open(Path("outputs") / str(i)).metrics["valid"]["n"] > 0
    assert tree(Path.cwd()) == before


@pytest.mark.slow
def test_100_000_columns(here):
    table = tables.frame(30)
    wide = pd.concat([table, pd.DataFrame(0.5, range(30), [f"c{i}" for i in range(100_000)])], axis=1)
    wide.to_csv("wide.csv", index=False)
    start = time.process_time()
    assert kind_of(here / "wide.csv") == ""
    assert time.process_time() - start < 6 * LIMIT
    result = run_process(here, "train", "data=table", "data.path=wide.csv", "model=random_forest")
    assert result.code == 0, result.text


@pytest.mark.slow
def test_a_malformed_table_in_a_process_of_its_own(tmp_path):
    """Nothing that a library prints to the terminal is missed."""
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "noise.csv").write_bytes(tables.rejected_text()["noise"])
    (tmp_path / "cell.csv").write_text(tables.text(tables.with_cell(tables.ESCAPE)))
    for name in ("pipe.csv", "noise.csv", "cell.csv"):
        result = run_process(tmp_path, "train", "data=table", f"data.path={name}", "model=logreg")
        assert (result.code, name in result.text) == (2, True), result.text


@pytest.mark.slow
@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=True,
)
@given(data=st.data())
def test_damaged_bytes(here, data):
    """A table with bytes replaced or removed is either read or rejected as a table."""
    suffix = data.draw(st.sampled_from([".csv", ".parquet"]))
    content = bytearray(tables.as_parquet(tables.frame()) if suffix == ".parquet" else tables.text().encode())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    path = here / f"t{suffix}"
    path.write_bytes(content)
    kind_of(path)
