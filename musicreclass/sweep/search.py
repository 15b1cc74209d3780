"""The result of a search: its trials, the importance of each setting, and the command that runs the winner."""

from __future__ import annotations

import csv
import logging
import math
import shlex
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicreclass.errors import ConfigError, Problem
from musicreclass.evaluation.metric_names import METRIC_LABELS, main_metrics
from musicreclass.plurals import counted
from musicreclass.storage.atomic import write_text
from musicreclass.sweep.record import JobRecord
from musicreclass.sweep.space import parse_value, read_space

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from omegaconf import DictConfig
    from optuna.distributions import BaseDistribution

    from musicreclass.config.check import Check

WINNER_SEEDS = "1,2,3,4,5"  # the winner was chosen with another seed
NOT_OF_THE_WINNER = ("search", "seed", "evaluate", "force")  # overrides of the search that its winner must not have


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes:
        scored: the records of the trials that have a score, the best first.
        importance: the share of each setting in the variance of the score; empty if it cannot be computed.
        command: runs the best trial's settings with other seeds and scores them on test.
    """

    scored: list[JobRecord]
    importance: dict[str, float]
    command: str


@dataclass(frozen=True)
class Search:
    """What a search draws, and what is the same in all of its trials.

    Args:
        space: what is searched, by key.
        fixed: the arguments of the command that hold for every trial and for the winner.
        has_folds: whether it is scored on one of several folds.
    """

    space: dict[str, BaseDistribution]
    fixed: list[str]
    has_folds: bool = False

    @classmethod
    def of(cls, check: Check, config_dir: str | None) -> Search:
        """The search of a checked command line.

        Raises:
            ConfigError: for a sweep that cannot be searched, and for arguments that Optuna does not take.
        """
        assert check.first is not None
        sweeper = check.first.hydra.sweeper
        try_optuna(sweeper)
        settings = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
        overrides = [str(override.input_line) for override in check.overrides if not override.is_hydra_override()]
        space, fixed = read_space([*settings, *overrides])
        option = check.first.hydra.runtime.choices.get("search")
        groups = check.tree.chosen_by("search", option) if option else {}
        arguments = ["--config-dir", config_dir] if config_dir else []
        arguments += [f"{group}={choice}" for group, choice in groups.items() if group not in fixed]
        arguments += [f"{key}={value}" for key, value in fixed.items() if key.lstrip("+") not in NOT_OF_THE_WINNER]
        return cls(space, arguments, check.first.data.get("fold") is not None)

    def finish(self, folder: Path, records: list[JobRecord]) -> SearchResult | None:
        """Write `search.csv`, `importance.csv`, `search.png`, `search.pdf` and `winner.txt`.

        Args:
            folder: the sweep's.
            records: those of the sweep's jobs.

        Returns:
            The result; None if no trial has a score.
        """
        from musicreclass.report.figures import save_for_print

        rows, scored = self.history(records)
        write_csv(folder / "search.csv", rows)
        if not scored:
            return None
        importance = self.importance(scored)
        write_csv(
            folder / "importance.csv", [{"key": key, "importance": fraction} for key, fraction in importance.items()]
        )
        save_for_print(search_figure(rows, importance, ranking_metric(records)), folder / "search.png")
        scored.sort(key=lambda record: -(record.score or 0.0))
        command = self.winner(scored[0])
        write_text(folder / "winner.txt", command + "\n")
        return SearchResult(scored, importance, command)

    def history(self, records: list[JobRecord]) -> tuple[list[dict[str, Any]], list[JobRecord]]:
        """The trials as rows, each with the best score so far; and the records of those that have a score."""
        rows, scored, best = [], [], -math.inf
        metric = ranking_metric(records)
        for record in records:
            score = record.score
            if record.state == "done" and score is not None:
                scored.append(record)
                best = max(best, score)
            row = {"trial": record.job, "state": record.state, metric: score}
            row |= {"best_so_far": best if scored else None, "run": record.run, **self.drawn(record)}
            rows.append(row)
        return rows, scored

    def drawn(self, record: JobRecord) -> dict[str, str]:
        """The values that the search drew for a trial, as text, by key."""
        values = dict(argument.split("=", 1) for argument in record.arguments)
        return {key: values[key] for key in self.space if key in values}

    def winner(self, record: JobRecord) -> str:
        """The command that runs a trial's settings as an experiment with several seeds."""
        drawn = [f"{key}={value}" for key, value in self.drawn(record).items()]
        return shlex.join(
            ["musicreclass", "train", "-m", *self.fixed, *drawn, f"seed={WINNER_SEEDS}", "evaluate=[valid,test]"]
        )

    def importance(self, scored: list[JobRecord]) -> dict[str, float]:
        """Optuna's functional ANOVA: the share of each key in the variance of the score, the largest first.

        The shares add up to 1. Empty if fewer than two scores differ.
        """
        import optuna
        from optuna.importance import FanovaImportanceEvaluator, get_param_importances

        if len({record.score for record in scored}) < 2:
            return {}
        study = optuna.create_study(direction="maximize")
        for record in scored:
            params = {key: parse_value(text, self.space[key]) for key, text in self.drawn(record).items()}
            space = {key: self.space[key] for key in params}
            study.add_trial(optuna.trial.create_trial(params=params, distributions=space, value=record.score))
        try:
            importance = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
        except RuntimeError:  # no tree of its forest splits
            return {}
        return {key: float(fraction) for key, fraction in importance.items()}


def try_optuna(sweeper: DictConfig) -> None:
    """Make the sampler and the pruner of a sweeper.

    Raises:
        ConfigError: if Optuna rejects their arguments.
    """
    import optuna

    makers = {"sampler": optuna.samplers.TPESampler, "pruner": optuna.pruners.MedianPruner}
    for name, make in makers.items():
        try:
            make(**(sweeper[name] or {}))
        except (TypeError, ValueError) as error:
            key = f"hydra.sweeper.{name}"
            raise ConfigError([Problem(f"{key}: Optuna rejects it: {error}", "invalid_value", key, name)]) from error


def silence_optuna() -> None:
    """Print nothing of what the sweep's records contain."""
    import optuna

    optuna.logging.set_verbosity(logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    logging.getLogger("hydra_plugins").setLevel(logging.CRITICAL)


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as CSV, with a column for every key of any row."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, names, restval="")
        table.writeheader()
        table.writerows(rows)


def ranking_metric(records: list[JobRecord]) -> str:
    """The metric by which jobs are ranked."""
    return main_metrics({name for record in records for name in record.metrics})[1]


def search_figure(rows: list[dict[str, Any]], importance: dict[str, float], metric: str) -> Figure:
    """The course of a search (each trial's score and the best so far), and the importance of what was searched."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    done = [row for row in rows if row["state"] == "done" and row[metric] is not None]
    left.plot([row["trial"] for row in done], [row[metric] for row in done], "o", color="0.55", label="trial")
    left.step([row["trial"] for row in done], [row["best_so_far"] for row in done], where="post", label="best so far")
    pruned = sum(row["state"] == "pruned" for row in rows)
    title = f"{counted(len(done), 'trial')}" + (f", {pruned} pruned" if pruned else "")
    left.set(xlabel="trial", ylabel=f"{METRIC_LABELS[metric]} on validation", title=title)
    left.legend(frameon=False)
    keys = sorted(importance, key=lambda key: importance[key])
    right.barh([key.lstrip("+") for key in keys], [importance[key] for key in keys])
    right.set(xlabel="share of the variance (fANOVA)", title="importance", xlim=(0, None))
    return figure
