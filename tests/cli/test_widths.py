"""Tables and texts at 80 columns: no line is longer in a pipe, no name is broken, and nothing is coloured there."""

from __future__ import annotations

import io
import re
import sys

import pytest

from musicreclass.cli.main import TASKS
from musicreclass.comparison.entries import read_runs
from musicreclass.comparison.render.terminal import render_tables
from musicreclass.comparison.tables import build_tables
from musicreclass.output import SafeConsole
from musicreclass.report.summary import protocol_lines
from musicreclass.runs.find import find_runs
from tests.run_factory import make_run

NAMES = ("gtzan-xgboost-s1-3170adcdb1fe", "gtzan-mlp-s1-4f7bfb19d96f", "gtzan-mlp-s2-9a036c6ab305")


@pytest.fixture
def outputs(here, monkeypatch):
    for name in ("COLUMNS", "FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    make_run(here / "o", NAMES[0], model="xgboost", right=0.82, groups=30, settings={"max_depth": 6})
    for seed in (1, 2):
        hidden = {"hidden": "[256, 128]", "dropout": 0.25}
        make_run(here / "o", NAMES[seed], seed=seed, right=0.7 + 0.05 * seed, groups=30, settings=hidden)
    leaky = {"hidden": "[64]", "dropout": 0.25}
    make_run(here / "o", "gtzan-mlp-s1-111111111111", right=0.9, groups=30, leaky="yes", settings=leaky)
    return here / "o"


@pytest.mark.parametrize("command", [("compare", "o"), ("compare", "o", "--each"), ("inspect", f"o/{NAMES[1]}")])
def test_a_pipe_gets_80_plain_columns(command, run, outputs):
    result = run(*command)
    assert result.code == 0
    assert "\x1b" not in result.out
    lines = result.out.splitlines()
    assert max(map(len, lines)) <= 80
    names = NAMES if "--each" in command else NAMES[:2] if command[0] == "compare" else ()
    assert all(any(name in line for line in lines) for name in names)


def test_reasons_of_a_summary_stay_indented(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("COLUMNS", "80")
    checked = ["artists", "albums of unknown artists", "identical recordings", "[nearly] identical rows of features"]
    protocol = {"split": "grouped", "leaky": "no", "why": ["each artist is in a single split"], "checked": checked}
    for part in protocol_lines(protocol):
        SafeConsole().print(part)
    first, *reasons = stream.getvalue().splitlines()
    assert first.startswith("split grouped")
    assert len(reasons) == 3
    assert all(line.startswith("  ") and len(line) <= 80 for line in reasons)
    assert " ".join(" ".join(reasons).split()).endswith(", ".join(checked))


HELPS = [
    ["--help"],
    *([task, "--help"] for task in TASKS),
    ["train", "data=gtzan", "model=openjmla", "--help"],
    ["analyze", "data=demo_audio", "features=[fma518,musicnn]", "--help"],
]


@pytest.mark.parametrize("columns", [None, "80"])
@pytest.mark.parametrize("arguments", HELPS, ids=" ".join)
def test_help_has_80_columns(arguments, columns, run, monkeypatch):
    """In a pipe, and in a terminal of that size; only a term without a blank may be longer."""
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    result = run(*arguments)
    assert result.code == 0, result.err
    assert result.err == ""
    lines = result.out.splitlines()
    assert len(lines) > 5
    assert [line for line in lines if len(line) > 80 and " " in line.strip()] == []


def test_help_uses_a_wider_terminal(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    wide = run("train", "--help").out.splitlines()
    monkeypatch.setenv("COLUMNS", "80")
    narrow = run("train", "--help").out.splitlines()
    assert 80 < max(map(len, wide)) <= 200
    assert len(wide) < len(narrow)
    assert " ".join(" ".join(wide).split()) == " ".join(" ".join(narrow).split())


@pytest.mark.parametrize("width", [80, 160])
def test_names_of_configurations_are_not_broken(width, outputs, monkeypatch):
    (table,) = build_tables(read_runs(find_runs(outputs))[0])
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("COLUMNS", str(width))
    SafeConsole().print(render_tables([table]))
    lines = stream.getvalue().splitlines()
    labels = {row.label: next(line for line in lines if f" {row.label}" in line) for row in table.rows}
    in_one_line = [bool(re.search(r"\[\d+\.\d, \d+\.\d\]", line)) for line in labels.values()]
    assert in_one_line == [width > 80] * len(table.rows)


@pytest.mark.parametrize("no_color", [False, True])
def test_a_terminal_is_coloured_unless_no_color_is_set(no_color, outputs, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1" if no_color else "")
    SafeConsole().print(render_tables(build_tables(read_runs(find_runs(outputs))[0])))
    assert bool(re.search(r"\x1b\[[\d;]*[34]\d[;m]", stream.getvalue())) is not no_color
