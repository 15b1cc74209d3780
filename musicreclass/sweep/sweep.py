"""A multirun: a record of each job, and a table of all jobs at the end. A failed job does not end the sweep."""

from __future__ import annotations

import csv
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicreclass.config.compatibility import ALONE
from musicreclass.errors import ConfigError, TrialPruned
from musicreclass.evaluation.metric_names import CLASS_METRICS, TAG_METRICS, main_metrics
from musicreclass.hardware.launch import processes
from musicreclass.storage.atomic import replacing, write_json
from musicreclass.storage.locks import host
from musicreclass.sweep.launchers import with_share
from musicreclass.sweep.pruning import PruningCheck, read_scores
from musicreclass.sweep.record import JobRecord

if TYPE_CHECKING:
    from musicreclass.classifiers.base import LogEpoch
    from musicreclass.config.settings.tasks import TrainSettings
    from musicreclass.runs.folder import Run

COLUMNS = ("job", "state", "run", "overrides", *CLASS_METRICS, *TAG_METRICS, "error")  # of runs.csv
ENDED_AS_PLANNED = ("done", "pruned")
POLL_SECONDS = 0.5
LOST = "its process was killed or ran out of memory; the same command starts it again"
NOT_BEGUN = "the sweep ended before it; the same command starts it"


@dataclass(frozen=True)
class JobOutcome:
    """How a job ended.

    Attributes:
        score: the second main metric on validation; NaN without a score.
        error: why it failed, or that it was pruned; None if another process prints it, from the records.
    """

    score: float = float("nan")
    error: Exception | None = None


class Sweep:
    """The folder of one multirun, outputs/sweeps/<time>/.

    It holds `sweep.json` (the command), `jobs/` (a record per job) and, at the end, `runs.csv`.

    Args:
        folder: its path.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def new(cls, outputs: Path, jobs: int) -> Sweep:
        """Make the folder of a sweep that this process starts.

        Args:
            outputs: the folder of all runs.
            jobs: how many jobs the sweep has.
        """
        sweep = cls(outputs.expanduser() / "sweeps" / f"{datetime.now():%Y-%m-%d_%H-%M-%S}-{os.getpid()}")
        sweep.folder.mkdir(parents=True, exist_ok=True)
        write_json(
            sweep.folder / "sweep.json",
            {"command": sys.argv, "jobs": jobs, "started": time.time(), "host": host(), "pid": os.getpid()},
        )
        return sweep

    @classmethod
    def of(cls, hydra: Any) -> Sweep:
        """The sweep of a job, from Hydra's configuration."""
        return cls(Path(hydra.sweep.dir))

    def override(self) -> str:
        """The override that passes this folder to Hydra and to every process that it launches."""
        escaped = str(self.folder).replace("\\", "\\\\").replace("'", "\\'")
        return f"hydra.sweep.dir='{escaped}'"

    @property
    def metadata(self) -> dict[str, Any]:
        """The command, the number of jobs, and the process that started the sweep."""
        return dict(json.loads((self.folder / "sweep.json").read_text(encoding="utf-8")))

    def run_job(
        self,
        read_settings: Callable[[], TrainSettings],
        number: int,
        overrides: list[str],
        launcher: Any,
        train: Callable[[TrainSettings, LogEpoch | None], Run],
    ) -> JobOutcome:
        """Train one job and record the outcome.

        Args:
            read_settings: reads the settings of the job; what it raises is recorded.
            number: of the job, from 0.
            overrides: those of this job.
            launcher: Hydra's node of the launcher.
            train: finds or trains the run; takes what to call after each epoch.
        """
        job = JobRecord.begin(number, overrides)
        is_local = self.is_local(job)
        if not is_local:
            os.environ["TTY_COMPATIBLE"] = "0"  # the progress bars of several processes would overwrite each other
        self._write(job)
        try:
            settings = read_settings()
            settings = settings.model_copy(update={"hardware": with_share(settings.hardware, launcher)})
            if processes(settings.hardware) > 1:  # set by a swept file, which the check does not see
                raise ConfigError([ALONE])
            run = train(settings, PruningCheck.load(self.folder))
            ended = self._ended(job, run)
        except KeyboardInterrupt:
            self._write(replace(job, state="interrupted"))
            raise
        except TrialPruned as pruned:
            self._write(pruned_record(job, pruned))
            return JobOutcome(error=pruned if is_local else None)
        except (Exception, SystemExit) as raised:
            error = raised if isinstance(raised, Exception) else RuntimeError(f"the job called exit({raised.code})")
            message = " ".join(str(error).split())
            self._write(replace(job, state="failed", error=message, run=str(getattr(error, "folder", ""))))
            return JobOutcome(error=error if is_local else None)
        self._write(ended)
        return JobOutcome() if ended.score is None else JobOutcome(ended.score)

    def _ended(self, job: JobRecord, run: Run) -> JobRecord:
        """The record of a job with its finished run.

        Raises:
            TrialPruned: if this search would have stopped it. Such a run was finished by another command. The search takes it
                as pruned all the same, so that the trials it proposes do not depend on other commands.
        """
        scores = read_scores(run.folder)
        check = PruningCheck.load(self.folder)
        if check is not None:
            check.replay(scores, run.folder)
        valid = run.metrics.get("valid", {})
        metrics = {name: valid.get(name) for name in main_metrics(valid)}
        return replace(job, state="done", run=str(run.folder), scores=scores, **metrics)

    def _write(self, record: JobRecord) -> None:
        (self.folder / "jobs").mkdir(parents=True, exist_ok=True)
        record.write(self._file(record.job))

    def _file(self, job: int) -> Path:
        return self.folder / "jobs" / f"{job:04d}.json"

    def is_local(self, record: JobRecord) -> bool:
        """Whether a job ran in the process that started the sweep."""
        metadata = self.metadata
        return (record.pid, record.host) == (metadata["pid"], metadata["host"])

    def record(self, job: int) -> JobRecord:
        """How a job ended; its state is `lost` if its process ended without a record, `not begun` if it has none at all."""
        try:
            record = JobRecord.read(self._file(job))
        except FileNotFoundError:
            return JobRecord(job, "not begun", error=NOT_BEGUN)
        return replace(record, state="lost", error=LOST) if record.state == "running" else record

    def records(self) -> list[JobRecord]:
        """The records of all jobs, in order."""
        return [self.record(job) for job in range(self.metadata["jobs"])]

    def seconds_left(self) -> float:
        """The time that the remaining jobs will take, if they are like those that have ended; 0 without any."""
        metadata, records = self.metadata, [JobRecord.read(file) for file in self.folder.glob("jobs/[0-9]*.json")]
        ended = sum(record.state != "running" for record in records)
        return (time.time() - metadata["started"]) / max(1, ended) * (metadata["jobs"] - ended)

    @contextmanager
    def watched(self, report: Callable[[JobRecord], None]) -> Iterator[None]:
        """Within the block, report each job of another process when it ends.

        Args:
            report: takes the job's record; called in a thread.
        """
        over = threading.Event()
        thread = threading.Thread(target=self._watch, args=(over, report), daemon=True, name="sweep-records")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _watch(self, over: threading.Event, report: Callable[[JobRecord], None]) -> None:
        reported: set[str] = set()
        last = False
        while not last:
            last = over.wait(POLL_SECONDS)
            for file in sorted(self.folder.glob("jobs/[0-9]*.json")):
                if file.name in reported:
                    continue
                record = JobRecord.read(file)
                if record.state != "running":
                    reported.add(file.name)
                    if not self.is_local(record):
                        report(record)

    def finish(self) -> list[JobRecord]:
        """Write runs.csv; return the records of all jobs."""
        records = self.records()
        with (
            replacing(self.folder / "runs.csv") as scratch,
            scratch.open("w", newline="", encoding="utf-8") as file,
        ):
            named = {name for record in records for name in record.metrics} or {*CLASS_METRICS}
            columns = [name for name in COLUMNS if name not in (*CLASS_METRICS, *TAG_METRICS) or name in named]
            table = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
            table.writeheader()
            table.writerows({**record.as_dict(), "run": self._listed(record.run)} for record in records)
        return records

    def _listed(self, run: str) -> str:
        """The path of a run in runs.csv: relative to the sweep's folder for one in the same `outputs`, else absolute."""
        folder, path = self.folder.resolve(), Path(run).resolve()
        if not run:
            return ""
        return os.path.relpath(path, folder) if folder.parent.parent in path.parents else str(path)


def pruned_record(job: JobRecord, pruned: TrialPruned) -> JobRecord:
    """The record of a job with its pruned run, which has scores up to the epoch at which it was stopped."""
    assert pruned.folder is not None
    scores = {epoch: score for epoch, score in read_scores(pruned.folder).items() if epoch <= pruned.epoch}
    return replace(job, state="pruned", error=str(pruned), run=str(pruned.folder), scores=scores)
