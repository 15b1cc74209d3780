"""The cite task: the references of what finished runs and their comparison used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from musicreclass.comparison.citations import references
from musicreclass.tasks.compare import compare


def cite(folders: Sequence[Path]) -> str:
    """BibTeX of the project, and of the datasets, encoders, models and statistical tests of some runs.

    Args:
        folders: run folders, or folders that hold some.

    Raises:
        RunError: if a folder does not exist, or there is no finished run.
    """
    tables = compare(folders).tables
    return references([run for table in tables for row in table.rows for run in row.runs], tables)
