"""The summary of a finished run on the terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from musicreclass.evaluation.intervals import MIN_TRACKS
from musicreclass.report.summary import summary
from musicreclass.runs.folder import Run
from tests.run_factory import make_run


@pytest.mark.parametrize(
    ("n", "few", "interval"), [(1, True, False), (MIN_TRACKS - 1, True, True), (MIN_TRACKS, False, True)]
)
def test_few_tracks_are_no_score(n, few, interval, tmp_path):
    folder = make_run(tmp_path, "a", n=n, splits=("valid",))
    text = io.StringIO()
    Console(file=text, width=200).print(summary(Run.open(folder)))
    assert (f"only {n} track" in text.getvalue()) == few
    assert ("[0.0, 100.0]" in text.getvalue()) == interval
