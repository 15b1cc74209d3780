"""Reads history.csv, the values of a run by epoch or round."""

from __future__ import annotations

import csv
from pathlib import Path


def read_history(folder: Path) -> list[dict[str, float]]:
    """The rows of a run's history.csv; empty if it has none, or if the file is damaged."""
    try:
        with (folder / "history.csv").open(newline="", encoding="utf-8") as file:
            table = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    except (OSError, ValueError, TypeError):
        return []
    return [{**row, "epoch": int(row["epoch"])} for row in table if "epoch" in row]
