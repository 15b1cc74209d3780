"""The compare task: find runs, read them, and make tables of those on the same tracks."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from musicreclass.comparison.entries import Entry, PredictedClasses, read_runs
from musicreclass.comparison.render.text import as_csv
from musicreclass.comparison.tables import Table, build_tables
from musicreclass.errors import RunError
from musicreclass.runs.find import find_runs
from musicreclass.runs.folder import Run
from musicreclass.runs.score_log import ScoreLog


class Comparison(NamedTuple):
    """Tables of runs, and a line about each run that is in none of them."""

    tables: list[Table]
    skipped: list[str]


def compare(folders: Sequence[Path], each: bool = False) -> Comparison:
    """Tables of the runs in some folders.

    Args:
        folders: run folders, or folders that hold some.
        each: a row for every run: neither seeds nor folds are pooled.

    Raises:
        RunError: if a folder does not exist, or there is no finished run.
    """
    entries, skipped = read_runs([run for folder in folders for run in find_runs(folder)])
    if not entries:
        reasons = "".join(f"; {line}" for line in skipped[:3])
        line = f"no finished runs under {', '.join(map(str, folders))}; train one first{reasons}"
        raise RunError(line, "no_finished_runs", str(folders[0]) if folders else "")
    return Comparison(build_tables(entries, each, read_log(folders, entries)), skipped)


def read_log(folders: Sequence[Path], entries: list[Entry]) -> ScoreLog:
    """The score logs next to some runs, with the scores on other data that they lack."""
    outputs = [Path(entry.settings.paths.outputs).expanduser() for entry in entries]
    log = ScoreLog.read(*folders, *(entry.folder.parent for entry in entries), *outputs)
    for entry in entries:
        add_elsewhere(entry, log)
    return log


def add_elsewhere(entry: Entry, log: ScoreLog) -> None:
    """Add the scores of a run on other data that the log lacks."""
    run = Run(entry.folder)
    for name in run.metrics.get("elsewhere", {}):
        if log.find(str(entry.identity.signature), name) is None:
            with suppress(RunError, ValueError):
                predicted = PredictedClasses.from_predictions(run.predictions(name))
                entry.add_scoring(log, name, predicted)


def frame(comparison: Comparison) -> pd.DataFrame:
    """What `musicreclass compare --output table.csv` writes."""
    return pd.read_csv(io.StringIO(as_csv(comparison.tables)), keep_default_na=False, na_values=[""])
