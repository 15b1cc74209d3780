"""What may be set, given the chosen options."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from musicreclass.config import hydra_adapter
from musicreclass.config.messages import nearest, one_line
from musicreclass.config.schema import mismatch
from musicreclass.config.tree import leaves
from musicreclass.errors import ConfigError

SIZES = {"in_features", "num_classes"}  # what a network is told by the data


class Legal:
    """What may be set, given the chosen options: the keys they hold, their types, and what their targets take."""

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg

    def has(self, key: str) -> bool:
        """Whether a dotted key may be set."""
        if self.holds(key):
            return True
        parent, _, name = key.rpartition(".")
        return bool(parent) and name in self._taken_by_target(parent)

    def holds(self, key: str) -> bool:
        """Whether the configuration sets a key, a missing value included."""
        node: Any = self.cfg
        for part in key.split("."):
            if not isinstance(node, DictConfig) or hydra_adapter.is_null(node) or part not in node.keys():  # noqa: SIM118 (`in` denies ???)
                return False
            node = hydra_adapter.child(node, part)
        return True

    def is_group_of_settings(self, key: str) -> bool:
        """Whether a key holds further keys."""
        return self.holds(key) and isinstance(OmegaConf.select(self.cfg, key, throw_on_missing=False), DictConfig)

    def _taken_by_target(self, parent: str) -> set[str]:
        node = OmegaConf.select(self.cfg, parent, throw_on_missing=False) if self.holds(parent) else None
        target = node.get("_target_") if isinstance(node, DictConfig) else None
        return set(parameters_of(target)) - SIZES if target else set()

    def names(self, key: str) -> set[str]:
        """The legal keys beside a key, in full; every leaf of the tree where its parent is unknown."""
        parent = key.rpartition(".")[0]
        node = OmegaConf.select(self.cfg, parent) if parent and self.holds(parent) else None
        if OmegaConf.is_dict(node):
            own = {str(name) for name in node} - {"_target_"}  # type: ignore[union-attr]
            return {f"{parent}.{name}" for name in own | self._taken_by_target(parent)}
        return {path for path, _ in leaves(self.cfg)} | {str(k) for k in self.cfg if k != "hydra"}

    def mismatch(self, key: str, value: Any) -> str | None:
        """What is wrong with a value, or None."""
        default = OmegaConf.select(self.cfg, key, throw_on_resolution_failure=False) if self.holds(key) else None
        default = OmegaConf.to_container(default) if OmegaConf.is_config(default) else default
        parent = OmegaConf.select(self.cfg, key.rpartition(".")[0]) if "." in key and self.holds(key) else None
        target = parent.get("_target_") if isinstance(parent, DictConfig) else None
        return mismatch(key, value, default, foreign=bool(target) and not str(target).startswith("musicreclass."))

    def problems(self, cfg: DictConfig) -> list[str]:
        """Every unknown key, wrong type, missing value and unresolvable interpolation of a composed configuration."""
        found = []
        for key, node in leaves(cfg):
            try:
                if hydra_adapter.is_missing(node):
                    found.append(f"{key}: a value is needed: {key}=...")
                elif not self.has(key):
                    found.append(f"{key}: no such key; {nearest(key, self.names(key))}")
                elif hydra_adapter.is_interpolation(node):
                    OmegaConf.select(cfg, key)  # its value is checked where it stands
                else:
                    value = OmegaConf.select(cfg, key)
                    problem = self.mismatch(key, OmegaConf.to_container(value) if OmegaConf.is_config(value) else value)
                    found += [problem] if problem else []
            except OmegaConfBaseException as error:
                found.append(f"{key}: {one_line(error)}")
        return found


@cache
def parameters_of(target: str) -> frozenset[str]:
    """The keyword parameters that a dotted target takes; imports it.

    scikit-learn-style estimators are asked for theirs, since some (XGBoost's) hide them behind **kwargs.
    """
    from hydra.utils import get_object

    try:
        found = get_object(target)
    except (Exception, SystemExit) as error:
        raise ConfigError([f"_target_: {target} cannot be imported: {one_line(error)}"]) from error
    signature = inspect.signature(found)
    names = {p.name for p in signature.parameters.values() if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    if any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()) and hasattr(found, "get_params"):
        names |= set(found().get_params())
    return frozenset(names)
