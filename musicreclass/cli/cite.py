"""`musicreclass cite`: the references of what runs used, as BibTeX."""

from __future__ import annotations

from musicreclass.cli.options import Options, user_path
from musicreclass.cli.output_file import write_output
from musicreclass.cli.terminal import say
from musicreclass.runs.find import find_runs
from musicreclass.storage.atomic import write_text


def parser() -> Options:
    """The arguments of the task."""
    options = Options(
        "musicreclass cite",
        description="BibTeX of the project, and of the datasets, encoders, models and statistical tests that runs used.",
    )
    options.add_argument(
        "runs",
        nargs="+",
        type=user_path,
        metavar="RUN_OR_DIR",
        help="a run folder, or a folder that contains run folders",
    )
    options.add_argument(
        "--output", type=user_path, metavar="FILE.bib", help="write it to a file instead of the terminal"
    )
    return options


def main(arguments: list[str]) -> int:
    """`musicreclass cite RUN_OR_DIR ... [--output FILE]`."""
    args = parser().parse_args(arguments)
    for path in args.runs:
        find_runs(path)  # a wrong path is reported before anything heavy is imported

    from musicreclass.tasks.cite import cite

    text = cite(args.runs)
    if args.output is None:
        say(text.rstrip("\n"))
        return 0
    write_output(args.output, lambda path: write_text(path, text))
    return 0
