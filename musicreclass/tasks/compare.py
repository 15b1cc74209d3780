"""The compare task: find runs, read them, and make tables of those on the same tracks."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from musicreclass.comparison.entries import read_runs
from musicreclass.comparison.render.text import as_csv
from musicreclass.comparison.tables import Table, build_tables
from musicreclass.errors import RunError
from musicreclass.runs.find import find_runs


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
    return Comparison(build_tables(entries, each), skipped)


def frame(comparison: Comparison) -> pd.DataFrame:
    """What `musicreclass compare --output table.csv` writes."""
    return pd.read_csv(io.StringIO(as_csv(comparison.tables)), keep_default_na=False, na_values=[""])
