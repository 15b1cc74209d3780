"""A multirun: each job's outcome on record, a failed job the end of that job alone, a summary at the end."""

from __future__ import annotations

import csv
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from musicreclass.config.compatibility import ALONE
from musicreclass.errors import ConfigError
from musicreclass.hardware.launch import processes
from musicreclass.storage.atomic import write_json
from musicreclass.storage.locks import host
from musicreclass.sweep.launchers import take_share

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from musicreclass.runs.folder import Run

STYLES = {"done": "green", "failed": "bold red"}
COLUMNS = ("job", "state", "run", "overrides", "accuracy", "macro_f1", "error")  # of runs.csv
LOOK = 0.5  # seconds between two looks for news from jobs in other processes
LOST = "its process ended without a word, by a kill or for want of memory; the same command starts it again"
UNBEGUN = "the sweep ended before it; the same command starts it"


class Sweep:
    """The folder of one multirun, outputs/sweeps/<time>/: a record per job, in `runs.csv` when it is over.

    Args:
        folder: where it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def new(cls, outputs: Path, jobs: int) -> Sweep:
        """The folder for a sweep of so many jobs that starts now, in this process."""
        sweep = cls(outputs.expanduser() / "sweeps" / f"{datetime.now():%Y-%m-%d_%H-%M-%S}-{os.getpid()}")
        sweep.folder.mkdir(parents=True, exist_ok=True)
        write_json(sweep.folder / "sweep.json", {"command": sys.argv, "jobs": jobs, **here()})
        return sweep

    @classmethod
    def of(cls, hydra: Any) -> Sweep:
        """The sweep that a job belongs to, from Hydra's configuration."""
        return cls(Path(hydra.sweep.dir))

    def override(self) -> str:
        """What tells Hydra, and every process it launches, this folder."""
        escaped = str(self.folder).replace("\\", "\\\\").replace("'", "\\'")
        return f"hydra.sweep.dir='{escaped}'"

    @property
    def facts(self) -> dict[str, Any]:
        """The command, the number of jobs, the process that began the sweep."""
        return dict(json.loads((self.folder / "sweep.json").read_text(encoding="utf-8")))

    def run_job(
        self,
        cfg: DictConfig,
        number: int,
        overrides: list[str],
        launcher: DictConfig,
        train: Callable[[DictConfig], Run],
        report_error: Callable[[Exception], Any],
    ) -> float:
        """Train one job and record the outcome.

        Args:
            cfg: the configuration of the job.
            number: of the job.
            overrides: those of this job.
            launcher: Hydra's node of the launcher.
            train: finds or trains the run.
            report_error: prints an error.

        Returns:
            macro-F1 on validation, or NaN if the job failed.
        """
        told = " ".join(overrides)
        print(f"job {number}: {told}", flush=True)
        record: dict[str, Any] = {"job": number, "overrides": told, "words": overrides, **here(), "error": ""}
        if not self._is_ours(record):
            os.environ["TTY_COMPATIBLE"] = "0"  # the bars of several processes would overwrite each other
        self._record({**record, "state": "running"})
        value = float("nan")
        try:
            take_share(cfg, launcher)
            if processes(cfg) > 1:  # type: ignore[arg-type]  # swept over by a file; the check sees the command
                raise ConfigError([ALONE])
            run = train(cfg)
            found = run.metrics.get("valid", {})
            value = found.get("macro_f1", value)
            record.update(state="done", run=str(run.folder))
            record.update({name: found.get(name) for name in ("accuracy", "macro_f1")})
        except KeyboardInterrupt:
            self._record({**record, "state": "interrupted"})
            raise
        except (Exception, SystemExit) as error:
            ended = (
                error if isinstance(error, Exception) else RuntimeError(f"the job's own code ended it ({error.code})")
            )
            if self._is_ours(record):
                report_error(ended)  # in another process it may go unseen: the sweep's own tells it
            record.update(state="failed", error=" ".join(str(ended).split()), run=str(getattr(ended, "folder", "")))
        self._record(record)
        return value

    def _record(self, record: dict[str, Any]) -> None:
        (self.folder / "jobs").mkdir(parents=True, exist_ok=True)
        write_json(self._file(record["job"]), record)

    def _file(self, job: int) -> Path:
        return self.folder / "jobs" / f"{job:04d}.json"

    def _is_ours(self, record: dict[str, Any]) -> bool:
        """Whether a job ran in the process that began the sweep."""
        facts = self.facts
        return all(record[name] == facts[name] for name in ("pid", "host"))

    def records(self) -> list[dict[str, Any]]:
        """How each job went, in order; also of those that have left no end on record, or nothing at all."""
        found = []
        for job in range(self.facts["jobs"]):
            try:
                record = json.loads(self._file(job).read_text(encoding="utf-8"))
            except FileNotFoundError:
                record = {"job": job, "state": "not begun", "overrides": "", "words": [], "error": UNBEGUN}
            if record["state"] == "running":
                record.update(state="lost", error=LOST)
            found.append(record)
        return found

    @contextmanager
    def watched(self) -> Iterator[None]:
        """For the length of the block, tell how jobs in other processes end, as soon as they do."""
        over = threading.Event()
        thread = threading.Thread(target=self._watch, args=(over,), daemon=True, name="news of jobs")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _watch(self, over: threading.Event) -> None:
        told: set[str] = set()
        last = False
        while not last:
            last = over.wait(LOOK)
            for file in sorted(self.folder.glob("jobs/[0-9]*.json")):
                if file.name not in told:
                    record = json.loads(file.read_text(encoding="utf-8"))
                    if record["state"] != "running":
                        told.add(file.name)
                        self._tell(record)

    def _tell(self, record: dict[str, Any]) -> None:
        if self._is_ours(record):
            return
        if record["state"] == "done":
            print(f"job {record['job']}: done", flush=True)
        else:
            print(
                f"musicreclass: job {record['job']} {record['state']}: {record['error']}", file=sys.stderr, flush=True
            )

    def finish(self, show: bool = True) -> int:
        """Write runs.csv, print a summary, and return the exit code: 1 if any job failed.

        Args:
            show: whether a line for each job is part of the summary.
        """
        records = self.records()
        with (self.folder / "runs.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, COLUMNS, restval="", extrasaction="ignore")
            table.writeheader()
            table.writerows(records)
        if show:
            Console(highlight=False).print(summary(records))
        failed = [r for r in records if r["state"] != "done"]
        print(f"{len(records) - len(failed)} of {len(records)} jobs done; the list is {self.folder / 'runs.csv'}")
        for record in failed:
            print(f"job {record['job']} {record['state']}: {record['error']}")
        return 1 if failed else 0


def here() -> dict[str, Any]:
    """This process, as a record names it."""
    return {"host": host(), "pid": os.getpid()}


def summary(records: list[dict[str, Any]]) -> Table:
    """A row per job, with what not all jobs were told."""
    words = [set(r["words"]) for r in records if r["words"]]
    common = set.intersection(*words) if len(words) > 1 else set()
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("job", "state", "valid accuracy", "macro-F1"):
        table.add_column(name, justify="right" if name != "state" else "left")
    table.add_column("overrides", overflow="fold")
    for r in records:
        scores = [f"{100 * r[k]:.1f}" if r.get(k) is not None else "" for k in ("accuracy", "macro_f1")]
        table.add_row(
            str(r["job"]),
            f"[{STYLES.get(r['state'], 'yellow')}]{r['state']}[/]",
            *scores,
            Text(" ".join(w for w in r["words"] if w not in common)),
        )
    return table
