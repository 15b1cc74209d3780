"""`musicreclass review`: a page on which a person checks labels by ear."""

from __future__ import annotations

from pathlib import Path

from musicreclass.cli.options import Options
from musicreclass.cli.terminal import say


def main(arguments: list[str]) -> int:
    """`musicreclass review genres.csv --output review.html`."""
    parser = Options(
        "musicreclass review",
        description="Write a page to check a table of labels by ear, in a browser and without a network. Corrections are exported as a "
        "CSV file for predict --corrections and data.corrections.",
    )
    parser.add_argument("table", type=Path, metavar="TABLE", help="what predict has written: .csv, .jsonl or .parquet")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the page: .html")
    args = parser.parse_args(arguments)
    from musicreclass.tasks.review import review

    count = review(args.table, args.output)
    say(f"{args.output}: {count:,} files; open it in a browser")
    return 0
