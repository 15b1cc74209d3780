"""Cascades on GTZAN's fault-filtered lists: whether the saving that the ensemble task reports is the saving of a timed `predict`.

`MUSICRECLASS_TEST_DATA=DIR MUSICRECLASS_MODELS=DIR python -m benchmarks.cascade [RUN RUN ...]`; without runs it trains logistic regression
on the 518 features and on musicnn's embeddings. The validation recordings are labelled by the cascade and by the last run alone, in turns
and with empty stores each time. ROUNDS=3 and TARGETS=0.55,0.5 change the number of rounds, and the target accuracies besides the default.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import musicreclass as mrc
from musicreclass.cli.ensemble import verdict_text
from musicreclass.tasks.file_classifier import open_file_classifier

ROUNDS = int(os.environ.get("ROUNDS", "3"))
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


def timed(run: Path, paths: list[Path]) -> np.ndarray:
    """Seconds, and CPU seconds, per labelled recording with an empty store, without opening the run."""
    with tempfile.TemporaryDirectory() as cache:
        classifier = open_file_classifier([run], overrides=[f"paths.cache={cache}"])
        list(classifier.label(paths[:2]))  # loads the libraries
        started, used = time.perf_counter(), cpu_seconds()
        count = sum(not label.error for label in classifier.label(paths[2:]))
        return np.array([time.perf_counter() - started, cpu_seconds() - used]) / count


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
    folders = (cascade.folder, runs[-1].folder)
    rounds = []
    for number in range(ROUNDS):
        order = folders[:: 1 if number % 2 else -1]
        taken = {folder: timed(folder, paths) for folder in order}
        rounds.append([taken[folder] for folder in folders])
    seconds = np.array(rounds)  # (rounds, 2 runs, wall and CPU)
    for clock, name in enumerate(("wall", "CPU")):
        first, last = np.median(seconds[:, :, clock], axis=0)
        saving = 100 * (1 - seconds[:, 0, clock] / seconds[:, 1, clock])
        print(
            f"  timed over {len(paths) - 2} recordings, {ROUNDS} rounds, {name} time: cascade {first:.3f}, last run {last:.3f} s/track; "
            f"saving {np.median(saving):.0f} % [{saving.min():.0f}, {saving.max():.0f}], reported {100 * costs['saving']:.0f} %"
        )


def main() -> None:
    """Print the report for each target accuracy."""
    with tempfile.TemporaryDirectory() as outputs:
        runs = [mrc.load(folder) for folder in sys.argv[1:]] or train_members(outputs)
        if not runs:
            print("cascade: not run: GTZAN's excerpts or musicnn's weights are missing")
            return
        from musicreclass.runs.folder import Run
        from musicreclass.tasks.stage_costs import validation_recordings

        paths = validation_recordings(Run.open(runs[0].folder), runs[0].predictions("valid").track_id)
        for target in [None, *TARGETS]:
            report(runs, paths, target, outputs)


if __name__ == "__main__":
    main()
