"""`musicreclass evaluate`: score a finished run on a split, or on other data."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from musicreclass.cli.options import Options
from musicreclass.errors import RunError
from musicreclass.runs.folder import Run


def main(arguments: list[str]) -> int:
    """`musicreclass evaluate RUN [--split SPLIT] [OVERRIDES]`."""
    parser = Options(
        "musicreclass evaluate",
        description="Score a finished run on a split of its data, or on other data with the same classes.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder")
    parser.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="other data: data.path=FILE, data=NAME data.root=DIR"
    )
    parser.add_argument("--split", default="test", choices=("train", "valid", "test", "all"), help="default: test")
    parser.add_argument("--config-dir", metavar="DIR", help="your own folder of configuration")
    parser.add_argument(
        "--trust", action="append", default=[], metavar="MODULE", help="your own code that the model needs"
    )
    args = parser.parse_intermixed_args(arguments)
    try:
        return evaluate(args)
    except SystemExit as leaving:
        raise RuntimeError(f"the code of the model or the data ended the process ({leaving.code})") from leaving


def evaluate(args: argparse.Namespace) -> int:
    """Score what the arguments name, and print the scores."""
    from musicreclass.tasks.evaluate import moved_weights, refuse_foreign_data, score_elsewhere, with_other_data
    from musicreclass.tasks.open_data import open_to_score
    from musicreclass.tasks.score import score_split

    sys.path.append(os.getcwd())  # so that a trusted module beside one's data is found
    run = Run.open(args.run)
    if run.state != "done":
        raise RunError(f"{args.run}: {run.state}; only a finished run can be scored")
    if not args.overrides and args.split in run.metrics:
        print(f"{args.split} is scored already")
        return show(run, args.split)
    weights, others = moved_weights(run.config, args.overrides)
    config = run.config if not others else with_other_data(run.config, others, args.config_dir)
    config["features"] = {**(config.get("features") or {}), **weights}
    refuse_foreign_data(args.run, config, tuple(args.trust))
    data = open_to_score(args.run, config, run.identity.get("encoder"))
    classifier = run.classifier(tuple(args.trust))
    if data.fingerprint() == run.identity.get("fingerprint") and args.split != "all":
        score_split(run, classifier, data, args.split)
        return show(run, args.split)
    name = score_elsewhere(run, classifier, data, args.split, config.get("choices", {}))
    print(f"recorded as {name}, beside the run's own scores")
    return show(run, name)


def show(run: Run, name: str) -> int:
    """Print one split's scores."""
    from rich.console import Console

    from musicreclass.report.summary import summary

    Console(highlight=False).print(summary(run, [name]))
    return 0
