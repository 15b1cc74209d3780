"""Checks of Hydra's own node, which Hydra itself checks only while it starts the job, or not at all."""

from __future__ import annotations

from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from musicreclass.config.hydra_adapter import SEARCH_SWEEPER, raw_value
from musicreclass.config.messages import failed_interpolation
from musicreclass.config.targets import import_class
from musicreclass.config.tree import leaves
from musicreclass.errors import ConfigError, Problem

PLUGINS = (
    "hydra_plugins.",
    "hydra._internal.core_plugins.",
    SEARCH_SWEEPER,
)  # where launchers and sweepers are defined


def hydra_problems(cfg: DictConfig) -> list[Problem]:
    """The problems of a composed configuration's `hydra` node.

    Args:
        cfg: composed, Hydra's node included.
    """
    problems = [problem for name in ("launcher", "sweeper") if (problem := plugin_problem(cfg, name))]
    params = OmegaConf.select(cfg, "hydra.sweeper.params") if not problems else None
    if params is not None and not OmegaConf.is_dict(params):
        problems.append(invalid("hydra.sweeper.params", params, "a group of settings: {KEY: values}"))
    batch = OmegaConf.select(cfg, "hydra.sweeper.max_batch_size") if not problems else None
    if batch is not None and not (type(batch) is int and batch >= 1):
        problems.append(invalid("hydra.sweeper.max_batch_size", batch, "a whole number, at least 1, or null"))
    verbose = OmegaConf.select(cfg, "hydra.verbose")
    names = list(verbose) if OmegaConf.is_list(verbose) else [verbose]
    if not isinstance(verbose, bool) and not all(isinstance(name, str) for name in names):
        problems.append(invalid("hydra.verbose", verbose, "true, false, or the names of loggers"))
    return problems + unresolved(cfg) + callback_problems(cfg.hydra.callbacks)


def unresolved(cfg: DictConfig) -> list[Problem]:
    """The problems of references to keys that do not exist, where they are written; other values may be set by Hydra later."""
    problems = []
    for key, node in leaves(cfg.hydra, "hydra."):
        try:
            OmegaConf.select(cfg, key)
        except InterpolationKeyError as error:
            problem = failed_interpolation(key, error)
            problems += [problem] if f"${{{problem.value}}}" in str(raw_value(node)) else []
        except OmegaConfBaseException:
            continue
    return problems


def plugin_problem(cfg: DictConfig, name: str) -> Problem | None:
    """The problem of a launcher or sweeper that is not one of Hydra's plugins, or None."""
    node = OmegaConf.select(cfg, f"hydra.{name}")
    if not OmegaConf.is_dict(node):
        return invalid(f"hydra.{name}", node, f"a group of settings; choose with hydra/{name}=NAME")
    target = str(node.get("_target_"))
    if target.startswith(PLUGINS):
        return None
    return invalid(f"hydra.{name}._target_", target, f"a plugin of Hydra; choose with hydra/{name}=NAME")


def callback_problems(callbacks: Any) -> list[Problem]:
    """The problems of callbacks, which Hydra would call before it knows what they are."""
    problems = []
    for name, node in (callbacks or {}).items():
        key = f"hydra.callbacks.{name}"
        if not OmegaConf.is_dict(node) or "_target_" not in node:
            problems.append(invalid(key, node, "a group of settings with a _target_"))
            continue
        try:
            rule = "must be a subclass of hydra.experimental.callback.Callback"
            import_class(str(node["_target_"]), f"{key}._target_", lambda kind: issubclass(kind, Callback), rule)
        except ConfigError as error:
            problems += error.problems
    return problems


def invalid(key: str, value: Any, rule: str) -> Problem:
    """The problem of a value of Hydra's own keys."""
    return Problem(f"{key}={value}: must be {rule}", "invalid_value", key, value)
