"""The reference of the command line: a Markdown page from the parsers of the tasks."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import NoReturn
from unittest.mock import patch

from musicreclass.cli import main as cli
from musicreclass.cli.options import Options
from musicreclass.config import hydra_adapter
from musicreclass.config.settings.tasks import TASK_SETTINGS
from tools.site.configuration import prose

INTRODUCTION = """# Command line

This page is generated from the parsers. `musicreclass TASK --help` prints the same.

```
"""
HEAD = "| argument | |\n| --- | --- |\n"
REJECTED = {"--config-name", "--config-path", "--experimental-rerun"}  # by cli/hydra_options.py
ENDING = """## Exit codes and variables

| exit code | |
| --- | --- |
| 0 | success |
| 1 | a run failed |
| 2 | invalid arguments, configuration or data |
| 129, 130, 143 | ended by a closed terminal, Ctrl-C or SIGTERM |

| variable | |
| --- | --- |
| `MUSICRECLASS_DATA` | folder that contains the datasets, such as `GTZAN/` and `FMA/` |
| `MUSICRECLASS_MODELS` | folder of pretrained weights |
| `MUSICRECLASS_CACHE` | folder of expensive results |
| `MUSICRECLASS_DEBUG` | `1` shows the traceback of an error |
"""


class ParserFound(Exception):
    """Carries the parser of a task out of the task."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def parser_of(task: str) -> argparse.ArgumentParser:
    """The parser of a task that takes paths and options, without running the task.

    Raises:
        LookupError: if the task does not parse its arguments.
    """

    def stop(parser: Options, *arguments: object, **options: object) -> NoReturn:
        raise ParserFound(parser)

    module = import_module(f"musicreclass.cli.{cli.MODULES.get(task, task)}")
    with patch.object(Options, "parse_known_args", stop):
        try:
            module.main([])
        except ParserFound as caught:
            return caught.parser
    raise LookupError(task)


def command_line_page() -> str:
    """The page, as Markdown."""
    hydra = [action for action in hydra_adapter.arguments_parser()._actions if is_supported(action)]
    flags = f"## Flags of train, prepare and analyze\n\n{HEAD}{''.join(map(option_row, hydra))}\n"
    return "".join([INTRODUCTION, cli.HELP, "```\n\n", *map(task_section, cli.TASKS), flags, ENDING])


def is_supported(action: argparse.Action) -> bool:
    """Whether an argument of Hydra is an option that the tasks accept."""
    return bool(action.option_strings) and not REJECTED.intersection(action.option_strings)


def task_section(task: str) -> str:
    """The section of a task."""
    if task in TASK_SETTINGS:
        usage = f"musicreclass {task} [GROUP=OPTION ...] [KEY=VALUE ...]{' [-m]' if task == 'train' else ''}"
        return f"## {task}\n\nTakes overrides of the [configuration](configuration.md).\n\n```\n{usage}\n```\n\n"
    parser = parser_of(task)
    with patch.dict("os.environ", {"COLUMNS": "100"}):
        usage = parser.format_usage().removeprefix("usage: ").rstrip()
    rows = "".join(map(option_row, parser._actions))
    return f"## {task}\n\n{parser.description or ''}\n\n```\n{usage}\n```\n\n{HEAD}{rows}\n"


def option_row(action: argparse.Action) -> str:
    """The line of an option or argument."""
    names = ", ".join(f"`{name}`" for name in action.option_strings) or f"`{action.metavar or action.dest}`"
    values = f" `{'|'.join(map(str, action.choices))}`" if action.choices else ""
    if not values and action.option_strings and action.nargs != 0:
        values = f" `{action.metavar or action.dest.upper()}`"
    cells = f"{names}{values}".replace("|", "\\|")
    about = str(action.help or "").partition("\n")[0].replace("%%", "%").replace("%(prog)s", "musicreclass")
    return f"| {cells} | {prose(about)} |\n"
