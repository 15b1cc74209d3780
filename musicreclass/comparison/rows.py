"""Rows of a comparison table: seeds of one configuration together, folds pooled."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from musicreclass.comparison.entries import LEAK_LEVELS, Entry, PredictedClasses
from musicreclass.evaluation.intervals import Estimate
from musicreclass.runs.signature import hashed

UNKNOWN_LEAKS = "leaks unknown"


@dataclass
class Row:
    """Runs of one experiment by one version of the code that differ only in seed, and in fold where folds were pooled.

    Attributes:
        runs: the runs.
        predictions: for each split, the predicted classes of each seed.
        scores: (split, metric) -> estimate; set by `tables.build_table`.
        model: the name of the model; set by `differences.label_rows`.
        differences: short name -> value of the settings in which rows of a table differ; set by `differences.label_rows`.
        short_label: the model, unless all rows have it, and the settings in which the row differs from others of its model; set by
            `differences.label_rows`.
        apart: whether the row is not ranked among those of its table because its leaks are unknown; set by `tables.build_table`.
    """

    runs: list[Entry]
    predictions: dict[str, list[PredictedClasses]]
    scores: dict[tuple[str, str], Estimate] = field(default_factory=dict)
    model: str = ""
    differences: dict[str, str] = field(default_factory=dict)
    short_label: str = ""
    apart: bool = False

    @property
    def label(self) -> str:
        """The model and the settings in which the row differs from others: `mlp lr=0.01`."""
        return " ".join([self.model, *(f"{name}={value}" for name, value in self.differences.items())])

    @property
    def tracks_hash(self) -> str:
        """The hash of the validation tracks, or of the test tracks if validation was not scored."""
        return self.predictions.get("valid", self.predictions.get("test", []))[0].tracks_hash

    @property
    def metrics(self) -> tuple[str, str]:
        """The main metrics."""
        return next(iter(self.predictions.values()))[0].metrics

    @property
    def seeds(self) -> list[int]:
        """The seeds, sorted, without duplicates."""
        return sorted({run.seed for run in self.runs})

    @property
    def has_equal_seeds(self) -> bool:
        """Whether all of several seeds predict the same, as those of a deterministic model: they count as one run."""
        several = any(len(seeds) > 1 for seeds in self.predictions.values())
        return several and all(
            np.array_equal(seeds[0].y_pred, other.y_pred) for seeds in self.predictions.values() for other in seeds[1:]
        )

    @property
    def folds(self) -> list[Any]:
        """The pooled folds; empty for a single one."""
        folds = sorted({run.fold for run in self.runs}, key=str)
        return folds if len(folds) > 1 else []

    @property
    def leaky(self) -> str:
        """The worst leak level of the runs: `no`, `unknown` or `yes`."""
        return max((run.leaky for run in self.runs), key=LEAK_LEVELS.index)

    @property
    def exclusions(self) -> list[str]:
        """Why the row is not ranked; empty if it is."""
        reasons = ["leaky"] if self.leaky == "yes" else [UNKNOWN_LEAKS] if self.apart else []
        reasons += ["random encoder"] if any(run.random_encoder for run in self.runs) else []
        return reasons + ([] if "valid" in self.predictions else ["not scored on validation"])

    @property
    def cautions(self) -> dict[str, str]:
        """What else may make the scores too high, as a short mark -> details."""
        return {mark: text for run in self.runs for mark, text in run.cautions.items()}

    @property
    def overlap(self) -> list[str]:
        """Known overlaps of the dataset with the pretraining data of the encoder, one line each."""
        return list(dict.fromkeys(line for run in self.runs for line in run.overlap))

    @property
    def only_members(self) -> list[str]:
        """The members that have all weight of their ensembles, by name."""
        return list(dict.fromkeys(run.only_member for run in self.runs if run.only_member))

    @property
    def stale(self) -> int:
        """The number of stale runs."""
        return sum(run.stale for run in self.runs)

    @property
    def selected(self) -> bool:
        """Whether the epoch or round of any run was chosen on the validation tracks."""
        return any(run.selected for run in self.runs)

    @property
    def micro_batches(self) -> list[int]:
        """Micro-batch sizes that affected the batch statistics of a network."""
        return sorted({size for run in self.runs if (size := micro_batch(run)) is not None})

    @property
    def folder_names(self) -> str:
        """The names of the run folders."""
        return "; ".join(run.folder.name for run in self.runs)

    @property
    def cost(self) -> Cost:
        """Fit time, memory, parameters and device."""
        return Cost.of_runs(self.runs)


@dataclass(frozen=True)
class Cost:
    """The cost of a row, None where it is not recorded.

    Attributes:
        seconds: fit time, the mean over runs.
        memory: the highest peak of main memory, MiB.
        parameters: of the network.
        device: `CPU`, or the name of the GPU that was used.
    """

    seconds: float | None
    memory: float | None
    parameters: int | None
    device: str

    @classmethod
    def of_runs(cls, runs: list[Entry]) -> Cost:
        """Read the cost of runs from their provenance."""
        seconds = [number_at(run.provenance, "seconds", "fit") for run in runs]
        memory = [number_at(run.provenance, "peak_memory_mib") for run in runs]
        parameters = [number_at(run.provenance, "model", "parameters") for run in runs]
        recorded_seconds = [value for value in seconds if value is not None]
        return cls(
            float(np.mean(recorded_seconds)) if recorded_seconds else None,
            max((value for value in memory if value is not None), default=None),
            next((int(value) for value in parameters if value is not None), None),
            ", ".join(dict.fromkeys(used_device(run) for run in runs)),
        )


def number_at(node: Any, *keys: str) -> float | None:
    """The finite number at a path of nested dictionaries, None if there is none."""
    for key in keys:
        node = node.get(key) if isinstance(node, dict) else None
    is_number = isinstance(node, (int, float)) and not isinstance(node, bool) and np.isfinite(node)
    return float(node) if is_number else None


def micro_batch(run: Entry) -> int | None:
    """The micro-batch size of a run, None if it did not affect batch statistics."""
    model = run.provenance.get("model")
    record = model.get("micro_batch") if isinstance(model, dict) else None
    size = number_at(run.identity.micro_batch)
    return int(size) if size and isinstance(record, dict) and record.get("batch_statistics") is True else None


def used_device(run: Entry) -> str:
    """The device a run was trained on: networks use the GPU of the machine unless disabled, estimators only if configured."""
    machine, model = run.provenance.get("hardware"), run.settings.model
    gpu = machine.get("gpu") if isinstance(machine, dict) else None
    if model.is_estimator:
        uses_gpu = str(model.arguments().get("device", "cpu")).startswith(("cuda", "gpu"))
    else:
        uses_gpu = run.settings.hardware.accelerator != "cpu"
    return str(gpu) if gpu and uses_gpu else "CPU"


def build_rows(runs: list[Entry], each: bool = False) -> list[Row]:
    """Group runs into rows.

    Args:
        runs: finished runs.
        each: make a row of every run.
    """
    if each:
        return [Row([run], {split: [predicted] for split, predicted in run.predictions.items()}) for run in runs]
    rows = []
    for experiment in group_by(runs, lambda run: hashed([run.experiment, run.split, run.code])):
        fingerprints = {run.fold: run.identity.fingerprint for run in experiment}
        poolable = len(fingerprints) > 1 and all(
            run.identity.fingerprint == fingerprints[run.fold] for run in experiment
        )
        try:
            rows += pool_seeds_and_folds(experiment if poolable else [])
        except ValueError:  # folds share tracks, as where the split ignores `fold`
            poolable = False
        if not poolable:
            for same_data in group_by(experiment, lambda run: (run.fold, run.identity.fingerprint)):
                rows += pool_seeds_and_folds(same_data)
    return rows


def group_by(runs: list[Entry], key: Callable[[Entry], Hashable]) -> list[list[Entry]]:
    """Group runs with equal keys, in order of first appearance."""
    groups = defaultdict(list)
    for run in runs:
        groups[key(run)].append(run)
    return list(groups.values())


def pool_seeds_and_folds(runs: list[Entry]) -> list[Row]:
    """Make a row for each set of tracks: pool the folds of each seed, and join seeds that cover the same tracks.

    Args:
        runs: runs that differ only in seed and fold.

    Raises:
        ValueError: if folds share tracks or were scored on different splits.
    """
    rows: dict[str, Row] = {}
    for folds in group_by(runs, lambda run: run.seed):
        splits = [split for split in ("valid", "test") if all(split in run.predictions for run in folds)]
        if not splits:
            raise ValueError("folds were scored on different splits")
        pooled = {split: PredictedClasses.concatenate([run.predictions[split] for run in folds]) for split in splits}
        row = rows.setdefault(pooled[splits[0]].tracks_hash, Row([], {}))
        row.runs += folds
        for split, predicted in pooled.items():
            seeds = row.predictions.setdefault(split, [])
            if not seeds or seeds[0].tracks_hash == predicted.tracks_hash:
                seeds.append(predicted)
    return list(rows.values())
