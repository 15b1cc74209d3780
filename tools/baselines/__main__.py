"""`python -m tools.baselines [NAME ...]`: run experiments with available data, record their results, update the tables."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from musicreclass.cli.main import VARIABLES
from musicreclass.cli.options import Options
from musicreclass.config.check import train_settings
from musicreclass.config.messages import nearest
from musicreclass.config.settings.features import FeatureSettings
from musicreclass.config.settings.tasks import TrainSettings
from musicreclass.config.tree import Tree
from musicreclass.errors import RunError, UserError
from musicreclass.runs.find import finished_run
from musicreclass.runs.folder import Run
from musicreclass.tasks.find_or_train import check_files, find_or_train
from tools.baselines.catalog import Baseline, Catalog
from tools.baselines.record import collect_results, load_results, save_results
from tools.baselines.tables import terminal_table, write_tables

MIN_TABLE_WIDTH = 110  # columns of the terminal


@dataclass(frozen=True)
class Outcome:
    """The outcome of an experiment: `recorded`, `not recorded`, `skipped` or `failed`, and the reason."""

    state: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.state}: {self.reason}" if self.reason else self.state


def main(arguments: list[str] | None = None) -> int:
    """Reproduce experiments and print their results.

    Returns:
        0; 1 if a run failed.

    Raises:
        UserError: for an unknown experiment or an invalid catalog.
    """
    parser = Options("python -m tools.baselines", description="Run experiments, record results, update tables.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="experiments of conf/experiment; default: all")
    parser.add_argument(
        "--partial", action="store_true", help="also run on partial data; results are listed separately"
    )
    parser.add_argument("--note", default="", help="a note on the data, recorded with the results")
    parser.add_argument("--tables", action="store_true", help="run nothing, only update the tables from the record")
    parser.add_argument("--experiments", type=Path, default=Path("experiments"), help="the folder of the record")
    args = parser.parse_args(arguments)
    for name in VARIABLES:
        if os.environ.get(name) == "":  # set to an empty value by make without DATA=
            del os.environ[name]
    catalog = Catalog.load(args.experiments)
    available = [name for name in Tree().groups["experiment"] if name in catalog.baselines]
    for name in args.names:
        if name not in available:
            message = f"{name}: unknown experiment; {nearest(name, available)}"
            raise UserError(message, "unknown_experiment", name)
    outcomes = {}
    for name in [] if args.tables else args.names or available:
        outcomes[name] = reproduce(catalog.baselines[name], args.experiments / name, args.partial, args.note)
        print(f"{name}: {outcomes[name]}", flush=True)
    write_tables(args.experiments, catalog)
    console = Console(highlight=False)
    console.width = max(console.width, MIN_TABLE_WIDTH)
    states = {name: outcome.state for name, outcome in outcomes.items()}
    console.print(terminal_table(args.experiments, catalog, args.names or available, states))
    return 1 if "failed" in states.values() else 0


def reproduce(baseline: Baseline, folder: Path, partial: bool, note: str) -> Outcome:
    """Run an experiment with each of its seeds, unless finished, and record the results.

    Args:
        baseline: the experiment.
        folder: for results.csv.
        partial: whether to run on partial data.
        note: recorded with the results.
    """
    runs: list[Run] = []
    for seed in baseline.seeds:
        overrides = [f"experiment={baseline.name}", f"seed={seed}"]
        try:
            settings = train_settings(overrides)
            check_files(settings)
            run = finished_run(settings.with_precision(settings.hardware.precision))
            if not partial and not runs:
                missing = missing_data(baseline, settings)
                if missing:
                    reason = f"partial data, {missing} (to run anyway: --partial, or make with PARTIAL=1)"
                    return Outcome("skipped", reason)
        except UserError as error:
            return Outcome("skipped", " ".join(str(error).split()))
        if run is None:
            print(f"{baseline.name}: seed {seed}", flush=True)
            code, last_line = train(overrides)
            if code == 0:  # data that was made just now is only recognised after it is opened
                run = find_or_train(settings).run
            if run is None:
                reason = last_line.removeprefix("musicreclass: ") or f"exit code {code}"
                return Outcome("skipped" if code == 2 else "failed", reason)
        runs.append(run)
    return record_results(baseline, folder, runs, note)


def record_results(baseline: Baseline, folder: Path, runs: list[Run], note: str) -> Outcome:
    """Record the results of runs; results on partial data never replace those on complete data."""
    try:
        results = collect_results(baseline, runs, note)
    except RunError as error:
        return Outcome("failed", str(error))
    if any(old.is_complete for old in load_results(folder)) and not any(new.is_complete for new in results):
        return Outcome("not recorded", f"these results are on partial data, and {folder} has results on complete data")
    save_results(folder, results)
    return Outcome("recorded", "" if all(new.is_complete for new in results) else "partial data")


def missing_data(baseline: Baseline, settings: TrainSettings) -> str:
    """What is missing of the data; empty if at least one split can be scored on complete data.

    Raises:
        DataError: if the data is not found.
    """
    from musicreclass.hardware.resolution import resolve_profile
    from musicreclass.tasks.open_data import open_data

    if not baseline.sizes:
        return ""
    source = settings.data
    if source.cache is not None:
        source = source.model_copy(update={"cache": "none"})  # only count tracks, decode nothing
    settings_of_data = settings.model_copy(update={"data": source, "features": FeatureSettings(_target_=None)})
    data = open_data(settings_of_data, resolve_profile(settings.hardware))
    tracks = {split: data.size(split) for split in baseline.sizes}
    scored = [split for split in settings.evaluate if split in baseline.sizes]
    has_all_classes = len(data.classes) == baseline.classes
    if has_all_classes and any(baseline.is_complete(split, tracks) for split in scored):
        return ""
    classes = "" if has_all_classes else f", {len(data.classes)} of {baseline.classes} classes"
    return baseline.missing_data(tracks) + classes


def train(overrides: list[str]) -> tuple[int, str]:
    """Train one run in a separate process, so that its peak memory is measured alone.

    Returns:
        the exit code, and the last line of standard error.
    """
    arguments = [sys.executable, "-m", "musicreclass", "train", *overrides]
    last = ""
    with subprocess.Popen(
        arguments, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                print(line, end="", file=sys.stderr)
                last = line.strip() or last
        except KeyboardInterrupt:
            with suppress(KeyboardInterrupt):
                process.wait()
            raise
    return process.returncode, last


if __name__ == "__main__":
    from musicreclass.cli.messages import report_error, report_stop

    try:
        sys.exit(main())
    except KeyboardInterrupt as interrupted:
        sys.exit(report_stop(interrupted))
    except UserError as error:
        sys.exit(report_error(error))
