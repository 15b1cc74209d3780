"""Which keys may be set, given the chosen options, and what their values may be.

A key is allowed if the chosen YAML files set it, or if the class that the `_target_` beside it names takes it.
"""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from musicreclass.config import hydra_adapter
from musicreclass.config.fields import NAMES, field_type, value_problem, wrong_value
from musicreclass.config.messages import nearest, one_line, suggestion
from musicreclass.config.parse import find_field, section_class
from musicreclass.config.targets import parameters_of
from musicreclass.config.tree import leaves
from musicreclass.errors import Problem

SIZES = {"in_features", "num_classes"}  # arguments of a network that follow from the data


class AllowedKeys:
    """The keys of one composed configuration, and what their targets take.

    Args:
        task: names the primary file.
        cfg: composed from the chosen options, without the user's settings.
    """

    def __init__(self, task: str, cfg: DictConfig) -> None:
        self.task, self.cfg = task, cfg
        self.plain: Any = OmegaConf.to_container(cfg)  # interpolations as text: enough to know the targets

    def allows(self, key: str) -> bool:
        """Whether a dotted key may be set."""
        if self.sets(key):
            return True
        parent, _, name = key.rpartition(".")
        return bool(parent) and name in self._taken_by_target(parent)

    def sets(self, key: str) -> bool:
        """Whether the YAML files set a key, possibly to ???."""
        node: Any = self.cfg
        for part in key.split("."):
            if not isinstance(node, DictConfig) or hydra_adapter.is_null(node) or part not in node.keys():  # noqa: SIM118 (`in` denies ???)
                return False
            node = hydra_adapter.child(node, part)
        return True

    def is_section(self, key: str) -> bool:
        """Whether a key holds further keys."""
        return self.sets(key) and isinstance(OmegaConf.select(self.cfg, key, throw_on_missing=False), DictConfig)

    def _target(self, parent: str) -> str | None:
        node = OmegaConf.select(self.cfg, parent, throw_on_missing=False) if self.sets(parent) else None
        target = node.get("_target_") if isinstance(node, DictConfig) else None
        return None if target is None else str(target)

    def _taken_by_target(self, parent: str) -> set[str]:
        target = self._target(parent)
        return set(parameters_of(target, f"{parent}._target_")) - SIZES if target else set()

    def names(self, key: str) -> set[str]:
        """The allowed keys beside a key, in full; every leaf of the tree if its parent is unknown."""
        parent = key.rpartition(".")[0]
        node = OmegaConf.select(self.cfg, parent) if parent and self.sets(parent) else None
        if OmegaConf.is_dict(node):
            siblings = {str(name) for name in node} - {"_target_"}  # type: ignore[union-attr]
            return {f"{parent}.{name}" for name in siblings | self._taken_by_target(parent)}
        return {path for path, _ in leaves(self.cfg)} | {str(k) for k in self.cfg if k != "hydra"}

    def unknown_key(self, key: str, as_written: str = "") -> Problem:
        """The problem of a key that may not be set, with the nearest one that may."""
        names = self.names(key)
        return Problem(
            f"{as_written or key}: no such key; {nearest(key, names)}", "unknown_key", key, None, suggestion(key, names)
        )

    def wrong_value(self, key: str, value: Any) -> Problem | None:
        """What is wrong with a value, or None: by the declaration in `settings`, else by the type of the default in YAML."""
        field = find_field(self.task, self.plain, key)
        if field is not None and section_class(field.annotation, value) is None:
            return value_problem(key, value, field_type(field))
        default = OmegaConf.select(self.cfg, key, throw_on_resolution_failure=False) if self.sets(key) else None
        default = OmegaConf.to_container(default) if OmegaConf.is_config(default) else default
        target = self._target(key.rpartition(".")[0]) if "." in key else None
        foreign = bool(target) and not str(target).startswith("musicreclass.")
        return unlike_default(key, value, default, foreign)

    def problems(self, cfg: DictConfig) -> list[Problem]:
        """Every unknown key, missing value, failed interpolation and wrong value of a composed configuration."""
        problems: list[Problem] = []
        indirect: list[Problem] = []
        for key, node in leaves(cfg):
            try:
                if hydra_adapter.is_missing(node):
                    problems.append(Problem(f"{key}: a value is required: {key}=...", "missing_value", key))
                    continue
                if not self.allows(key):
                    problems.append(self.unknown_key(key))
                    continue
                value = OmegaConf.select(cfg, key)
                problem = self.wrong_value(key, OmegaConf.to_container(value) if OmegaConf.is_config(value) else value)
            except OmegaConfBaseException as error:
                problem = Problem(f"{key}: {one_line(error)}", "failed_interpolation", key)
            if problem is not None:
                (indirect if hydra_adapter.is_interpolation(node) else problems).append(problem)
        reported = [problem.value for problem in problems if problem.kind == "invalid_value"]
        return problems + [problem for problem in indirect if problem.value not in reported]  # reported where it is set


def unlike_default(key: str, value: Any, default: Any, foreign: bool) -> Problem | None:
    """What is wrong with a value that no settings class declares: it must have the type of the default.

    Args:
        key: the dotted key.
        value: its value.
        default: what the YAML file says.
        foreign: whether the value goes to a class of another library; many of their parameters take numbers, names or null.
    """
    kind = list if isinstance(default, (list, tuple)) else type(default)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if foreign and (value is None or (number and kind in (str, int, float))):
        return None
    if kind not in (*NAMES, list) or (isinstance(value, kind) and not (kind is int and isinstance(value, bool))):
        return None
    if kind is float and number:
        return None
    return wrong_value(key, value, "a list" if kind is list else NAMES[kind])
