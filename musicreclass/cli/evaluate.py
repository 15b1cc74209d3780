"""`musicreclass evaluate`: score finished runs on a split, or on other data."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from musicreclass.cli.messages import report_error
from musicreclass.cli.options import Options, runs_and_overrides
from musicreclass.cli.terminal import say, show
from musicreclass.errors import UserError
from musicreclass.runs.folder import Run

if TYPE_CHECKING:
    from musicreclass.tasks.evaluate import Scored


def main(arguments: list[str]) -> int:
    """`musicreclass evaluate RUN [RUN ...] [--split SPLIT] [OVERRIDES]`."""
    args = parse(arguments)
    runs, overrides = runs_and_overrides(args.runs)
    if not runs:
        raise UserError("evaluate: name a run folder, as outputs/RUN", "missing_value", "run")
    if len(runs) > 1:
        return evaluate_several(runs, overrides, args)
    scored = evaluate_one(runs[0], overrides, args)
    from musicreclass.report.summary import summary

    if not scored.is_score:
        say(unscored(scored))
        return 0
    if scored.already:
        say(f"{scored.name} has already been scored")
    elif scored.name != args.split:
        say(f"recorded as {scored.name}, separate from the run's own scores")
    show(summary(scored.run, [scored.name]))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = Options(
        "musicreclass evaluate",
        description="Score finished runs on a split of their data, or on other data with the same classes.",
    )
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="run folders; and overrides, as data.path=FILE or data=NAME data.root=DIR for other data, or paths.cache=DIR",
    )
    parser.add_argument("--split", default="test", choices=("train", "valid", "test", "all"), help="default: test")
    parser.add_argument("--config-dir", metavar="DIR", help="your own configuration folder")
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module of your own that the model or the data needs",
    )
    return parser.parse_intermixed_args(arguments)


def evaluate_one(run: Path, overrides: list[str], args: argparse.Namespace) -> Scored:
    """Score one run."""
    Run.open(run)  # a wrong path is reported before anything heavy is imported
    try:
        from musicreclass.tasks.evaluate import evaluate

        return evaluate(run, args.split, overrides, args.config_dir, tuple(args.trust))
    except SystemExit as leaving:
        raise RuntimeError(f"the code of the model or the data ended the process ({leaving.code})") from leaving


def evaluate_several(runs: list[Path], overrides: list[str], args: argparse.Namespace) -> int:
    """Score several runs and print the scores of each; a failure is one line and does not stop the others.

    Returns:
        the exit code: that of a failure if there was any.
    """
    code = 0
    for run in runs:
        try:
            scored = evaluate_one(run, overrides, args)
        except Exception as error:
            code = max(code, report_error(with_path(error, run)))
            continue
        from musicreclass.report.summary import brief_scores

        say(str(run))
        if not scored.is_score:
            say(f"  {unscored(scored)}")
            continue
        show(brief_scores(scored.run, scored.name))
    return code


def unscored(scored: Scored) -> str:
    """What was written for tracks that all have one label."""
    file = scored.run.folder / "predictions" / f"{scored.name}.parquet"
    return f"all tracks have one label, which is no test of a classifier: no score; the probabilities are in {file}"


def with_path(error: Exception, run: Path) -> Exception:
    """An error that names the run it is about."""
    if not isinstance(error, UserError) or str(run) in str(error):
        return error
    (first, *_), message = error.problems, " ".join(str(error).split())
    return UserError(f"{run}: {message}", first.kind, first.key, first.value, first.suggestion)
