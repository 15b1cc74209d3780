"""`musicreclass evaluate`: score a finished run on a split, or on other data."""

from __future__ import annotations

from pathlib import Path

from musicreclass.cli.options import Options
from musicreclass.cli.terminal import say, show
from musicreclass.errors import UserError
from musicreclass.runs.folder import Run


def main(arguments: list[str]) -> int:
    """`musicreclass evaluate RUN [--split SPLIT] [OVERRIDES]`."""
    parser = Options(
        "musicreclass evaluate",
        description="Score a finished run on a split of its data, or on other data with the same classes.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder")
    parser.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="OVERRIDE",
        help="other data: data.path=FILE, data=NAME data.root=DIR; or paths.cache=DIR",
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
    args = parser.parse_intermixed_args(arguments)
    others = [text for text in args.overrides if "=" not in text and Path(text).is_dir()]
    if others:
        message = f"evaluate: takes one run folder, not {len(others) + 1}: {args.run}, {', '.join(others[:3])}"
        raise UserError(message, "several_runs", "evaluate", len(others) + 1)
    Run.open(args.run)  # a wrong path is reported before anything heavy is imported
    try:
        from musicreclass.report.summary import summary
        from musicreclass.tasks.evaluate import evaluate

        scored = evaluate(args.run, args.split, args.overrides, args.config_dir, tuple(args.trust))
    except SystemExit as leaving:
        raise RuntimeError(f"the code of the model or the data ended the process ({leaving.code})") from leaving
    if scored.already:
        say(f"{scored.name} has already been scored")
    elif scored.name != args.split:
        say(f"recorded as {scored.name}, separate from the run's own scores")
    show(summary(scored.run, [scored.name]))
    return 0
