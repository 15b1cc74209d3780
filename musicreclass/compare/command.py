"""`musicreclass compare`: read runs, make tables, show and write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.console import Console, Group

from musicreclass.compare.runs import find_runs, read_runs
from musicreclass.compare.tables import Table, tables_of
from musicreclass.compare.terminal import not_ranked, shown
from musicreclass.compare.text import as_csv, as_markdown
from musicreclass.compare.wording import printable
from musicreclass.errors import UserError
from musicreclass.files import write_text
from musicreclass.options import Options


def as_page(tables: list[Table]) -> str:
    """A page for browsers."""
    from musicreclass.compare.page import page

    return page(tables)


FORMATS: dict[str, Callable[[list[Table]], str]] = {".csv": as_csv, ".md": as_markdown, ".html": as_page}


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
    entries, left_out = read_runs([run for place in args.runs for run in find_runs(place)])
    if not entries:
        named = "".join(f"; {printable(line)}" for line in left_out[:3])
        raise UserError(f"no finished runs under {', '.join(map(str, args.runs))}; train one first{named}")
    tables = tables_of(entries, args.each)
    Console(highlight=False).print(Group(*(part for table in tables for part in shown(table)), *not_ranked(tables)))
    for line in left_out:
        print(f"left out: {printable(line)}")
    for file in args.output:
        try:
            write_text(file, FORMATS[file.suffix](tables))
        except OSError as error:
            raise UserError(f"--output {file}: cannot be written ({error.strerror})") from error
    return 0
