"""Cascades on GTZAN's fault-filtered lists: whether the saving that the ensemble task reports is the saving of a timed `predict`.

`MUSICRECLASS_TEST_DATA=DIR MUSICRECLASS_MODELS=DIR python -m benchmarks.cascade [RUN RUN ...]`; without runs it trains logistic regression
on the 518 features and on musicnn's embeddings. The validation recordings are labelled by the cascade and by the last run alone, part by
part in turns, with an empty store each time. ROUNDS=5 and TARGETS=0.55,0.5 change the number of rounds, and the target accuracies besides the default.
"""

from __future__ import annotations

import os
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import musicreclass as mrc
from musicreclass.cli.ensemble import verdict_text
from musicreclass.evaluation.cascade import Cascade
from musicreclass.runs.folder import Run
from musicreclass.tasks.file_classifier import open_file_classifier
from musicreclass.tasks.stage_costs import validation_recordings

ROUNDS, PARTS = int(os.environ.get("ROUNDS", "5")), 6
TARGETS = [float(text) for text in os.environ.get("TARGETS", "0.55").split(",") if text]


def train_members(outputs: str) -> list[mrc.Run]:
    """The runs to combine; empty without GTZAN's excerpts and musicnn's weights."""
    folder, models = Path(os.environ.get("MUSICRECLASS_TEST_DATA", "")), os.environ.get("MUSICRECLASS_MODELS", "")
    if not (folder / "GTZAN_excerpts").is_dir() or not Path(models, "musicnn").is_dir():
        return []
    common = ["data=gtzan", f"data.root={folder / 'GTZAN_excerpts'}", "model=logreg", "logger=none"]
    return [mrc.train([*common, f"features={name}", f"paths.outputs={outputs}"]) for name in ("fma518", "musicnn")]


def cpu_seconds() -> float:
    """The CPU time of this process and of those that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


class Timed:
    """A run that labels recordings with an empty store.

    Args:
        folder: of the run.
        cache: an empty folder.
        warm_up: recordings that are labelled first, which loads the libraries.
    """

    def __init__(self, folder: Path, cache: Path, warm_up: list[Path]) -> None:
        self.classifier, self.cache = open_file_classifier([folder], overrides=[f"paths.cache={cache}"]), cache
        list(self.classifier.label(warm_up))

    def seconds(self, paths: list[Path]) -> np.ndarray:
        """Seconds, and CPU seconds, to label recordings."""
        shutil.rmtree(self.cache / "vectors", ignore_errors=True)
        started, used = time.perf_counter(), cpu_seconds()
        for _ in self.classifier.label(paths):
            pass
        return np.array([time.perf_counter() - started, cpu_seconds() - used])


def expected(folder: Path) -> float:
    """Percent that a cascade saves on its validation tracks with the thresholds of the folder, by the measured seconds."""
    run = Run.open(folder)
    assert isinstance(run.combination, Cascade)
    tables = [member.predictions("valid").table.sort_values("track_id") for member in run.members]
    stages = run.combination.stages(np.stack([table.filter(regex="^p/").to_numpy() for table in tables]))
    alone = run.metrics["ensemble"]["cascade"]["seconds_alone"]
    return float(100 * (1 - np.cumsum(run.combination.seconds)[stages].mean() / alone))


def report(runs: list[mrc.Run], paths: list[Path], target: float | None, outputs: str) -> None:
    """Print what a cascade reports, and what it saves when timed."""
    cascade = mrc.ensemble(runs, "cascade", Path(outputs) / f"cascade-{target}", target_accuracy=target)
    record = cascade.metrics["ensemble"]
    costs = record["cascade"]
    print(f"target accuracy: {target or 'that of the last run'}; seconds {costs['seconds_source']}")
    for member in record["members"]:
        print(
            f"  {member['model']:<32} +{member['seconds']:.3f} s/track, {100 * member['fraction']:5.1f} % of the tracks stop here"
        )
    print(f"  reported: {verdict_text(record, cascade.metrics['valid'])}")
    print(f"  with the thresholds fitted on all of these recordings: {expected(cascade.folder):.0f} % would be saved")
    with tempfile.TemporaryDirectory() as cache:
        rows = [
            Timed(folder, Path(cache) / name, paths[:2])
            for name, folder in (("cascade", cascade.folder), ("last", runs[-1].folder))
        ]
        parts = [paths[start::PARTS] for start in range(PARTS)]
        taken = np.empty((ROUNDS, PARTS, 2, 2))  # of the cascade and the last run, by wall clock and CPU
        for number in range(ROUNDS):
            for k, part in enumerate(parts):
                for row in (0, 1) if (number + k) % 2 else (1, 0):
                    taken[number, k, row] = rows[row].seconds(part)
    totals = np.median(taken, axis=0).sum(axis=0) / len(paths)
    for clock, name in enumerate(("wall clock", "CPU time")):
        first, last = totals[:, clock]
        savings = 100 * (1 - taken[:, :, 0, clock].sum(axis=1) / taken[:, :, 1, clock].sum(axis=1))
        print(
            f"  timed by {name}, {len(paths)} recordings in {PARTS} parts, medians of {ROUNDS} rounds: cascade {first:.3f}, last run "
            f"{last:.3f} s/track; saving {100 * (1 - first / last):.0f} % [rounds {savings.min():.0f} to {savings.max():.0f}]"
        )


def main() -> None:
    """Print the report for each target accuracy."""
    with tempfile.TemporaryDirectory() as outputs:
        runs = [mrc.load(folder) for folder in sys.argv[1:]] or train_members(outputs)
        if not runs:
            print("cascade: not run: GTZAN's excerpts or musicnn's weights are missing")
            return
        paths = validation_recordings(Run.open(runs[0].folder), runs[0].predictions("valid").track_id)
        for target in [None, *TARGETS]:
            report(runs, paths, target, outputs)


if __name__ == "__main__":
    main()
