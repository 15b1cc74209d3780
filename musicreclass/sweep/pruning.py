"""Stops a search's trial when its validation scores fall behind those of earlier trials.

A trial is compared with the trials that had ended when its batch began, never with those that run at the same time. Whether it is
stopped therefore follows from the command alone, in whatever order the jobs of a batch progress.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from musicreclass.errors import TrialPruned
from musicreclass.evaluation.metric_names import CLASS_METRICS, TAG_METRICS
from musicreclass.report.history import Curves
from musicreclass.storage.atomic import write_json

SCORES = tuple(f"valid/{metrics[1]}" for metrics in (CLASS_METRICS, TAG_METRICS))  # reported by networks once per epoch
FILE = "pruning.json"  # in the sweep's folder; rewritten before each batch


def write_reference(folder: Path, pruner: dict[str, Any], trials: list[dict[int, float]]) -> None:
    """Write what the trials of the next batch are compared with.

    Args:
        folder: the sweep's.
        pruner: keyword arguments of `optuna.pruners.MedianPruner`.
        trials: the score by epoch of each completed trial.
    """
    write_json(folder / FILE, {"pruner": pruner, "trials": trials})


class PruningCheck:
    """Decides after each epoch whether a trial continues.

    Args:
        pruner: keyword arguments of `optuna.pruners.MedianPruner`.
        trials: the score by epoch of each completed trial.
    """

    def __init__(self, pruner: dict[str, Any], trials: list[dict[int, float]]) -> None:
        import optuna

        optuna.logging.set_verbosity(logging.ERROR)
        study = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner(**pruner))
        for scores in trials:
            study.add_trial(optuna.trial.create_trial(value=0.0, intermediate_values=scores))
        self.trial = study.ask()
        self.last_epoch = -1

    @classmethod
    def load(cls, folder: Path) -> PruningCheck | None:
        """The check for a trial of the current batch; None if the sweep in this folder does not prune."""
        try:
            reference = json.loads((folder / FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        trials = [{int(epoch): score for epoch, score in scores.items()} for scores in reference["trials"]]
        return cls(reference["pruner"], trials)

    def __call__(self, epoch: int, values: dict[str, float]) -> None:
        """Take the values of an epoch. Models that report no score are never pruned.

        Raises:
            TrialPruned: if the best score so far is below the median of the completed trials at this epoch.
        """
        score = score_of(values)
        if score is not None and epoch > self.last_epoch:  # a resumed run may train its last epoch again
            self.last_epoch = epoch
            self.trial.report(score, epoch)
            if self.trial.should_prune():
                raise TrialPruned(epoch)

    def replay(self, scores: dict[int, float], run_folder: Path) -> None:
        """Take the scores of a run that is finished.

        Raises:
            TrialPruned: as for each epoch.
        """
        for epoch, score in scores.items():
            try:
                self(epoch, {SCORES[0]: score})
            except TrialPruned as pruned:
                pruned.folder = run_folder
                raise


def read_scores(run_folder: Path) -> dict[int, float]:
    """The score by epoch of a run; empty if its model reports none."""
    rows = Curves(run_folder, tensorboard=False, resume=True).rows
    scores = {int(row["epoch"]): score_of(row) for row in rows}
    return {epoch: score for epoch, score in scores.items() if score is not None}


def score_of(values: dict[str, float]) -> float | None:
    """The score among the values of an epoch; None if the model reports none."""
    return next((values[name] for name in SCORES if name in values), None)
