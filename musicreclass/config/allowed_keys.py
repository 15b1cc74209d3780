"""The keys that may be set with the chosen options, and checks of their values.

A key is allowed if the chosen YAML files set it, or if the `_target_` of its section accepts it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from musicreclass.config import hydra_adapter
from musicreclass.config.fields import NAMES, field_type, value_problem, wrong_value
from musicreclass.config.messages import SYNONYMS, failed_interpolation, nearest, suggestion
from musicreclass.config.parse import build_section, find_field, is_users, missing_keys, section_class
from musicreclass.config.settings.tasks import TASK_SETTINGS
from musicreclass.config.targets import parameters_of
from musicreclass.config.tree import leaves
from musicreclass.errors import Problem

SET_FROM_DATA = {"in_features", "num_classes"}  # arguments of a network that are set from the data


class AllowedKeys:
    """The keys of a composed configuration and of the arguments of its targets.

    Args:
        task: names the primary file.
        cfg: composed from the chosen options, without the user's settings.
    """

    def __init__(self, task: str, cfg: DictConfig) -> None:
        self.task, self.cfg = task, cfg
        self.plain: Any = OmegaConf.to_container(cfg)  # interpolations as text: enough to find the targets

    def allows(self, key: str) -> bool:
        """Whether a dotted key may be set."""
        if self.sets(key):
            return True
        parent, _, name = key.rpartition(".")
        return bool(parent) and name in self._accepted_by_target(parent) - SET_FROM_DATA

    def sets(self, key: str) -> bool:
        """Whether the YAML files set a key, possibly to ???."""
        node: Any = self.cfg
        for part in key.split("."):
            if not isinstance(node, DictConfig) or hydra_adapter.is_null(node) or part not in node.keys():  # noqa: SIM118 (`in` denies ???)
                return False
            node = hydra_adapter.child(node, part)
        return True

    def file_of(self, key: str) -> str:
        """The YAML file of the option that defines a key's section, as far as groups name it."""
        choices = self.cfg.hydra.runtime.choices
        parts = key.split(".")[:-1]
        packages = {group.partition("@")[2] or group.replace("/", "."): group for group in choices}
        group = next((g for n in range(len(parts), 0, -1) if (g := packages.get(".".join(parts[:n])))), None)
        return f"conf/{self.task}.yaml" if group is None else f"conf/{group.partition('@')[0]}/{choices[group]}.yaml"

    def is_section(self, key: str) -> bool:
        """Whether a key has further keys below it."""
        return self.sets(key) and isinstance(OmegaConf.select(self.cfg, key, throw_on_missing=False), DictConfig)

    def _target(self, parent: str) -> str | None:
        node = OmegaConf.select(self.cfg, parent, throw_on_missing=False) if self.sets(parent) else None
        target = node.get("_target_") if isinstance(node, DictConfig) else None
        return None if target is None else str(target)

    def _accepted_by_target(self, parent: str) -> frozenset[str]:
        target = self._target(parent)
        return parameters_of(target, f"{parent}._target_") if target else frozenset()

    def names(self, key: str) -> set[str]:
        """The allowed keys of the same section, in full; every leaf of the tree if the section is unknown."""
        parent = key.rpartition(".")[0]
        node = OmegaConf.select(self.cfg, parent) if parent and self.sets(parent) else None
        if OmegaConf.is_dict(node):
            siblings = {str(name) for name in node} - {"_target_"}  # type: ignore[union-attr]
            return {f"{parent}.{name}" for name in siblings | self._accepted_by_target(parent) - SET_FROM_DATA}
        return {path for path, _ in leaves(self.cfg)} | {str(k) for k in self.cfg if k != "hydra"}

    def unknown_key(self, key: str, as_written: str = "") -> Problem:
        """The problem of a key that may not be set, with the nearest one that may."""
        parent, _, name = key.rpartition(".")
        if parent and name in SET_FROM_DATA & self._accepted_by_target(parent):
            return Problem(f"{as_written or key}: is set from the data", "fixed_key", key)
        synonym, difference = SYNONYMS.get(key.rpartition(".")[2], ("", ""))
        if synonym and self.allows(synonym):
            hint = f"use {synonym}" + (f" ({difference})" if difference else "")
            return Problem(f"{as_written or key}: no such key; {hint}", "unknown_key", key, None, synonym)
        names = self.names(key)
        in_parts = [
            path
            for path, _ in leaves(self.cfg)
            if parent == "data" and re.fullmatch(rf"data\.parts\.\w+\.{re.escape(name)}", path)
        ]
        if in_parts:
            line = f"{as_written or key}: each of the combined datasets has its own: {', '.join(in_parts)}"
            return Problem(line, "unknown_key", key, None, in_parts[0])
        in_sections = [path for path, _ in leaves(self.cfg) if path.rpartition(".")[2] == key]
        without_section = in_sections[0] if len(in_sections) == 1 else ""
        hint = f"did you mean {without_section}?" if without_section else nearest(key, names)
        near = without_section or suggestion(key, names)
        return Problem(f"{as_written or key}: no such key; {hint}", "unknown_key", key, None, near)

    def wrong_value(self, key: str, value: Any) -> Problem | None:
        """The problem of a value, or None: by its declaration in `settings`, else by the type of the default in YAML."""
        field = find_field(self.task, self.plain, key)
        if field is not None and section_class(field.annotation, value) is None:
            return value_problem(key, value, field_type(field))
        return None if field is not None else self._unlike_default(key, value)

    def _unlike_default(self, key: str, value: Any) -> Problem | None:
        """The problem of a value for a key that `settings` does not declare, or None; users' classes accept any value."""
        parent = key.rpartition(".")[0]
        target = self._target(parent) if parent else None
        if is_users(target):
            return None
        if not_finite(value, infinite=not str(target).startswith("sklearn.")):
            return wrong_value(key, value, "a finite number")
        if not self.sets(key):
            return None
        default = OmegaConf.select(self.cfg, key, throw_on_resolution_failure=False)
        default = OmegaConf.to_container(default) if OmegaConf.is_config(default) else default
        return unlike_default(key, value, default, bool(target) and not str(target).startswith("musicreclass."))

    def problems(self, cfg: DictConfig) -> list[Problem]:
        """Every unknown key, missing value, failed interpolation and wrong value of a composed configuration."""
        problems: list[Problem] = []
        wrong: list[Problem] = []
        config, interpolated = self._resolve(cfg, problems, wrong)
        build_section(TASK_SETTINGS[self.task], config, "", wrong)
        set_values = [problem.value for problem in wrong if problem.key not in interpolated]
        # a wrong value that is interpolated elsewhere is reported once, where it is set
        problems += [p for p in wrong if p.key not in interpolated or p.value not in set_values]
        reported = {problem.key for problem in problems}
        missing = [key for key in missing_keys(TASK_SETTINGS[self.task], config) if key not in reported]
        return problems + [
            Problem(f"{key}: is required, and no YAML file sets it", "missing_value", key) for key in missing
        ]

    def _resolve(
        self, cfg: DictConfig, problems: list[Problem], wrong: list[Problem]
    ) -> tuple[dict[str, Any], set[str]]:
        """The plain values of allowed keys, and which of them are interpolations.

        Problems with other keys are added to `problems`, values that are unlike their default to `wrong`.
        """
        config: dict[str, Any] = {}
        interpolated = set()
        failed: dict[str, str] = {}  # the text of each interpolation that failed
        for key, node in leaves(cfg):
            if hydra_adapter.is_missing(node):
                problems.append(Problem(f"{key}: a value is required: {key}=...", "missing_value", key))
            elif not self.allows(key):
                problems.append(self.unknown_key(key))
            else:
                try:
                    value = OmegaConf.select(cfg, key)
                    value = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
                except OmegaConfBaseException as error:
                    problems.append(failed_interpolation(key, error))
                    failed[key] = str(hydra_adapter.raw_value(node))
                    continue
                set_value(config, key, value)
                if hydra_adapter.is_interpolation(node):
                    interpolated.add(key)
                if find_field(self.task, self.plain, key) is None and (problem := self._unlike_default(key, value)):
                    wrong.append(problem)
        causes = {key for key, text in failed.items() if not refers(text, failed)}
        followed = {key for key, text in failed.items() if refers(text, causes)}  # reported where it is set
        problems[:] = [problem for problem in problems if problem.key not in followed]
        return config, interpolated


def refers(text: str, keys: Iterable[str]) -> bool:
    """Whether an interpolation refers to one of some keys."""
    return any(f"${{{key}}}" in text for key in keys)


def set_value(config: dict[str, Any], key: str, value: Any) -> None:
    """Set the value of a dotted key in nested dictionaries."""
    *parents, name = key.split(".")
    for parent in parents:
        config = config.setdefault(parent, {})
    config[name] = value


def not_finite(value: Any, infinite: bool) -> bool:
    """Whether a value is, or contains, a number that is NaN, or infinite if that counts; no library checks all of these."""
    if isinstance(value, (list, tuple)):
        return any(not_finite(item, infinite) for item in value)
    return isinstance(value, float) and (math.isnan(value) or (infinite and math.isinf(value)))


def unlike_default(key: str, value: Any, default: Any, foreign: bool) -> Problem | None:
    """The problem of a value for an undeclared key, which must have the type of the default, or None.

    Args:
        key: the dotted key.
        value: its value.
        default: the value in the YAML file.
        foreign: whether the value goes to a class of another library, which often accepts numbers, names or null.
    """
    kind = list if isinstance(default, (list, tuple)) else type(default)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if foreign and (value is None or (number and kind in (str, int, float))):
        return None
    if kind not in (*NAMES, list) or (isinstance(value, kind) and not (kind is int and isinstance(value, bool))):
        return None
    if kind is float and number:
        return None
    if kind is list:
        return wrong_value(key, value, "a list", f"{key}=[{value}]" if isinstance(value, (str, int, float)) else "")
    suggestion = f"'{key}=\"{value}\"'" if kind is str and number else ""
    return wrong_value(key, value, NAMES[kind], suggestion)
