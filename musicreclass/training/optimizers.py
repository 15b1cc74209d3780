"""Optimizers and schedulers from their settings in conf/."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from musicreclass.config.hydra_adapter import instantiate
from musicreclass.config.settings.training import OptimizerSettings, SchedulerSettings
from musicreclass.config.targets import check_arguments, check_nested_targets, import_class


def is_optimizer(kind: type) -> bool:
    """Whether a class is an optimizer."""
    return issubclass(kind, torch.optim.Optimizer)


def is_scheduler(kind: type) -> bool:
    """Whether a class is a learning-rate scheduler."""
    return issubclass(kind, torch.optim.lr_scheduler.LRScheduler)


def make_optimizer(settings: OptimizerSettings, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """The optimizer that settings describe.

    Args:
        settings: a `_target_` and its arguments, usually with `lr`.
        groups: parameter groups: `params`, and `lr_scale`, by which `lr` is multiplied.
    """
    rule = "must be a subclass of torch.optim.Optimizer"
    optimizer_class = import_class(str(settings.target), "optimizer._target_", is_optimizer, rule)
    node = settings.as_dict()
    check_nested_targets(node, "optimizer", is_optimizer, rule)
    check_arguments(optimizer_class, settings.arguments(), "optimizer", supplied=("params",))
    if "lr" in node:
        groups = [{"lr": node["lr"] * group["lr_scale"], **group} for group in groups]
    return instantiate(node, params=groups)


def make_scheduler(settings: SchedulerSettings, optimizer: torch.optim.Optimizer, steps: int, mode: str) -> Any:
    """The scheduler that settings describe, or None without a `_target_`.

    Args:
        settings: a `_target_` and its arguments; `max_lr` is scaled for each parameter group.
        optimizer: made by `make_optimizer`.
        steps: optimizer steps of the whole run, for targets that take `total_steps`.
        mode: whether the monitored metric is to decrease (`min`) or increase (`max`), for targets that take `mode`.
    """
    if settings.target is None:
        return None
    rule = "must be a subclass of torch.optim.lr_scheduler.LRScheduler"
    scheduler_class = import_class(settings.target, "scheduler._target_", is_scheduler, rule)
    accepted = inspect.signature(scheduler_class).parameters
    check_nested_targets(settings.as_dict(), "scheduler", is_scheduler, rule)
    defaults = {name: value for name, value in {"total_steps": steps, "mode": mode}.items() if name in accepted}
    chosen = {**defaults, **settings.arguments("interval")}
    check_arguments(scheduler_class, chosen, "scheduler", supplied=("optimizer",), keys=("interval",))
    arguments = {name: value for name, value in settings.as_dict().items() if name != "interval"}
    if isinstance(arguments.get("max_lr"), (int, float)):
        arguments["max_lr"] = [arguments["max_lr"] * group["lr_scale"] for group in optimizer.param_groups]
    return instantiate({**defaults, **arguments}, optimizer=optimizer)
