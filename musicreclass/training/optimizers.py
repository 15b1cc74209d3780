"""Optimizers and schedulers from their settings in conf/."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from hydra.utils import get_object

from musicreclass.config.hydra_adapter import instantiate


def make_optimizer(node: dict[str, Any], groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """The optimizer of a node of conf/optimizer/.

    Args:
        node: a `_target_` and its arguments, usually with `lr`.
        groups: parameter groups: `params`, and `lr_scale`, by which `lr` is multiplied.
    """
    if "lr" in node:
        groups = [{"lr": node["lr"] * group["lr_scale"], **group} for group in groups]
    return instantiate(node, params=groups)


def make_scheduler(node: dict[str, Any], optimizer: torch.optim.Optimizer, steps: int, mode: str) -> Any:
    """The scheduler of a node of conf/scheduler/, or None.

    Args:
        node: a `_target_` and its arguments; `max_lr` is scaled for each parameter group.
        optimizer: made by `make_optimizer`.
        steps: optimizer steps of the whole run, for targets that take `total_steps`.
        mode: whether the monitored metric is to decrease (`min`) or increase (`max`), for targets that take `mode`.
    """
    if node.get("_target_") is None:
        return None
    accepted = inspect.signature(get_object(node["_target_"])).parameters
    defaults = {name: value for name, value in {"total_steps": steps, "mode": mode}.items() if name in accepted}
    arguments = {name: value for name, value in node.items() if name != "interval"}
    if isinstance(arguments.get("max_lr"), (int, float)):
        arguments["max_lr"] = [arguments["max_lr"] * group["lr_scale"] for group in optimizer.param_groups]
    return instantiate({**defaults, **arguments}, optimizer=optimizer)
