"""Arguments, check and help of the tasks that take Hydra overrides: train, prepare, analyze."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from musicreclass.cli.terminal import say, two_columns
from musicreclass.config import hydra_adapter
from musicreclass.config.check import Check
from musicreclass.config.joined import is_join, join_lists
from musicreclass.config.locations import CONF
from musicreclass.config.messages import SYNONYMS, nearest, one_line
from musicreclass.config.parse import find_field
from musicreclass.config.settings.tasks import TASK_SETTINGS
from musicreclass.config.tree import Tree, leaves
from musicreclass.errors import ConfigError, Problem

Job = Callable[[DictConfig], Any]
HINTS = {
    "features": "; features=[fma518,musicnn] joins several",
    "data": "; data=[gtzan,fma_audio] combines several",
}
GROUP_COLUMN, SETTING_COLUMN = 18, 32  # of the text beside a group or setting in the help


def checked(task: str, arguments: list[str], job: Job) -> tuple[argparse.Namespace, Check | None]:
    """The arguments of a task, and the check of its configuration.

    Args:
        task: names the primary file of conf/.
        arguments: what follows the name of the task.
        job: what Hydra would run, for its flags that only print something.

    Returns:
        the arguments, and the check; None instead of it if only information was requested, which was printed.

    Raises:
        ConfigError: with every problem of the configuration.
    """
    args = parse_arguments(task, arguments)
    tree = Tree(args.config_dir)
    if args.info or args.hydra_help or args.shell_completion:
        try:
            hydra_adapter.run_job(CONF, task, args, job)
        except ValueError as error:  # of what follows --shell-completion
            raise ConfigError([Problem(f"{task}: {one_line(error)}", "invalid_arguments", task)]) from error
        return args, None
    check = Check(tree, task, args.overrides, args.multirun)
    informs = args.help or args.cfg is not None
    problems = [p for p in check.problems() if not (informs and p.kind == "missing_value")]
    if problems:
        raise ConfigError(problems)
    if args.package and OmegaConf.select(check.first, args.package, throw_on_missing=False) is None:  # type: ignore[arg-type]
        raise ConfigError([Problem(f"--package {args.package}: no such key", "unknown_key", args.package)])
    if args.help:
        say(task_help(task, tree, args.overrides).rstrip("\n"))
        return args, None
    return args, check


def parse_arguments(task: str, arguments: list[str]) -> argparse.Namespace:
    """Hydra's own flags and the overrides, from the arguments of a task.

    Raises:
        ConfigError: for a flag that does not exist, or one without its value.
    """
    parser = hydra_adapter.arguments_parser()
    flags = [option for action in parser._actions for option in action.option_strings]

    def error(message: str) -> None:
        unknown = re.search(r"unrecognized arguments: (\S+)", message)
        override = as_override(task, unknown[1], arguments) if unknown else ""
        near = f"did you mean {override}?" if override else nearest(unknown[1], set(flags)) if unknown else ""
        text = f"{task}: {message}" + (f"; {near}" if near else "")
        raise ConfigError([Problem(text, "invalid_arguments", task, suggestion=override)])

    parser.error = error  # type: ignore[method-assign, assignment]
    args = parser.parse_intermixed_args(arguments)
    args.overrides = [join_lists(text) for text in args.overrides]
    for flag, value in (("--config-name", args.config_name), ("--config-path", args.config_path)):
        if value is not None:
            message = f"{task}: {flag} is not supported; --config-dir DIR adds a folder of your own"
            raise ConfigError([Problem(message, "invalid_arguments", flag)])
    for flag, value in (("--resolve", args.resolve or None), ("--package", args.package)):
        if value is not None and args.cfg is None:
            raise ConfigError([Problem(f"{task}: {flag} requires --cfg job", "invalid_arguments", flag)])
    if args.experimental_rerun is not None:
        message = f"{task}: --experimental-rerun is not supported; run the same command again"
        raise ConfigError([Problem(message, "invalid_arguments", "--experimental-rerun")])
    return args


def as_override(task: str, flag: str, arguments: list[str]) -> str:
    """A flag that does not exist as the override that it may stand for: `--data gtzan` as `data=gtzan`; empty if it is none."""
    name, equals, value = flag.lstrip("-").partition("=")
    key = SYNONYMS.get(name.replace("-", "_"), (name.replace("-", "_"), ""))[0]
    if key.split(".")[0].split("/")[0] not in {*TASK_SETTINGS[task].model_fields, *Tree(None).groups_of(task)}:
        return ""
    if not equals:
        following = arguments[arguments.index(flag) + 1 :] if flag in arguments else []
        value = following[0] if following and not following[0].startswith("-") and "=" not in following[0] else "VALUE"
    return f"{key}={value}"


def task_help(task: str, tree: Tree, overrides: list[str]) -> str:
    """The help of a task: its groups with their options, the settings of the chosen ones, Hydra's flags."""
    cfg = tree.compose(task, overrides)
    lines = [f"musicreclass {task} [GROUP=OPTION ...] [KEY=VALUE ...] [-m]", "", "Groups (GROUP=OPTION):"]
    choices = cfg.hydra.runtime.choices
    for group, options in tree.groups.items():
        marked = [f"[{o}]" if choices.get(group) == o else o for o in options]
        chosen = choices.get(group)
        joined = f" [{chosen}]" if chosen and is_join(group, chosen) else ""
        lines += two_columns(group, f"{' '.join(marked)}{joined}{HINTS.get(group, '')}", GROUP_COLUMN)
    lines += ["", "Settings (KEY=VALUE) of the chosen options; GROUP=OPTION --help shows others:"]
    config: Any = OmegaConf.to_container(cfg)
    for key, node in leaves(cfg):
        value = hydra_adapter.raw_value(node) if not OmegaConf.is_config(node) else OmegaConf.to_container(node)
        field = find_field(task, config, key)
        description = field.description if field is not None else None
        lines += two_columns(f"{key}={shown(value)}", description or "", SETTING_COLUMN)
    lines += [
        "",
        "Hydra's flags:",
        "  -m, --multirun     sweep: model=mlp,xgboost seed=1,2,3",
        "  --cfg job          print the configuration; --resolve resolves interpolations",
        "  --config-dir DIR   your own configuration folder; its files take precedence",
        "  --info, --hydra-help, --shell-completion",
    ]
    return "\n".join(lines) + "\n"


def shown(value: Any) -> str:
    """A value as it is written in an override."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"[{','.join(map(str, value))}]" if isinstance(value, list) else str(value)
