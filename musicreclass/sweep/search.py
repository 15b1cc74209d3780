"""What an Optuna search has found: the best trial, what mattered, how it went, and the command that runs the winner."""

from __future__ import annotations

import csv
import logging
import math
import shlex
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from musicreclass.storage.atomic import write_text

if TYPE_CHECKING:
    from musicreclass.config.check import Check

SEEDS = "1,2,3,4,5"  # of the winner's command: not the seed that it was chosen with
SHOWN = 5  # of the best trials, on the terminal
LEFT = ("search", "seed", "evaluate", "force")  # of the search's own overrides: not the winner's


@dataclass
class Search:
    """A search that is over, or was stopped.

    Args:
        folder: the sweep's; takes `search.csv`, `importance.csv`, `search.png` and `winner.txt`.
        space: the distributions that Optuna draws from, by key.
        fixed: the words of the command that hold for every trial, and for the winner.
    """

    folder: Path
    space: dict[str, Any]
    fixed: list[str]

    @classmethod
    def of(cls, check: Check, overrides: list[str], config_dir: str | None, folder: Path) -> Search:
        """The search that a checked command line asks for."""
        from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides

        assert check.first is not None
        settings = [f"{key}={value}" for key, value in (check.first.hydra.sweeper.params or {}).items()]
        given = [str(o.input_line) for o in check.overrides if not o.is_hydra_override()]
        space, fixed = create_params_from_overrides([*settings, *given])
        space = {key: distribution for key, distribution in space.items() if key not in fixed}
        named = check.first.hydra.runtime.choices.get("search")
        groups = check.tree.chosen_by("search", named) if named else {}
        words = ["--config-dir", config_dir] if config_dir else []
        words += [f"{group}={option}" for group, option in groups.items() if group not in fixed]
        words += [f"{key}={value}" for key, value in fixed.items() if key.lstrip("+") not in LEFT]
        return cls(folder, space, words)

    def report(self, records: list[dict[str, Any]]) -> None:
        """Write the tables and the figure, and print the best trials, what mattered and the winner's command.

        Args:
            records: of the sweep's jobs.
        """
        rows, scored = self.history(records)
        write_csv(self.folder / "search.csv", rows)
        if not scored:
            print("search: no trial was finished, so there is no winner")
            return
        importance = self.importance(scored)
        write_csv(
            self.folder / "importance.csv", [{"key": key, "importance": part} for key, part in importance.items()]
        )
        search_figure(rows, importance).savefig(self.folder / "search.png", dpi=130)
        best = max(scored, key=lambda record: record["macro_f1"])
        command = self.winner(best)
        write_text(self.folder / "winner.txt", command + "\n")
        console = Console(highlight=False)
        console.print(self.table(scored, importance))
        told = f"best validation macro-F1: {100 * best['macro_f1']:.2f}, of trial {best['job']} among {len(scored)}"
        print(f"{told}; see {self.folder}/search.csv, importance.csv, search.png")
        print("A search's best score flatters it: it was chosen for it. Its winner with other seeds, scored on test:")
        print(f"  {command}", flush=True)

    def history(self, records: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The trials as rows, each with the best value so far; and the records of those that have a value."""
        rows, scored, best = [], [], -math.inf
        for record in records:
            value = record.get("macro_f1")
            if record["state"] == "done" and value is not None:
                scored.append(record)
                best = max(best, value)
            row = {"trial": record["job"], "state": record["state"], "macro_f1": value}
            row |= {"best_so_far": best if scored else None, "run": record.get("run", ""), **self.drawn(record)}
            rows.append(row)
        return rows, scored

    def drawn(self, record: dict[str, Any]) -> dict[str, str]:
        """What the search has set for a trial, as text."""
        given = dict(word.split("=", 1) for word in record["words"])
        return {key: given[key] for key in self.space if key in given}

    def winner(self, record: dict[str, Any]) -> str:
        """The command that runs a trial's settings as an experiment with several seeds."""
        drawn = [f"{key}={value}" for key, value in self.drawn(record).items()]
        return shlex.join(
            ["musicreclass", "train", "-m", *self.fixed, *drawn, f"seed={SEEDS}", "evaluate=[valid,test]"]
        )

    def importance(self, scored: list[dict[str, Any]]) -> dict[str, float]:
        """The part of the decrease in impurity that each key brings a random forest fitted on the trials; they add up to 1.

        Empty for a single trial. Optuna 2's functional ANOVA does not run with today's NumPy.
        """
        import optuna
        from optuna.importance import MeanDecreaseImpurityImportanceEvaluator, get_param_importances

        study = optuna.create_study(direction="maximize")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is used here was experimental in Optuna 2
            for record in scored:
                params = {key: value_of(text, self.space[key]) for key, text in self.drawn(record).items()}
                space = {key: self.space[key] for key in params}
                study.add_trial(optuna.trial.create_trial(params=params, distributions=space, value=record["macro_f1"]))
            if len(scored) < 2:
                return {}
            return dict(get_param_importances(study, evaluator=MeanDecreaseImpurityImportanceEvaluator(seed=0)))

    def table(self, scored: list[dict[str, Any]], importance: dict[str, float]) -> Table:
        """The best trials, a column for each key, the most important first."""
        table = Table(box=None, header_style="dim", pad_edge=False)
        keys = sorted(self.space, key=lambda key: -importance.get(key, 0.0))
        short = [key.lstrip("+").rpartition(".")[2] for key in keys]
        for name in ("trial", "macro-F1", *short):
            table.add_column(name, justify="right", no_wrap=name == "macro-F1", overflow="fold")
        for record in sorted(scored, key=lambda record: -record["macro_f1"])[:SHOWN]:
            drawn = self.drawn(record)
            shown = [Text(rounded(drawn.get(key, ""))) for key in keys]
            table.add_row(str(record["job"]), f"{100 * record['macro_f1']:.2f}", *shown)
        if importance:
            table.add_row("importance", "", *(f"{100 * importance.get(key, 0.0):.0f} %" for key in keys), style="cyan")
        return table


def quiet_optuna() -> None:
    """Let Optuna and its plugin say nothing of what the sweep's own records say."""
    import optuna

    optuna.logging.set_verbosity(logging.ERROR)
    logging.getLogger("hydra_plugins").setLevel(logging.CRITICAL)


def value_of(text: str, distribution: Any) -> Any:
    """A drawn value as Optuna knows it."""
    choices = getattr(distribution, "choices", None)
    if choices is not None:
        return next(choice for choice in choices if str(choice) == text)
    return float(text) if "." in text or "e" in text else int(text)


def rounded(text: str) -> str:
    """A number with four digits; anything else as it is."""
    try:
        return f"{float(text):.4g}"
    except ValueError:
        return text


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows as CSV, with a column for every key that any of them has."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, names, restval="")
        table.writeheader()
        table.writerows(rows)


def search_figure(rows: list[dict[str, Any]], importance: dict[str, float]) -> Any:
    """How a search went: each trial's value and the best so far; and the importance of what was searched."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    done = [row for row in rows if row["state"] == "done" and row["macro_f1"] is not None]
    left.plot([row["trial"] for row in done], [row["macro_f1"] for row in done], "o", color="0.55", label="trial")
    left.step([row["trial"] for row in done], [row["best_so_far"] for row in done], where="post", label="best so far")
    left.set(xlabel="trial", ylabel="macro-F1 on validation", title=f"{len(done)} trials")
    left.legend(frameon=False)
    keys = sorted(importance, key=lambda key: importance[key])
    right.barh([key.lstrip("+") for key in keys], [importance[key] for key in keys])
    right.set(xlabel="part of a random forest's decrease in impurity", title="importance", xlim=(0, None))
    return figure
