"""`musicreclass review`: a page on which a person checks labels by ear."""

from __future__ import annotations

from musicreclass.cli.options import Options, user_path
from musicreclass.cli.terminal import say
from musicreclass.plurals import counted


def main(arguments: list[str]) -> int:
    """`musicreclass review genres.csv --output review.html [--select N]`."""
    parser = Options(
        "musicreclass review",
        description="Write a page to check a table of labels by ear, in a browser and without a network. Corrections are exported as a "
        "CSV file for predict --corrections and data.corrections.",
    )
    parser.add_argument(
        "table", type=user_path, metavar="TABLE", help="what predict has written: .csv, .jsonl or .parquet"
    )
    parser.add_argument(
        "--output",
        type=user_path,
        required=True,
        metavar="FILE",
        help="the page: .html; with --select also .csv, .jsonl, .parquet",
    )
    parser.add_argument(
        "--select",
        type=int,
        metavar="N",
        help="only the N recordings to label first: spread over the space, least certain",
    )
    parser.add_argument(
        "--space", metavar="RUN|NAME", help="with --select: whose stored features are the space (default: musicnn)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the selection (default: 0)")
    parser.add_argument(
        "--trust", action="append", default=[], metavar="MODULE", help="a module of your own that the run needs"
    )
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="with --select: paths.cache=DIR")
    args = parser.parse_intermixed_args(arguments)
    from musicreclass.tasks.review import review, suggestions_of

    suggestions = suggestions_of(args.select, args.space, args.seed, tuple(args.overrides), tuple(args.trust))
    count = review(args.table, args.output, suggestions)
    hint = "; open it in a browser" if args.output.suffix.lower() in (".html", ".htm") else ""
    say(f"wrote {args.output}: {counted(count, 'file')}{hint}")
    return 0
