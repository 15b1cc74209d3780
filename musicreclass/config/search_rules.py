"""Whether a multirun is a search, and the rules for searches."""

from __future__ import annotations

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from musicreclass.config.compatibility import is_estimator
from musicreclass.config.hydra_adapter import SEARCH_SWEEPER
from musicreclass.config.overrides import MAX_JOBS
from musicreclass.errors import Problem

NOT_SEARCHED = (
    "seed",
    "fold",
    "random_state",
    "split_column",
)  # a search would choose the one that happens to score best


def searches(cfg: DictConfig) -> bool:
    """Whether the sweeper of a composed configuration proposes jobs by earlier scores."""
    return sweeper_target(cfg) == SEARCH_SWEEPER


def sweeper_target(cfg: DictConfig) -> str:
    """The class of the sweeper of a composed configuration; empty if it has none."""
    sweeper = cfg.hydra.sweeper
    return str(sweeper.get("_target_")) if isinstance(sweeper, DictConfig) else ""


def refusals(cfg: DictConfig, overrides: list[Override], multirun: bool, scores_test: bool) -> list[Problem]:
    """The rules that a search breaks.

    Args:
        cfg: composed for one job, Hydra's node included.
        overrides: of the command line.
        multirun: whether -m was given.
        scores_test: whether any job would be scored on test.
    """
    choices, sweeper = cfg.hydra.runtime.choices, cfg.hydra.sweeper
    key = "search" if choices.get("search") else "hydra/sweeper"
    name = f"{key}={choices[key]}"
    problems = []
    if not multirun:
        problems.append(Problem(f"{name}: a search consists of many runs: add -m", "search_without_multirun", key))
    if scores_test or "valid" not in cfg.evaluate:
        message = f"{name}: a search is scored on validation only: evaluate=[valid]; its winner is scored on test"
        problems.append(Problem(message, "search_scores_test", "evaluate"))
    problems += [
        Problem(
            f"{text}: a search must not choose {key}; sweep over it with the winner's settings",
            "not_searched",
            key,
        )
        for key, text in searched_keys(cfg, overrides).items()
        if is_left_to_chance(key)
    ]
    for option in ("n_trials", "n_jobs"):
        number = sweeper.get(option)
        if type(number) is not int or not 1 <= number <= MAX_JOBS:
            path = f"hydra.sweeper.{option}"
            problems.append(
                Problem(f"{path}={number}: must be a whole number from 1 to {MAX_JOBS}", "invalid_value", path, number)
            )
    return problems + pruner_problems(cfg)


def searched_keys(cfg: DictConfig, overrides: list[Override]) -> dict[str, str]:
    """The keys and groups that a search draws, from its file and from the command line, with the text that says so."""
    params = cfg.hydra.sweeper.get("params") or {}
    typed = {o.key_or_group: str(o.input_line) for o in overrides if o.is_sweep_override()}
    fixed = {o.key_or_group for o in overrides if not o.is_sweep_override()}
    in_file = {str(key).lstrip("+"): f"{key}={value}" for key, value in params.items()}
    return {key: text for key, text in (in_file | typed).items() if key not in fixed}


def is_left_to_chance(key: str) -> bool:
    """Whether a key or group is a seed, a fold or a split: its values differ in nothing but chance."""
    parts = key.replace("/", ".").split(".")
    return parts[:2] == ["data", "split"] or parts[-1].endswith(NOT_SEARCHED)


def pruner_problems(cfg: DictConfig) -> list[Problem]:
    """Problems with `hydra.sweeper.pruner`, which must be null, or arguments for a model that reports scores by epoch."""
    key, pruner = "hydra.sweeper.pruner", cfg.hydra.sweeper.get("pruner")
    if pruner is None:
        return []
    if not OmegaConf.is_dict(pruner):
        message = f"{key}={pruner}: must be null or arguments of the pruner, as in {key}={{n_warmup_steps: 5}}"
        return [Problem(message, "invalid_value", key, pruner)]
    if is_estimator(cfg):
        model = cfg.hydra.runtime.choices.get("model")
        message = f"{key}: model={model} reports no score during training, so its trials cannot be pruned: {key}=null"
        return [Problem(message, "pruner_without_epochs", key)]
    return []
