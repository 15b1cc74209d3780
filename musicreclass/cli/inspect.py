"""`musicreclass inspect`: show what a checkpoint or a run folder holds."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from musicreclass.cli.options import Options
from musicreclass.tasks.inspect import inspect_file, inspect_run


def main(arguments: list[str]) -> int:
    """`musicreclass inspect PATH`."""
    parser = Options(
        "musicreclass inspect",
        description="Show what a checkpoint or a run folder holds, and what can be done with it.",
    )
    parser.add_argument(
        "path", type=Path, metavar="PATH", help="a .pth, .pt, .ckpt or .safetensors file, or a run folder"
    )
    path = parser.parse_args(arguments).path.expanduser()
    console = Console(highlight=False, markup=False)
    if path.is_dir():
        inspect_run(path, console)
    else:
        inspect_file(path, console)
    return 0
