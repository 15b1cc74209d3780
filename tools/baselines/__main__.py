"""`python -m tools.baselines [NAME ...]`: run experiments whose data is at hand, record them, write the tables anew."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from musicreclass.cli.main import VARIABLES
from musicreclass.cli.options import Options
from musicreclass.config.messages import nearest
from musicreclass.config.tree import Tree
from musicreclass.errors import RunError, UserError
from musicreclass.runs.find import finished_run
from musicreclass.runs.folder import Run
from musicreclass.tasks.find_or_train import refuse_missing_weights
from tools.baselines.facts import Baseline, Facts
from tools.baselines.record import load, results, save
from tools.baselines.tables import shown, write_tables

WIDTH = 110  # columns of the table on the terminal, at least


def main(arguments: list[str] | None = None) -> int:
    """Reproduce experiments.

    Returns:
        0; 1 if a run failed.

    Raises:
        UserError: for an experiment that is not there, or facts that cannot be read.
    """
    parser = Options("python -m tools.baselines", description="Run experiments, record them, write the tables.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="experiments of conf/experiment; all, unless named")
    parser.add_argument("--partial", action="store_true", help="run on partial data too; its figures stand apart")
    parser.add_argument("--note", default="", help="what is to be known of this data, kept with the figures")
    parser.add_argument("--tables", action="store_true", help="run nothing, write the tables from what is recorded")
    parser.add_argument("--experiments", type=Path, default=Path("experiments"), help="where the record is")
    args = parser.parse_args(arguments)
    for name in VARIABLES:
        if os.environ.get(name) == "":  # as good as unset, as `make` has it without DATA=
            del os.environ[name]
    facts = Facts.load(args.experiments)
    known = [name for name in Tree().groups["experiment"] if name in facts.baselines]
    for name in args.names:
        if name not in known:
            raise UserError(f"{name}: no such experiment; {nearest(name, known)}")
    states = {}
    for name in [] if args.tables else args.names or known:
        states[name] = reproduce(facts.baselines[name], args.experiments / name, args.partial, args.note)
        print(f"{name}: {states[name]}", flush=True)
    write_tables(args.experiments, facts)
    console = Console(highlight=False)
    console.width = max(console.width, WIDTH)
    console.print(shown(args.experiments, facts, args.names or known, states))
    return 1 if any(state.startswith("failed") for state in states.values()) else 0


def reproduce(baseline: Baseline, folder: Path, partial: bool, note: str) -> str:
    """Run an experiment with each of its seeds and record what came out; what is finished already is not run again.

    Args:
        baseline: the experiment.
        folder: takes results.csv.
        partial: whether to run it where the data is not complete.
        note: kept with the figures.

    Returns:
        how it went, in words: `recorded ...`, `skipped: ...` or `failed: ...`.
    """
    runs: list[Run] = []
    for seed in baseline.seeds:
        overrides = [f"experiment={baseline.name}", f"seed={seed}"]
        try:
            config = configuration(overrides)
            refuse_missing_weights(config)
            run = finished_run(config)
            if not partial and not runs:
                lacking = partial_data(baseline, config)
                if lacking:
                    return f"skipped: partial data, {lacking} (--partial, or PARTIAL=1 of make, runs it all the same)"
        except UserError as error:
            return f"skipped: {' '.join(str(error).split())}"
        if run is None:
            print(f"{baseline.name}: seed {seed}", flush=True)
            code, told = train(overrides)
            run = finished_run(config)
            if run is None:
                return f"{'skipped' if code == 2 else 'failed'}: {told.removeprefix('musicreclass: ') or f'exit code {code}'}"
        runs.append(run)
    return recorded(baseline, folder, runs, note)


def recorded(baseline: Baseline, folder: Path, runs: list[Run], note: str) -> str:
    """Write down what runs came to, unless that would replace figures on complete data by others."""
    try:
        found = results(baseline, runs, note)
    except RunError as error:
        return f"failed: {error}"
    if any(old.whole for old in load(folder)) and not any(new.whole for new in found):
        return f"not recorded: {folder} holds figures on complete data, and these are not"
    save(folder, found)
    return "recorded" + ("" if all(new.whole for new in found) else ", on partial data")


def configuration(overrides: list[str]) -> dict[str, Any]:
    """A resolved configuration of train.

    Raises:
        ConfigError: if it lacks something, as `data.root` of one's own library.
    """
    from omegaconf import OmegaConf

    from musicreclass.config.check import compose

    config: Any = OmegaConf.to_container(compose("train", overrides), resolve=True)
    return dict(config)


def partial_data(baseline: Baseline, config: dict[str, Any]) -> str:
    """What the data lacks for any figure under the protocol; empty if there will be one.

    Raises:
        DataError: if the data is not there.
    """
    from musicreclass.tasks.open_data import open_data

    if not baseline.sizes:
        return ""
    data = dict(config["data"])
    if "cache" in data:
        data["cache"] = "none"  # looked at, not decoded
    found = open_data({**config, "data": data, "features": {}})
    tracks = {split: found.size(split) for split in baseline.sizes}
    scored = [split for split in config["evaluate"] if split in baseline.sizes]
    classes = f", {len(found.classes)} of {baseline.classes} classes"
    whole = any(baseline.is_whole(split, tracks) for split in scored) and len(found.classes) == baseline.classes
    return "" if whole else baseline.lacking(tracks) + (classes if len(found.classes) != baseline.classes else "")


def train(overrides: list[str]) -> tuple[int, str]:
    """One run, in a process of its own so that its peak memory is its own.

    Returns:
        its exit code, and the last line it complained with.
    """
    words = [sys.executable, "-m", "musicreclass", "train", *overrides]
    last = ""
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace") as run:
        assert run.stderr is not None
        try:
            for line in run.stderr:
                print(line, end="", file=sys.stderr)
                last = line.strip() or last
        except KeyboardInterrupt:
            with suppress(KeyboardInterrupt):
                run.wait()
            raise
    return run.returncode, last


if __name__ == "__main__":
    from musicreclass.cli.messages import report_error, report_stop

    try:
        sys.exit(main())
    except KeyboardInterrupt as interrupted:
        sys.exit(report_stop(interrupted))
    except UserError as error:
        sys.exit(report_error(error))
