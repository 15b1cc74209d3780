"""experiments/<name>/results.csv: the results of an experiment, a line for each scored split."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musicreclass.comparison.entries import Entry, read_runs
from musicreclass.comparison.rows import Row, build_rows
from musicreclass.comparison.tables import build_table
from musicreclass.config.check import train_settings
from musicreclass.errors import RunError
from musicreclass.plurals import counted
from musicreclass.runs.code_version import code_version
from musicreclass.runs.folder import Run
from musicreclass.runs.score_log import ScoreLog
from musicreclass.storage.atomic import write_text
from tools.baselines.catalog import Baseline

FILE_NAME = "results.csv"
SCORES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "roc_auc": "ROC-AUC",
    "pr_auc": "PR-AUC",
}  # columns of metrics
COLUMNS = (
    "experiment", "scored on", "whole", "accuracy", "accuracy low", "accuracy high", "accuracy sd", "macro-F1", "macro-F1 low",
    "macro-F1 high", "macro-F1 sd", "n", "classes", "seeds", "train tracks", "valid tracks", "test tracks", "split", "leaky", "pretraining overlap",
    "fit seconds", "peak memory MiB", "parameters", "device", "cores", "note", "command", "version", "commit", "code", "runs",
    "ROC-AUC", "ROC-AUC low", "ROC-AUC high", "ROC-AUC sd", "PR-AUC", "PR-AUC low", "PR-AUC high", "PR-AUC sd",
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """A line of results.csv: column -> text."""

    values: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.values.get(column, "")

    def number(self, column: str) -> float | None:
        """The number in a column, None if there is none."""
        try:
            return float(self[column])
        except ValueError:
            return None

    @property
    def is_complete(self) -> bool:
        """Whether the data was complete (column `whole`); only then is the score comparable with published ones."""
        return self["whole"] == "yes"

    @property
    def seeds(self) -> list[str]:
        """The seeds that the score averages."""
        return self["seeds"].split()


def collect_results(baseline: Baseline, runs: list[Run], note: str = "") -> list[Result]:
    """The results of finished runs of an experiment, one run per seed.

    Raises:
        RunError: if a run cannot be read, or the runs are not seeds of one configuration on the same tracks.
    """
    entries, skipped = read_runs(runs)
    rows = build_rows(entries)
    if skipped or len(rows) != 1:
        reason = skipped[0] if skipped else f"{counted(len(rows), 'configuration')} instead of seeds of one"
        raise RunError(f"{baseline.name}: the runs cannot be combined: {reason}", "uncombinable_runs", baseline.name)
    (row,) = rows
    build_table(rows, ScoreLog())  # sets the scores of the row
    return [Result(result_values(baseline, row, split, note)) for split in row.predictions]


def result_values(baseline: Baseline, row: Row, split: str, note: str) -> dict[str, str]:
    """The line of one split: column -> text."""
    run, cost, tracks = row.runs[0], row.cost, split_sizes(row.runs[0])
    values: dict[str, Any] = {"experiment": baseline.name, "scored on": split}
    for metric, name in SCORES.items():
        if (score := row.scores.get((split, metric))) is not None:
            values |= {name: score.mean, f"{name} low": score.low, f"{name} high": score.high, f"{name} sd": score.sd}
    classes = len(row.predictions[split][0].classes)
    complete = baseline.is_complete(split, tracks) and baseline.classes in (None, classes)
    values |= {"n": len(row.predictions[split][0].ids), "classes": classes, "whole": "yes" if complete else "no"}
    values |= {f"{name} tracks": number for name, number in tracks.items()}
    values |= {"seeds": " ".join(map(str, row.seeds)), "split": run.split, "leaky": row.leaky}
    values["pretraining overlap"] = "yes" if row.overlap else "no"
    values |= {"fit seconds": cost.seconds, "peak memory MiB": cost.memory, "parameters": cost.parameters}
    hardware, git = run.provenance.get("hardware") or {}, run.provenance.get("git") or {}
    values |= {"device": cost.device, "cores": hardware.get("cores"), "note": note, "command": baseline.command}
    values |= {
        "version": (run.provenance.get("versions") or {}).get("musicreclass"),
        "commit": str(git.get("commit") or "")[:12],
    }
    values["code"] = " ".join(dict.fromkeys(str(entry.identity.code or "") for entry in row.runs))
    values["runs"] = row.folder_names
    return {column: csv_text(values.get(column)) for column in COLUMNS}


def is_outdated(baseline: Baseline, results: list[Result]) -> bool:
    """Whether results were made by other code than this, or by an unknown version of it."""
    settings = train_settings([f"experiment={baseline.name}", f"seed={baseline.seeds[0]}"])
    return any(result["code"] != code_version(settings.as_dict()) for result in results)


def split_sizes(run: Entry) -> dict[str, int]:
    """The number of tracks in each split of a run's data."""
    tracks = run.provenance.get("tracks")
    return {str(name): int(n) for name, n in tracks.items()} if isinstance(tracks, dict) else {}


def csv_text(value: Any) -> str:
    """A value as text: None is empty, floats get four decimals."""
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def save_results(folder: Path, results: list[Result]) -> None:
    """Write the results of an experiment."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(result.values for result in results)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / FILE_NAME, text.getvalue())


def load_results(folder: Path) -> list[Result]:
    """Read the results of an experiment; empty if it was not run."""
    path = folder / FILE_NAME
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [Result({name: value or "" for name, value in row.items() if name}) for row in csv.DictReader(file)]
