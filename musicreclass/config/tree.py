"""The folders of configuration: their groups and options, and how a job's configuration is composed from them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from musicreclass.config import hydra_adapter
from musicreclass.config.class_maps import FOLDER as CLASS_MAPS
from musicreclass.config.class_maps import located_class_maps
from musicreclass.config.locations import CONF
from musicreclass.config.messages import one_line
from musicreclass.errors import ConfigError, Problem

TAGGERS = "tagger"  # folder of the taggers that predict takes in place of a run
NO_GROUPS = (".", CLASS_MAPS, TAGGERS)  # folders of files that are no options of Hydra


class Tree:
    """The conf/ folders in order of precedence: the user's --config-dir, then this project's.

    Args:
        config_dir: the user's configuration folder, or None.

    Raises:
        ConfigError: if config_dir is not a folder.
    """

    def __init__(self, config_dir: str | None = None) -> None:
        config_dir = None if config_dir is None else os.path.expanduser(config_dir)
        if config_dir is not None and not Path(config_dir).is_dir():
            message = f"--config-dir {config_dir}: there is no such folder"
            raise ConfigError([Problem(message, "missing_folder", "--config-dir", config_dir)])
        self.roots = [Path(config_dir).resolve()] if config_dir else []
        self.roots.append(CONF)

    @cached_property
    def groups(self) -> dict[str, list[str]]:
        """Every group with its options, both sorted."""
        groups: dict[str, set[str]] = {}
        for root in self.roots:
            for file in root.rglob("*.yaml"):
                group = file.parent.relative_to(root).as_posix()
                is_base = file.stem.startswith("_")  # shared bases of the other options
                if group not in NO_GROUPS and not is_base and file.is_file():
                    groups.setdefault(group, set()).add(file.stem)
        return {group: sorted(options) for group, options in sorted(groups.items())}

    @cached_property
    def loader(self) -> Any:
        """Hydra's loader over these folders."""
        return hydra_adapter.config_loader(CONF, self.roots[:-1])

    def compose(self, task: str, overrides: list[str]) -> DictConfig:
        """The configuration of one job, Hydra's node included."""
        return hydra_adapter.compose_job(self.loader, task, overrides)

    def read(self, name: str) -> dict[str, Any]:
        """A file of configuration as it is written, interpolations as text; empty if there is none.

        Args:
            name: a task, or `GROUP/OPTION`.

        Raises:
            ConfigError: if the file cannot be read.
        """
        file = next((f for root in self.roots if (f := root / f"{name}.yaml").is_file()), None)
        if file is None:
            return {}
        try:
            config = OmegaConf.to_container(OmegaConf.load(file))
        except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
            reason = one_line(error)
            message = reason if reason.startswith(f"{file}, line ") else f"{file}: cannot be read: {reason}"
            raise ConfigError([Problem(message, "unreadable", str(file))]) from error
        return {str(key): value for key, value in config.items()} if isinstance(config, dict) else {}

    def names(self, folder: str) -> list[str]:
        """The names of the files in a folder that is no group, sorted."""
        return sorted({file.stem for root in self.roots for file in (root / folder).glob("*.yaml") if file.is_file()})

    def read_with_bases(self, group: str, option: str) -> dict[str, Any]:
        """The settings in the file of an option and in the options of the same group that its defaults list names, such as `_audio`."""
        settings: dict[str, Any] = {}
        file = self.read(f"{group}/{option}")
        defaults = file.get("defaults") or []
        for base in [entry for entry in defaults if isinstance(entry, str) and entry not in ("_self_", option)]:
            settings |= self.read_with_bases(group, base)
        return {**settings, **file}

    def _defaults(self, name: str) -> list[tuple[str, Any]]:
        """The groups with their options in the defaults list of a file."""
        entries = self.read(name).get("defaults") or []
        return [(str(group), option) for entry in entries if isinstance(entry, dict) for group, option in entry.items()]

    def chosen_by(self, group: str, option: str) -> dict[str, str]:
        """The options of the task's other groups that an overlay's file chooses, such as an experiment's."""
        defaults = self._defaults(f"{group}/{option}")
        chosen = {key.removeprefix("override").strip().lstrip("/"): str(value) for key, value in defaults}
        return {key: value for key, value in chosen.items() if not key.startswith("hydra/")}

    def groups_of(self, task: str) -> set[str]:
        """The groups in the defaults list of a task's own file."""
        return {group.split()[-1] for group, _ in self._defaults(task)}

    def options_with(self, group: str, key: str, value: str) -> list[str]:
        """The options of a group with a file that sets `key` to `value` or to a list that contains it.

        Files that cannot be read are left out: they are reported when they are chosen.
        """
        options = []
        for option in self.groups.get(group, []):
            with suppress(ConfigError):
                setting = self.read(f"{group}/{option}").get(key)
                if setting == value or (isinstance(setting, list) and value in setting):
                    options.append(option)
        return options


def with_choices(cfg: DictConfig, choices: dict[str, str | None], roots: Sequence[Path]) -> DictConfig:
    """The task's part of a configuration, with the names of the options that were chosen under `choices`.

    Args:
        cfg: composed.
        choices: the chosen option of each group.
        roots: the configuration folders; class maps of the user's are named by their paths from now on.
    """
    plain = OmegaConf.create({k: hydra_adapter.child(cfg, str(k)) for k in cfg if k != "hydra"})
    named = {
        group: option
        for group, option in choices.items()
        if option and not group.startswith("hydra") and "@" not in group  # the name of a join has those of its parts
    }
    plain["choices"] = dict(sorted(named.items()))
    for key, path in located_class_maps(plain, roots)[0].items():
        OmegaConf.update(plain, key, path)
    return plain


def leaves(cfg: DictConfig, prefix: str = "") -> list[tuple[str, Any]]:
    """Every value of a configuration with its dotted key; Hydra's node is left out, lists are values."""
    values: list[tuple[str, Any]] = []
    for name in map(str, cfg):
        if not prefix and name == "hydra":
            continue
        node = hydra_adapter.child(cfg, name)
        if hydra_adapter.is_plain_dict(node):
            values += leaves(node, f"{prefix}{name}.")
        else:
            values.append((f"{prefix}{name}", node))
    return values
