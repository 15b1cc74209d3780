"""The configuration: where it lies, how it is composed, how a task's arguments and its help follow from it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from musicreclass.config import hydra_adapter
from musicreclass.config.locations import CONF
from musicreclass.errors import ConfigError


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
    def loader(self) -> Any:
        """Hydra's loader over these folders."""
        return hydra_adapter.config_loader(CONF, self.roots[:-1])

    def compose(self, task: str, overrides: list[str]) -> DictConfig:
        """The configuration of one job, hydra's own node included."""
        return hydra_adapter.compose(self.loader, task, overrides)

    def _file(self, name: str) -> Path | None:
        return next((f for root in self.roots if (f := root / f"{name}.yaml").is_file()), None)

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
    plain = OmegaConf.create({k: hydra_adapter.child(cfg, str(k)) for k in cfg if k != "hydra"})
    named = {group: option for group, option in choices.items() if option and not group.startswith("hydra")}
    plain["choices"] = dict(sorted(named.items()))
    return plain


def leaves(cfg: DictConfig, prefix: str = "") -> list[tuple[str, Any]]:
    """Every value of a configuration with its dotted key; Hydra's node is left out, lists are values."""
    found: list[tuple[str, Any]] = []
    for name in map(str, cfg):
        if not prefix and name == "hydra":
            continue
        node = hydra_adapter.child(cfg, name)
        if hydra_adapter.is_plain_dict(node):
            found += leaves(node, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", node))
    return found
