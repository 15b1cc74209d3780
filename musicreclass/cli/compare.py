"""`musicreclass compare`: find runs, make tables, show and write them. Nothing heavy is imported until there are runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from musicreclass.cli.options import Options
from musicreclass.errors import UserError
from musicreclass.runs.find import find_runs
from musicreclass.storage.atomic import write_text

if TYPE_CHECKING:
    from musicreclass.compare.tables import Table

FORMATS = (".csv", ".md", ".html")


def main(arguments: list[str]) -> int:
    """`musicreclass compare RUN_OR_DIR ... [--each] [--output FILE]`."""
    parser = Options(
        "musicreclass compare",
        description="Tables of runs on the same tracks, the best on validation first; seeds of one configuration are one row.",
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN_OR_DIR", help="a run folder, or a folder that holds some"
    )
    parser.add_argument("--each", action="store_true", help="a row for every run: neither seeds nor folds together")
    parser.add_argument(
        "--output", type=Path, action="append", default=[], metavar="FILE", help="write it too, as .csv, .md or .html"
    )
    args = parser.parse_args(arguments)
    for file in args.output:
        if file.suffix not in FORMATS:
            raise UserError(f"--output {file}: a table is written as .csv, .md or .html")
    runs = [run for place in args.runs for run in find_runs(place)]

    from musicreclass.compare.entries import read_runs
    from musicreclass.compare.render.terminal import show
    from musicreclass.compare.tables import tables_of
    from musicreclass.errors import printable

    entries, left_out = read_runs(runs)
    if not entries:
        named = "".join(f"; {printable(line)}" for line in left_out[:3])
        raise UserError(f"no finished runs under {', '.join(map(str, args.runs))}; train one first{named}")
    tables = tables_of(entries, args.each)
    show(tables)
    for line in left_out:
        print(f"left out: {printable(line)}")
    for file in args.output:
        try:
            write_text(file, written(tables, file.suffix))
        except OSError as error:
            raise UserError(f"--output {file}: cannot be written ({error.strerror})") from error
    return 0


def written(tables: list[Table], suffix: str) -> str:
    """Tables in the form that a file's name asks for."""
    if suffix == ".html":
        from musicreclass.compare.render.page import page

        return page(tables)
    from musicreclass.compare.render.text import as_csv, as_markdown

    return as_csv(tables) if suffix == ".csv" else as_markdown(tables)
