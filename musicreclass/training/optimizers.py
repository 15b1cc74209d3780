"""Optimizers and schedulers, as conf/ describes them."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from hydra.utils import get_object

from musicreclass.config.hydra_adapter import instantiate


def make_optimizer(node: dict[str, Any], groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """The optimizer of a node of conf/optimizer/.

    Args:
        node: with a `_target_`, and `lr`, of which each group takes its share.
        groups: `params`, and `lr_scale`, the share.
    """
    shared = [{"lr": node["lr"] * group["lr_scale"], **group} for group in groups] if "lr" in node else groups
    return instantiate(node, params=shared)


def make_scheduler(node: dict[str, Any], optimizer: torch.optim.Optimizer, steps: int, mode: str) -> Any:
    """The scheduler of a node of conf/scheduler/, or None; told the run's length and the monitor's sense if it takes them."""
    if node.get("_target_") is None:
        return None
    takes = inspect.signature(get_object(node["_target_"])).parameters
    known = {name: value for name, value in {"total_steps": steps, "mode": mode}.items() if name in takes}
    given = {name: value for name, value in node.items() if name != "interval"}
    if isinstance(given.get("max_lr"), (int, float)):  # one for each group
        given["max_lr"] = [given["max_lr"] * group["lr_scale"] for group in optimizer.param_groups]
    return instantiate({**known, **given}, optimizer=optimizer)
