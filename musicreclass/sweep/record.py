"""The record of one job of a sweep, a JSON file in the sweep's folder."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from musicreclass.evaluation.metric_names import CLASS_METRICS, TAG_METRICS
from musicreclass.storage.atomic import write_json
from musicreclass.storage.locks import host


@dataclass(frozen=True)
class JobRecord:
    """How a job ended, or that it is running.

    Attributes:
        job: its number, from 0.
        state: `running`, `done`, `pruned`, `interrupted`, `failed`; `lost` if its process ended without writing the end, `not
            begun` if there is no record.
        arguments: the overrides of the job.
        error: why it did not end as planned, or empty.
        run: the run folder, or empty.
        accuracy, macro_f1, roc_auc, pr_auc: the main metrics on validation, if it is done; None for those of another task.
        scores: the validation score by epoch, of networks.
        host, pid: the process.
    """

    job: int
    state: str
    arguments: tuple[str, ...] = ()
    error: str = ""
    run: str = ""
    accuracy: float | None = None
    macro_f1: float | None = None
    roc_auc: float | None = None
    pr_auc: float | None = None
    scores: dict[int, float] = field(default_factory=dict)
    host: str = ""
    pid: int = 0

    @classmethod
    def begin(cls, job: int, arguments: list[str]) -> JobRecord:
        """The record of a job that this process starts."""
        return cls(job, "running", tuple(arguments), host=host(), pid=os.getpid())

    @classmethod
    def read(cls, file: Path) -> JobRecord:
        """The record in a file."""
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        del values["overrides"]
        scores = {int(epoch): score for epoch, score in values["scores"].items()}
        return cls(**{**values, "arguments": tuple(values["arguments"]), "scores": scores})

    def write(self, file: Path) -> None:
        """Replace the record in a file."""
        write_json(file, self.as_dict())

    @property
    def overrides(self) -> str:
        """The overrides of the job in one text."""
        return " ".join(self.arguments)

    @property
    def metrics(self) -> dict[str, float]:
        """The main metrics on validation by name; empty if it has none."""
        values = {name: getattr(self, name) for name in (*CLASS_METRICS, *TAG_METRICS)}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def score(self) -> float | None:
        """The second main metric, by which jobs are ranked; None without a score."""
        return self.pr_auc if self.macro_f1 is None else self.macro_f1

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and CSV."""
        return {**asdict(self), "overrides": self.overrides}
