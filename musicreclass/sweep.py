"""A multirun: each job's outcome on record, a failed job the end of that job alone, a summary at the end."""

from __future__ import annotations

import csv
import json
import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from musicreclass.cli import complain, find_or_train
from musicreclass.files import write_json

if TYPE_CHECKING:
    from omegaconf import DictConfig

STYLES = {"done": "green", "failed": "bold red"}


class Sweep:
    """The folder of one multirun, outputs/sweeps/<time>/: a record per job, in `runs.csv` when it is over.

    Args:
        folder: where it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def new(cls, outputs: Path) -> Sweep:
        """The folder for a sweep that starts now."""
        return cls(outputs.expanduser() / "sweeps" / f"{datetime.now():%Y-%m-%d_%H-%M-%S}-{os.getpid()}")

    @classmethod
    def of(cls, hydra: Any) -> Sweep:
        """The sweep that a job belongs to, from Hydra's configuration."""
        return cls(Path(hydra.sweep.dir))

    def override(self) -> str:
        """What tells Hydra, and every process it launches, this folder."""
        escaped = str(self.folder).replace("\\", "\\\\").replace("'", "\\'")
        return f"hydra.sweep.dir='{escaped}'"

    def run_job(self, cfg: DictConfig, number: int, overrides: list[str]) -> float:
        """Train one job and write down how it went; returns validation macro-F1, or NaN if it failed."""
        told = " ".join(overrides)
        print(f"job {number}: {told}", flush=True)
        record: dict[str, Any] = {"job": number, "overrides": told, "state": "done", "run": "", "error": ""}
        value = float("nan")
        try:
            run = find_or_train(cfg)
            found = run.metrics.get("valid", {})
            value = found.get("macro_f1", value)
            record.update(run=str(run.folder), accuracy=found.get("accuracy"), macro_f1=found.get("macro_f1"))
        except KeyboardInterrupt:
            self._record({**record, "state": "interrupted"})
            raise
        except (Exception, SystemExit) as error:
            ended = (
                error if isinstance(error, Exception) else RuntimeError(f"the job's own code ended it ({error.code})")
            )
            complain(ended)
            record.update(state="failed", error=" ".join(str(ended).split()), run=str(getattr(ended, "folder", "")))
        self._record(record)
        return value

    def _record(self, record: dict[str, Any]) -> None:
        (self.folder / "jobs").mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "jobs" / f"{record['job']:04d}.json", record)

    def records(self) -> list[dict[str, Any]]:
        """How each job went, in order."""
        return [json.loads(file.read_text(encoding="utf-8")) for file in sorted((self.folder / "jobs").glob("*.json"))]

    def finish(self) -> int:
        """Write runs.csv, print the summary, and return the exit code: 1 if any job failed."""
        records = self.records()
        names = ["job", "state", "run", "overrides", "accuracy", "macro_f1", "error"]
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "runs.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, names, restval="")
            table.writeheader()
            table.writerows(records)
        Console(highlight=False).print(summary(records))
        failed = [r for r in records if r["state"] != "done"]
        print(f"{len(records) - len(failed)} of {len(records)} jobs done; the list is {self.folder / 'runs.csv'}")
        for record in failed:
            print(f"job {record['job']} {record['state']}: {record['error']}")
        return 1 if failed else 0


def summary(records: list[dict[str, Any]]) -> Table:
    """A row per job."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("job", "state", "valid accuracy", "macro-F1"):
        table.add_column(name, justify="right" if name != "state" else "left")
    table.add_column("overrides", overflow="fold")
    for r in records:
        scores = [f"{100 * r[k]:.1f}" if r.get(k) is not None else "" for k in ("accuracy", "macro_f1")]
        table.add_row(str(r["job"]), f"[{STYLES.get(r['state'], '')}]{r['state']}[/]", *scores, Text(r["overrides"]))
    return table
