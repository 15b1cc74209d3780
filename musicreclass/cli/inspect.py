"""`musicreclass inspect`: describe a checkpoint or a run folder."""

from __future__ import annotations

import textwrap

from rich.table import Table
from rich.text import Text

from musicreclass.cli.options import Options, user_path
from musicreclass.cli.terminal import say, show
from musicreclass.output import SafeConsole
from musicreclass.tasks.inspect import Inspection, inspect_file, inspect_run


def main(arguments: list[str]) -> int:
    """`musicreclass inspect PATH`."""
    parser = Options(
        "musicreclass inspect",
        description="Show what a checkpoint or a run folder contains, and how it can be used.",
    )
    parser.add_argument(
        "path", type=user_path, metavar="PATH", help="a .pth, .pt, .ckpt or .safetensors file, or a run folder"
    )
    path = parser.parse_args(arguments).path
    for inspection in inspect_run(path) if path.is_dir() else [inspect_file(path)]:
        print_inspection(inspection)
    return 0


def print_inspection(inspection: Inspection) -> None:
    """Print properties, modules and uses, in this order."""
    width = max(len(name) for name, _ in inspection.properties)
    columns = SafeConsole().width
    for name, value in inspection.properties:
        lines = textwrap.wrap(value, columns - width - 2, break_long_words=False, break_on_hyphens=False) or [""]
        say(f"\n{'':<{width}}  ".join([f"{name:<{width}}  {lines[0]}", *lines[1:]]))
    if inspection.modules:
        show(module_table(inspection.modules))
    for line in inspection.uses:
        say(line)


def module_table(modules: list[tuple[str, str, str, str, str]]) -> Table:
    """The tensors of a checkpoint, a row per module and one for all."""
    table = Table("module", "tensors", "shapes", "values", "size", box=None, header_style="bold")
    table.columns[0].overflow, table.columns[0].no_wrap = "fold", True
    for column in (1, 3, 4):
        table.columns[column].justify = "right"
    *rows, total = modules
    for name, *cells in rows:
        table.add_row(Text(name), *cells)
    table.add_row(*total, style="bold")
    return table
