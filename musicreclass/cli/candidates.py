"""What the last word of a command line may be completed to. Imports nothing heavy."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stderr, redirect_stdout, suppress
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

HYDRA_TASKS = ("train", "prepare", "analyze")
FILES = re.compile(
    r"(^|\.|_)(root|path|checkpoint|run_dir|corrections|output|table|cache)="
)  # keys of files and folders


def candidates(line: str) -> list[str]:
    """The completions of the last word of a command line, which starts with the program; a blank at the end starts a new word."""
    from musicreclass.cli.main import TASKS

    *complete, current = split_line(line)
    if len(complete) <= 1:
        return matching([*TASKS, "--help", "--version"], current)
    task, arguments = complete[1], complete[2:]
    if task not in TASKS:
        return []
    if task in HYDRA_TASKS and current.startswith("-"):
        from musicreclass.config.hydra_adapter import arguments_parser

        return matching([name for action in arguments_parser()._actions for name in action.option_strings], current)
    if task in HYDRA_TASKS or (task == "evaluate" and "=" in current):
        return overrides("train" if task == "evaluate" else task, arguments, current)
    return options(task, arguments, current)


def split_line(line: str) -> list[str]:
    """The words of a command line from the program on, without quoting; the last one is empty after a blank."""
    program = re.search(r"(?:^|(?<=[\s/]))musicreclass(?=\s)", line)  # after `time`, or after assignments
    text = line[program.start() :] if program else line.lstrip()
    return [re.sub(r"\\(.)|[\"']", r"\1", word) for word in re.split(r"(?<!\\)\s+", text)]


def matching(names: list[str], start: str) -> list[str]:
    """The names that begin with a text, without duplicates."""
    return [name for name in dict.fromkeys(names) if name.startswith(start)]


def options(task: str, arguments: list[str], current: str) -> list[str]:
    """Options of a task and their choices, from its help."""
    text = help_of(task)
    if arguments and (choices := re.search(rf"{re.escape(arguments[-1])} {{([^}}]*)}}", text)):
        return matching(choices[1].split(","), current)
    if current.startswith("-"):
        return matching(re.findall(r"(?<![\w-])--[a-z][\w-]*", text), current)
    first = re.search(r"^ +{([^}]*)}", text, re.MULTILINE)  # choices of a positional argument
    return matching(first[1].split(","), current) if first and not arguments else []


def help_of(task: str) -> str:
    """What `musicreclass TASK --help` prints."""
    from musicreclass.cli.main import MODULES

    output = io.StringIO()
    with redirect_stdout(output), redirect_stderr(output), suppress(SystemExit):
        import_module(f"musicreclass.cli.{MODULES.get(task, task)}").main(["--help"])
    return output.getvalue()


def overrides(task: str, arguments: list[str], current: str) -> list[str]:
    """Groups, settings, and after `=` their options or values; the last item of a list or sweep such as `model=mlp,xg`."""
    from musicreclass.config.tree import Tree

    config_dir = None
    for flag, value in pairwise(arguments):
        if flag in ("--config-dir", "-cd"):
            config_dir = value
    if arguments and arguments[-1] in ("--config-dir", "-cd"):
        return []  # the shell completes folders
    tree = Tree(config_dir if config_dir and Path(config_dir).is_dir() else None)
    if "=" not in current:
        return keys(tree, task, chosen(arguments), current)
    head = re.match(r"[^=]*=(.*[,\[])?", current)
    assert head
    key, partial = current.partition("=")[0], current[head.end() :]
    if FILES.search(f"{key}="):
        return [head[0] + path for path in files(partial)]
    values = tree.groups.get(key.lstrip("+"), []) or values_of(tree, task, chosen(arguments), key.lstrip("+"))
    return [head[0] + value for value in matching(values, partial)]


def chosen(arguments: list[str]) -> list[str]:
    """The overrides among some arguments that a single job can be composed with: of a sweep, the first value."""
    single = [re.sub(r"^([\w/]+)=([\w.]+),.*$", r"\1=\2", argument) for argument in arguments]
    return [argument for argument in single if "=" in argument and not argument.startswith("-")]


def keys(tree: Any, task: str, arguments: list[str], current: str) -> list[str]:
    """Groups and settings, up to their next dot."""
    from musicreclass.config.tree import leaves

    names = [f"{group}=" for group in tree.groups]
    with suppress(Exception):  # of overrides that cannot be composed
        names += [f"{key}=" for key, _ in leaves(tree.compose(task, arguments))]
    sign = "+" if current.startswith("+") else ""
    start = current.removeprefix(sign)
    ends = [re.match(rf"{re.escape(start)}[^.]*\.?", name) for name in matching(names, start)]
    return sorted({sign + end[0] for end in ends if end})


def values_of(tree: Any, task: str, arguments: list[str], key: str) -> list[str]:
    """The choices of a setting, or its value."""
    from omegaconf import OmegaConf

    from musicreclass.cli.hydra_options import shown
    from musicreclass.config.parse import find_field

    with suppress(Exception):  # as above
        composed = tree.compose(task, arguments)
        value = OmegaConf.select(composed, key)
        config: Any = OmegaConf.to_container(composed)
        field = find_field(task, config, key)
        choices = literals(field.annotation) if field is not None else []
        if isinstance(value, bool):
            choices = ["true", "false"]
        return choices or ([] if value is None else [shown(value)])
    return []


def literals(annotation: Any) -> list[str]:
    """The strings in an annotation such as `Literal["a", "b"] | None`."""
    return [text for part in get_args(annotation) for text in ([part] if isinstance(part, str) else literals(part))]


def files(start: str) -> list[str]:
    """Files and folders that begin with a text; folders end with a slash."""
    folder, name = start.rpartition("/")[0], start.rpartition("/")[2]
    parent = Path(folder or ("/" if start.startswith("/") else ".")).expanduser()
    prefix = start[: len(start) - len(name)]
    with suppress(OSError):
        entries = sorted(path for path in parent.iterdir() if path.name.startswith(name))
        hidden = name.startswith(".")
        return [prefix + path.name + "/" * path.is_dir() for path in entries if hidden or not path.name.startswith(".")]
    return []
