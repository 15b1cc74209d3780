"""The configuration: where it lies, how it is composed, how a task's arguments and its help follow from it."""

from __future__ import annotations

import argparse
import difflib
import re
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from musicreclass.errors import ConfigError

PACKAGE = Path(__file__).parent
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"  # in a wheel, in a checkout


class Tree:
    """The conf/ folders in order of precedence: the user's --config-dir, then this project's.

    Args:
        config_dir: the user's own folder of configuration, or None.

    Raises:
        ConfigError: if config_dir is not a folder.
    """

    def __init__(self, config_dir: str | None = None) -> None:
        if config_dir is not None and not Path(config_dir).is_dir():
            raise ConfigError([f"--config-dir {config_dir}: there is no such folder"])
        self.roots = [Path(config_dir).resolve()] if config_dir else []
        self.roots.append(CONF)

    @cached_property
    def groups(self) -> dict[str, list[str]]:
        """Every group with its options, both sorted."""
        found: dict[str, set[str]] = {}
        for root in self.roots:
            for file in root.rglob("*.yaml"):
                folder = file.parent.relative_to(root).as_posix()
                if folder != "." and not file.stem.startswith("_"):  # those are what others of the group begin with
                    found.setdefault(folder, set()).add(file.stem)
        return {group: sorted(options) for group, options in sorted(found.items())}

    @cached_property
    def loader(self) -> ConfigLoaderImpl:
        """Hydra's own loader over these folders, as `hydra.main` would make it."""
        setup_globals()
        path = create_config_search_path(str(CONF))
        for root in self.roots[:-1]:
            path.prepend("command-line", f"file://{root}", anchor=SearchPathQuery(provider="schema"))
        return ConfigLoaderImpl(config_search_path=path)

    def compose(self, task: str, overrides: list[str]) -> DictConfig:
        """The configuration of one job, hydra's own node included."""
        return self.loader.load_configuration(task, overrides, run_mode=RunMode.RUN)

    def comments(self, task: str, choices: dict[str, str]) -> dict[str, str]:
        """What the chosen files say of their keys at the end of a line, by dotted key."""
        found = {}
        files = [(task, "")]
        for group, option in choices.items():
            files += [(f"{group}/{name}", group.replace("/", ".")) for name in self._with_bases(group, option)]
        for name, prefix in files:
            file = self._file(name)
            parent = ""
            for line in file.read_text(encoding="utf-8").splitlines() if file else []:
                said = re.match(r"(\s*)(\w+):(?:\s[^#]*)?(?:#\s(.+))?$", line)
                if said:
                    parent = parent if said[1] else said[2]
                    key = f"{parent}.{said[2]}" if said[1] else said[2]
                    found[f"{prefix}.{key}".strip(".")] = said[3]
        return found

    def _file(self, name: str) -> Path | None:
        return next((f for root in self.roots if (f := root / f"{name}.yaml").is_file()), None)

    def _with_bases(self, group: str, option: str) -> list[str]:
        """An option of a group, after those of the same group that its file begins with."""
        file = self._file(f"{group}/{option}")
        begun: Any = (OmegaConf.select(OmegaConf.load(file), "defaults") or []) if file else []
        bases = [
            base
            for name in begun
            if isinstance(name, str) and name != "_self_"
            for base in self._with_bases(group, name)
        ]
        return [*bases, option]

    def chosen_by(self, group: str, option: str) -> dict[str, str]:
        """The options of the task's other groups that an overlay's file chooses, such as an experiment's."""
        file = self._file(f"{group}/{option}")
        begun: Any = (OmegaConf.select(OmegaConf.load(file), "defaults") or []) if file else []
        lines = [(str(key), value) for entry in begun if OmegaConf.is_dict(entry) for key, value in entry.items()]
        chosen = {key.removeprefix("override").strip().lstrip("/"): str(value) for key, value in lines}
        return {key: value for key, value in chosen.items() if not key.startswith("hydra/")}

    def groups_of(self, task: str) -> set[str]:
        """The groups that a task's own file begins with."""
        file = self._file(task)
        begun: Any = OmegaConf.select(OmegaConf.load(file), "defaults") if file else []
        return {str(name).split()[-1] for entry in begun if OmegaConf.is_dict(entry) for name in entry}

    def options_reading(self, group: str, key: str, value: str) -> list[str]:
        """The options of a group whose file sets `key` to `value` or to a list that holds it."""
        hits = []
        for option in self.groups.get(group, []):
            file = self._file(f"{group}/{option}")
            assert file is not None
            setting = OmegaConf.select(OmegaConf.load(file), key)
            if setting == value or (OmegaConf.is_list(setting) and value in setting):
                hits.append(option)
        return hits


def with_choices(cfg: DictConfig, choices: dict[str, str | None]) -> DictConfig:
    """The task's part of a configuration, with the names of the options that were chosen under `choices`."""
    plain = OmegaConf.create({k: cfg._get_node(k) for k in cfg if k != "hydra"})
    named = {group: option for group, option in choices.items() if option and not group.startswith("hydra")}
    plain["choices"] = dict(sorted(named.items()))
    return plain


def nearest(name: str, names: list[str] | set[str]) -> str:
    """A clause naming the nearest valid name, or the valid names where none is near and they are few."""
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]}?"
    known = sorted(names)
    return "there is " + ", ".join(known) if 0 < len(known) <= 12 else "--help lists them"


def one_line(error: BaseException) -> str:
    """What a Hydra, OmegaConf or YAML error says, on one line."""
    cause = error.__cause__ if isinstance(error.__cause__, (OmegaConfBaseException, YAMLError)) else None
    text = str(cause or error) or type(error).__name__
    text = re.sub(r"See https?://\S+.*", "", text)
    lines = [
        line.strip()
        for line in text.splitlines()
        if line.strip() and not line.strip().startswith(("full_key", "object_type"))
    ]
    return " ".join(lines)


def leaves(cfg: DictConfig, prefix: str = "") -> list[tuple[str, Any]]:
    """Every value of a configuration with its dotted key; Hydra's node is left out, lists are values."""
    found: list[tuple[str, Any]] = []
    for name in map(str, cfg):
        if not prefix and name == "hydra":
            continue
        node = cfg._get_node(name)
        if isinstance(node, DictConfig) and not (node._is_none() or node._is_missing() or node._is_interpolation()):
            found += leaves(node, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", node))
    return found


def parse_arguments(task: str, arguments: list[str]) -> argparse.Namespace:
    """Hydra's own flags and the overrides, from a task's arguments.

    Raises:
        ConfigError: for a flag that does not exist, or one without its value.
    """
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()
    flags = [option for action in parser._actions for option in action.option_strings]

    def refuse(message: str) -> None:
        unknown = re.search(r"unrecognized arguments: (\S+)", message)
        hint = f"; {nearest(unknown[1], set(flags))}" if unknown else ""
        raise ConfigError([f"{task}: {message}{hint}"])

    parser.error = refuse  # type: ignore[method-assign, assignment]
    args = parser.parse_intermixed_args(arguments)
    for flag, value in (("--config-name", args.config_name), ("--config-path", args.config_path)):
        if value is not None:
            raise ConfigError(
                [f"{task}: {flag}: the task's own file is fixed; --config-dir DIR adds a folder of yours"]
            )
    if args.resolve and args.cfg is None:
        raise ConfigError([f"{task}: --resolve goes with --cfg job"])
    return args


def task_help(task: str, tree: Tree, overrides: list[str]) -> str:
    """What a task can be told: its groups with their options, the settings of the chosen ones, Hydra's flags."""
    cfg = tree.compose(task, overrides)
    lines = [f"musicreclass {task} [GROUP=OPTION ...] [KEY=VALUE ...] [-m]", "", "Groups (GROUP=OPTION):"]
    chosen = cfg.hydra.runtime.choices
    for group, options in tree.groups.items():
        marked = [f"[{o}]" if chosen.get(group) == o else o for o in options]
        lines.append(f"  {group:<16}{' '.join(marked)}")
    lines += ["", "Settings (KEY=VALUE) of the options chosen here; name others to see theirs:"]
    said = tree.comments(task, {g: o for g, o in chosen.items() if o and g in tree.groups})
    for key, node in leaves(cfg):
        value = node._value() if not OmegaConf.is_config(node) else OmegaConf.to_container(node)
        setting = f"  {key}={'null' if value is None else value}"
        comment = said.get(key)
        lines.append(f"{setting:<44}  {comment}" if comment else setting)
    lines += [
        "",
        "Hydra's flags:",
        "  -m, --multirun     sweep: model=mlp,xgboost seed=1,2,3",
        "  --cfg job          print the configuration and stop; --resolve fills in interpolations",
        "  --config-dir DIR   your own folder of groups and experiments, looked at first",
        "  --info, --hydra-help, --shell-completion",
    ]
    return "\n".join(lines) + "\n"
