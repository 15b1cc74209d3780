"""experiments/<name>/results.csv: what an experiment's runs came to, a line for each split that was scored."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musicreclass.compare.entries import Entry, read_runs
from musicreclass.compare.rows import Row, rows_of
from musicreclass.compare.tables import table_of
from musicreclass.errors import RunError
from musicreclass.runs.folder import Run
from musicreclass.storage.atomic import write_text
from tools.baselines.facts import Baseline

FILE = "results.csv"
COLUMNS = (
    "experiment", "scored on", "whole", "accuracy", "accuracy low", "accuracy high", "accuracy sd", "macro-F1", "macro-F1 low",
    "macro-F1 high", "macro-F1 sd", "n", "classes", "seeds", "train tracks", "valid tracks", "test tracks", "split", "leaky", "pretraining overlap",
    "fit seconds", "peak memory MiB", "parameters", "device", "cores", "note", "command", "version", "commit", "runs",
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """A line of results.csv, as text under `COLUMNS`."""

    values: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.values.get(column, "")

    def number(self, column: str) -> float | None:
        """A number; None if there is none."""
        try:
            return float(self[column])
        except ValueError:
            return None

    @property
    def whole(self) -> bool:
        """Whether the data was complete: only then does the figure stand beside published ones."""
        return self["whole"] == "yes"

    @property
    def seeds(self) -> list[str]:
        """The seeds that the figure is a mean of."""
        return self["seeds"].split()


def results(baseline: Baseline, runs: list[Run], note: str = "") -> list[Result]:
    """What finished runs of an experiment, one for each seed, came to.

    Raises:
        RunError: if they cannot be read, or are not seeds of one configuration on the same tracks.
    """
    entries, left_out = read_runs(runs)
    rows = rows_of(entries)
    if left_out or len(rows) != 1:
        told = left_out[0] if left_out else f"{len(rows)} configurations, not seeds of one"
        raise RunError(f"{baseline.name}: its runs cannot be taken together: {told}")
    (row,) = rows
    table_of(rows)
    return [Result(line(baseline, row, split, note)) for split in row.scored]


def line(baseline: Baseline, row: Row, split: str, note: str) -> dict[str, str]:
    """One split's line."""
    run, cost, tracks = row.runs[0], row.cost, sizes(row.runs[0])
    found: dict[str, Any] = {"experiment": baseline.name, "scored on": split}
    for metric, name in (("accuracy", "accuracy"), ("macro_f1", "macro-F1")):
        score = row.scores[split, metric]
        found |= {name: score.mean, f"{name} low": score.low, f"{name} high": score.high, f"{name} sd": score.sd}
    classes = len(row.scored[split][0].classes)
    whole = baseline.is_whole(split, tracks) and baseline.classes in (None, classes)
    found |= {"n": len(row.scored[split][0].ids), "classes": classes, "whole": "yes" if whole else "no"}
    found |= {f"{name} tracks": number for name, number in tracks.items()}
    found |= {"seeds": " ".join(map(str, row.seeds)), "split": run.split, "leaky": row.leaky}
    found["pretraining overlap"] = "yes" if row.overlap else "no"
    found |= {"fit seconds": cost.seconds, "peak memory MiB": cost.memory, "parameters": cost.parameters}
    hardware, git = run.provenance.get("hardware") or {}, run.provenance.get("git") or {}
    found |= {"device": cost.device, "cores": hardware.get("cores"), "note": note, "command": baseline.command}
    found |= {
        "version": (run.provenance.get("versions") or {}).get("musicreclass"),
        "commit": str(git.get("commit") or "")[:12],
    }
    found["runs"] = row.name
    return {name: written(found.get(name)) for name in COLUMNS}


def sizes(run: Entry) -> dict[str, int]:
    """How many tracks each split of a run's data has."""
    tracks = run.provenance.get("tracks")
    return {str(name): int(n) for name, n in tracks.items()} if isinstance(tracks, dict) else {}


def written(value: Any) -> str:
    """A value as it stands in the file."""
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def save(folder: Path, found: list[Result]) -> None:
    """Write an experiment's results."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(result.values for result in found)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / FILE, text.getvalue())


def load(folder: Path) -> list[Result]:
    """An experiment's results; empty if it was not run."""
    path = folder / FILE
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [Result({name: value or "" for name, value in row.items() if name}) for row in csv.DictReader(file)]
