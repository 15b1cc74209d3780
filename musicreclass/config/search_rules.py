"""What makes a multirun a search, and what a search must not do."""

from __future__ import annotations

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

SEARCHER = "hydra_plugins.hydra_optuna_sweeper."
UNCHOSEN = ("seed", "data.fold", "data/split")  # a search would pick the lucky one


def searches(cfg: DictConfig) -> bool:
    """Whether a composed configuration's sweeper proposes jobs by what those before have scored."""
    return str(cfg.hydra.sweeper.get("_target_")).startswith(SEARCHER)


def refusals(cfg: DictConfig, overrides: list[Override], multirun: bool, scores_test: bool) -> list[str]:
    """A line for each thing that a search must not do: run once, look at test, choose a seed, ask for no trials.

    Args:
        cfg: composed for one job, Hydra's node included.
        overrides: of the command line.
        multirun: whether -m was given.
        scores_test: whether any job would be scored on test.
    """
    chosen, sweeper = cfg.hydra.runtime.choices, cfg.hydra.sweeper
    name = f"search={chosen['search']}" if chosen.get("search") else f"hydra/sweeper={chosen['hydra/sweeper']}"
    found = []
    if not multirun:
        found.append(f"{name}: a search is many runs: add -m")
    if scores_test or "valid" not in cfg.evaluate:
        found.append(f"{name}: a search scores validation alone: evaluate=[valid]; its winner is scored on test")
    found += [
        f"{o.input_line}: a search chooses none of these; sweep over it with the winner"
        for o in overrides
        if o.is_sweep_override() and o.key_or_group in UNCHOSEN
    ]
    if str(sweeper.direction).rpartition(".")[2] != "maximize":
        found.append(f"{name}: it would look for the lowest macro-F1: hydra.sweeper.direction=maximize")
    for key in ("n_trials", "n_jobs"):
        number = sweeper.get(key)
        if not isinstance(number, int) or number < 1:
            found.append(f"hydra.sweeper.{key}={number}: must be a whole number, at least 1")
    return found
