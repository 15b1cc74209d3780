"""From runs to rows: seeds of one configuration together, folds pooled, what differs named."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from musicreclass.compare.entries import LEAKS, Entry, Scored
from musicreclass.config.science import is_estimator
from musicreclass.evaluation.intervals import Estimate
from musicreclass.runs.signature import hashed


@dataclass
class Row:
    """Runs that agree in everything scientific but the seed, and but the fold where folds were pooled.

    Attributes:
        runs: they.
        scored: for each split, the predictions of each seed.
        scores: (split, metric) -> the estimate, filled in by the table the row stands in.
        model: the model's name.
        differs: the settings in which the table's rows differ, as `short name -> value`, filled in by the table.
    """

    runs: list[Entry]
    scored: dict[str, list[Scored]]
    scores: dict[tuple[str, str], Estimate] = field(default_factory=dict)
    model: str = ""
    differs: dict[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The row in words: its model, and how it differs from others."""
        return " ".join([self.model, *(f"{name}={value}" for name, value in self.differs.items())])

    @property
    def tracks(self) -> str:
        """The tracks that decide where it ranks."""
        return self.scored.get("valid", self.scored.get("test", []))[0].tracks

    @property
    def seeds(self) -> list[int]:
        """The seeds, each once."""
        return sorted({run.seed for run in self.runs})

    @property
    def folds(self) -> list[Any]:
        """The folds, if there is more than one."""
        found = sorted({run.fold for run in self.runs}, key=str)
        return found if len(found) > 1 else []

    @property
    def leaky(self) -> str:
        """The worst that is known of its runs' protocols."""
        return max((run.leaky for run in self.runs), key=LEAKS.index)

    @property
    def marks(self) -> list[str]:
        """Why it cannot stand beside honest, pretrained models that were scored on validation; empty if it can."""
        found = ["leaky"] if self.leaky == "yes" else []
        found += ["random encoder"] if any(run.random_encoder for run in self.runs) else []
        return found + ([] if "valid" in self.scored else ["not scored on validation"])

    @property
    def overlap(self) -> list[str]:
        """Where a pretrained encoder is known to have heard recordings of this dataset, a line each."""
        return list(dict.fromkeys(line for run in self.runs for line in run.overlap))

    @property
    def stale(self) -> int:
        """How many of its runs other code has made."""
        return sum(run.stale for run in self.runs)

    @property
    def micro_batches(self) -> list[int]:
        """How many tracks passed through a network at once, where its batch statistics are of so many and not of the batch."""
        return sorted({size for run in self.runs if (size := micro_batch(run)) is not None})

    @property
    def name(self) -> str:
        """Its run folders' names."""
        return "; ".join(run.folder.name for run in self.runs)

    @property
    def cost(self) -> Cost:
        """What it took."""
        return Cost.of(self.runs)


@dataclass(frozen=True)
class Cost:
    """What a row took, None where it is not recorded.

    Attributes:
        seconds: of fitting, the mean over its runs.
        memory: the largest peak of main memory, MiB.
        parameters: of the network.
        device: what fitted it: `CPU`, or the GPU's name.
    """

    seconds: float | None
    memory: float | None
    parameters: int | None
    device: str

    @classmethod
    def of(cls, runs: list[Entry]) -> Cost:
        """What runs took, from their provenance."""
        seconds = [number(run.provenance, "seconds", "fit") for run in runs]
        memory = [number(run.provenance, "peak_memory_mib") for run in runs]
        sizes = [number(run.provenance, "model", "parameters") for run in runs]
        known = [value for value in seconds if value is not None]
        return cls(
            float(np.mean(known)) if known else None,
            max((value for value in memory if value is not None), default=None),
            next((int(value) for value in sizes if value is not None), None),
            ", ".join(dict.fromkeys(device(run) for run in runs)),
        )


def number(node: Any, *path: str) -> float | None:
    """A number in a tree, None if there is none."""
    for name in path:
        node = node.get(name) if isinstance(node, dict) else None
    known = isinstance(node, (int, float)) and not isinstance(node, bool) and np.isfinite(node)
    return float(node) if known else None


def micro_batch(run: Entry) -> int | None:
    """Tracks per forward pass, where a whole batch would have given other batch statistics."""
    model = run.provenance.get("model")
    told = model.get("micro_batch") if isinstance(model, dict) else None
    size = number(run.identity, "micro_batch")
    return int(size) if size and isinstance(told, dict) and told.get("batch_statistics") is True else None


def device(run: Entry) -> str:
    """What fitted a run: the GPU its machine had, unless it was told to use none, or is an estimator and was not told to."""
    hardware, asked = run.provenance.get("hardware"), run.config.get("hardware")
    gpu = hardware.get("gpu") if isinstance(hardware, dict) else None
    if is_estimator(run.config):
        used = str(run.config["model"].get("device", "cpu")).startswith(("cuda", "gpu"))
    else:
        used = not (isinstance(asked, dict) and asked.get("accelerator") == "cpu")
    return str(gpu) if gpu and used else "CPU"


def rows_of(runs: list[Entry], each: bool = False) -> list[Row]:
    """The rows of runs.

    Args:
        runs: finished ones.
        each: a row for every run.
    """
    if each:
        return [Row([run], {split: [found] for split, found in run.scored.items()}) for run in runs]
    rows = []
    for alike in gathered(runs, lambda run: hashed([run.settings, run.split])):
        folds = {run.fold: run.identity["fingerprint"] for run in alike}
        whole = len(folds) > 1 and all(run.identity["fingerprint"] == folds[run.fold] for run in alike)
        try:
            rows += pooled(alike if whole else [])
        except ValueError:  # folds that share tracks, as where `fold` means nothing to the split
            whole = False
        if not whole:
            for same in gathered(alike, lambda run: (run.fold, run.identity["fingerprint"])):
                rows += pooled(same)
    return rows


def gathered(runs: list[Entry], key: Any) -> list[list[Entry]]:
    """Runs with the same key together, in the order of their first."""
    found = defaultdict(list)
    for run in runs:
        found[key(run)].append(run)
    return list(found.values())


def pooled(runs: list[Entry]) -> list[Row]:
    """Runs that differ in seed and fold alone: a row for each set of tracks that seeds have covered.

    Raises:
        ValueError: if folds share tracks.
    """
    rows: dict[str, Row] = {}
    for same in gathered(runs, lambda run: run.seed):
        splits = [split for split in ("valid", "test") if all(split in run.scored for run in same)]
        if not splits:
            raise ValueError("folds that were scored on different splits")
        scored = {split: Scored.pooled([run.scored[split] for run in same]) for split in splits}
        row = rows.setdefault(scored[splits[0]].tracks, Row([], {}))
        row.runs += same
        for split, found in scored.items():
            others = row.scored.setdefault(split, [])
            if not others or others[0].tracks == found.tracks:
                others.append(found)
    return list(rows.values())
