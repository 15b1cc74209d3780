"""Find run folders."""

from __future__ import annotations

import csv
from pathlib import Path

from musicreclass.runs.folder import Run


def find_runs(place: Path) -> list[Run]:
    """The run in a folder, or the runs below it.

    Raises:
        RunError: if there is no such folder.
    """
    if not place.is_dir() or (place / "status.json").is_file():
        return [Run.open(place)]
    if (place / "runs.csv").is_file():  # a sweep's list
        with (place / "runs.csv").open(encoding="utf-8", newline="") as file:
            return [Run.open(Path(row["run"])) for row in csv.DictReader(file) if row.get("run")]
    return [Run(file.parent) for file in sorted(place.rglob("status.json")) if not hidden(file.relative_to(place))]


def hidden(path: Path) -> bool:
    """Whether any part of a path starts with a dot."""
    return any(part.startswith(".") for part in path.parts)
