"""Every use of private parts of Hydra and OmegaConf. It must work with each version of Hydra that pyproject.toml allows."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import hydra.utils
from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import _run_hydra, create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import setup_globals
from hydra.errors import InstantiationException
from hydra.plugins.sweeper import Sweeper
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

SEARCH_SWEEPER = "musicreclass.sweep.sweeper.TpeSweeper"  # the `_target_` of conf/hydra/sweeper/tpe.yaml
IS_1_3 = hydra.__version__.startswith("1.3.")


def config_loader(conf: Path, preferred: Sequence[Path] = ()) -> ConfigLoaderImpl:
    """Hydra's loader over the folder `conf`, as `hydra.main` would create it.

    Args:
        conf: the folder of the primary files.
        preferred: folders that are searched before it, the last one first.
    """
    setup_globals()
    path = create_config_search_path(str(conf))
    for root in preferred:
        path.prepend("command-line", f"file://{root}", anchor=SearchPathQuery(provider="schema"))
    return ConfigLoaderImpl(config_search_path=path)


def compose_job(loader: ConfigLoaderImpl, task: str, overrides: list[str]) -> DictConfig:
    """The configuration of one job, Hydra's node included."""
    return loader.load_configuration(task, overrides, run_mode=RunMode.RUN)


def with_settings(loader: ConfigLoaderImpl, cfg: DictConfig, settings: list[str]) -> DictConfig:
    """A composed configuration with further settings, as composing all of it again would give; several times as fast.

    Args:
        loader: that composed it.
        cfg: as `compose_job` returns it.
        settings: overrides that choose no group.

    Raises:
        ValueError: if a setting chooses a group.
        Exception: of Hydra or OmegaConf, if a setting cannot be applied.
    """
    overrides = OverridesParser.create().parse_overrides([*cfg.hydra.overrides.task, *settings])
    added = overrides[len(cfg.hydra.overrides.task) :]
    if groups := [o.key_or_group for o in added if loader.repository.group_exists(o.key_or_group)]:
        raise ValueError(f"{groups[0]} is a group")
    cfg = deepcopy(cfg)
    ConfigLoaderImpl._apply_overrides_to_config(added, cfg)
    cfg.hydra.overrides.task += [o.input_line for o in added]
    if IS_1_3:  # later versions derive it
        from hydra._internal.config_loader_impl import get_overrides_dirname

        cfg.hydra.job.override_dirname = get_overrides_dirname(overrides, **cfg.hydra.job.config.override_dirname)
    return cfg


def arguments_parser() -> argparse.ArgumentParser:
    """The parser of Hydra's own flags."""
    return get_args_parser()


def run_job(conf: Path, task: str, args: argparse.Namespace, job: Callable[[DictConfig], Any]) -> None:
    """Let Hydra compose the configuration and run the job, once or as a multirun.

    `hydra.main` would parse sys.argv, which begins with the name of the task; this does the same with parsed arguments.

    Args:
        conf: the folder of the primary files.
        task: the name of the primary file.
        args: as `arguments_parser` parses them.
        job: takes the composed configuration.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # its errors reach the caller unchanged
    if IS_1_3:  # later versions have a single set of defaults, and deprecate the call
        version.setbase("1.3")
    if not args.info:
        logging.getLogger("hydra").setLevel(logging.CRITICAL)  # the caller reports what Hydra would log
    _run_hydra(args, get_args_parser(), job, config_path=str(conf), config_name=task)


def register_sweeper(sweeper: type[Sweeper]) -> None:
    """Let Hydra create a sweeper of this project, `SEARCH_SWEEPER`."""
    plugins: Any = Plugins.instance()
    plugins.register(sweeper)
    if IS_1_3:  # which accepts plugins of the package hydra_plugins only
        accepts = plugins.is_in_toplevel_plugins_module
        plugins.is_in_toplevel_plugins_module = lambda name: name == SEARCH_SWEEPER or accepts(name)


def instantiate(node: dict[str, Any], **arguments: Any) -> Any:
    """Call the `_target_` of a node. The caller must trust the targets in it; arguments get plain lists and dictionaries.

    Args:
        node: `_target_` and its arguments, which may be such nodes too.
        arguments: take precedence over those of the node.

    Raises:
        Exception: what the target raises.
    """
    if not IS_1_3:
        arguments["_execution_whitelist_"] = sorted(targets_in(node))
    try:
        return hydra.utils.instantiate(node, _convert_="all", **arguments)
    except InstantiationException as error:
        cause = error.__cause__ or error
    raise cause


def targets_in(node: Any) -> set[str]:
    """Every `_target_` in a node and below it."""
    if isinstance(node, dict):
        named = {str(node["_target_"])} if "_target_" in node else set()
        return named.union(*(targets_in(value) for value in node.values()))
    return set().union(*(targets_in(value) for value in node)) if isinstance(node, list) else set()


def child(cfg: DictConfig, name: str) -> Any:
    """The node below a key: interpolations are not resolved, and a missing value is no error."""
    return cfg._get_node(name)


def is_plain_dict(node: Any) -> bool:
    """Whether a node has further keys, rather than null, ??? or an interpolation."""
    return isinstance(node, DictConfig) and not (node._is_none() or node._is_missing() or node._is_interpolation())


def is_null(node: Any) -> bool:
    """Whether a node is null."""
    return bool(node._is_none())


def is_missing(node: Any) -> bool:
    """Whether the value of a node is ???, which the user must replace."""
    return OmegaConf.is_missing(node._get_parent(), node._key())


def is_interpolation(node: Any) -> bool:
    """Whether the value of a node refers to another."""
    return bool(node._is_interpolation())


def raw_value(node: Any) -> Any:
    """The value of a leaf as it is written; interpolations as text."""
    return node._value()
