"""`musicreclass compare`: find runs, print comparison tables and write them to files. Heavy imports wait until runs are found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from musicreclass.cli.options import Options, user_path
from musicreclass.cli.output_file import write_output
from musicreclass.cli.terminal import say, show
from musicreclass.errors import UserError
from musicreclass.runs.find import find_runs
from musicreclass.storage.atomic import write_text

if TYPE_CHECKING:
    from musicreclass.comparison.tables import Table

FIGURES = (".png", ".pdf", ".svg")
FORMATS = (".csv", ".md", ".tex", ".html", *FIGURES)
PRINT_DPI = 300


def main(arguments: list[str]) -> int:
    """`musicreclass compare RUN_OR_DIR ... [--each] [--output FILE]`."""
    parser = Options(
        "musicreclass compare",
        description="Compare runs on the same tracks, ranked by validation. Seeds of one configuration share a row.",
    )
    parser.add_argument(
        "runs",
        nargs="+",
        type=user_path,
        metavar="RUN_OR_DIR",
        help="a run folder, or a folder that contains run folders",
    )
    parser.add_argument("--each", action="store_true", help="one row per run: do not join seeds or pool folds")
    parser.add_argument(
        "--output",
        type=user_path,
        action="append",
        default=[],
        metavar="FILE",
        help="also write a .csv, .md, .tex or .html file, or a figure as .png, .pdf or .svg: scores, or accuracy by the layers of an encoder",
    )
    args = parser.parse_args(arguments)
    for file in args.output:
        if file.suffix not in FORMATS:
            raise UserError(
                f"--output {file}: unknown format; use one of {', '.join(FORMATS)}",
                "unknown_format",
                "--output",
                str(file),
            )
    for path in args.runs:
        find_runs(path)  # a wrong path is reported before anything heavy is imported

    from musicreclass.comparison.render.terminal import render_tables
    from musicreclass.tasks.compare import compare

    tables, skipped = compare(args.runs, args.each)
    show(render_tables(tables))
    for line in skipped:
        say(f"skipped: {line}")
    for file in args.output:
        write_output(file, lambda path: write_tables(tables, path))
    return 0


def write_tables(tables: list[Table], file: Path) -> None:
    """Write tables as a page, a table or a figure, by the suffix of the file."""
    if file.suffix in FIGURES:
        write_figure(tables, file)
    else:
        write_text(file, format_tables(tables, file.suffix))


def write_figure(tables: list[Table], file: Path) -> None:
    """Write the figure of accuracy by layer if runs differ in nothing but the layer, and otherwise that of all scores."""
    from musicreclass.comparison.render.layer_figure import layer_figure
    from musicreclass.comparison.render.score_figure import score_figure
    from musicreclass.report.figures import save_figure

    save_figure(layer_figure(tables) or score_figure(tables), file, PRINT_DPI)


def format_tables(tables: list[Table], suffix: str) -> str:
    """Tables as CSV, Markdown, LaTeX or HTML, by the suffix of a file."""
    if suffix == ".html":
        from musicreclass.comparison.render.page import render_page

        return render_page(tables)
    if suffix == ".tex":
        from musicreclass.comparison.render.latex import as_latex

        return as_latex(tables)
    from musicreclass.comparison.render.text import as_csv, as_markdown

    return as_csv(tables) if suffix == ".csv" else as_markdown(tables)
