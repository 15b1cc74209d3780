"""The progress of boosting: the validation losses so far, when to stop, and the checkpoint that a fit resumes from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from musicreclass.classifiers.base import Workspace
from musicreclass.config.messages import one_line
from musicreclass.errors import RunError, notices
from musicreclass.storage.atomic import SyncBudget, replacing
from musicreclass.storage.damage import raise_if_not_damage, set_aside

MAXIMISED = ("auc", "map", "ndcg", "pre")  # prefixes of XGBoost's metrics that grow; all others fall
FALLING = "mape"  # although it begins as one of them
LOSSES = ("logloss", "mlogloss")  # logged as `loss`, as that of networks; other metrics under their names
DIGEST = hashlib.sha256().digest_size


class Progress:
    """The validation losses so far, and whether they have stopped falling.

    Args:
        losses: one per round; the negative of a metric that is maximised, NaN where it is undefined.
        patience: rounds without a smaller loss after which boosting ends, or None for never.

    Attributes:
        metric: the name of the metric, once there was a round.
    """

    metric = "the metric"

    def __init__(self, losses: list[float], patience: int | None) -> None:
        self.losses = losses
        self.patience = patience
        self.budget = SyncBudget()

    @property
    def rounds(self) -> int:
        """How many rounds there were."""
        return len(self.losses)

    def best(self) -> int:
        """The first round with the smallest loss.

        Raises:
            RunError: if the metric is undefined in every round.
        """
        if np.isnan(self.losses).all():
            line = f"model.eval_metric: {self.metric} is undefined (NaN) on the validation tracks in all of {self.rounds} rounds; "
            line += "choose another metric, or model.early_stopping_rounds=null"
            raise RunError(line, "undefined_metric", "model.eval_metric", self.metric)
        return int(np.nanargmin(self.losses))

    def is_over(self) -> bool:
        """Whether boosting must stop early."""
        return (
            self.patience is not None and self.rounds > self.patience and self.rounds - 1 - self.best() >= self.patience
        )


def progress_callback(progress: Progress, work: Workspace) -> Any:
    """A callback for XGBoost that notes the last metric of each round, and ends the segment when boosting must stop."""
    from xgboost.callback import TrainingCallback

    class Callback(TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            latest = {split: float(next(reversed(history.values()))[-1]) for split, history in evals_log.items()}
            progress.metric = metric = next(reversed(evals_log["valid"]))
            work.log_epoch(
                progress.rounds, {f"{split}/{logged_name(metric)}": value for split, value in latest.items()}
            )
            grows = metric.startswith(MAXIMISED) and metric != FALLING
            progress.losses.append(-latest["valid"] if grows else latest["valid"])
            return progress.is_over()

    return Callback()


def logged_name(metric: str) -> str:
    """The name of a metric of XGBoost in curves; without the `@` of `error@0.3`, which trackers reject."""
    return "loss" if metric in LOSSES else metric.replace("@", "_at_")


def save_rounds(booster: Any, progress: Progress, path: Path) -> None:
    """Write the trees so far with their losses, in one step; the file begins with the SHA-256 of the rest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    booster.set_attr(losses=json.dumps(progress.losses))
    content = bytes(booster.save_raw("ubj"))
    with replacing(path) as scratch:
        scratch.write_bytes(hashlib.sha256(content).digest() + content)
        progress.budget.sync(scratch)
    booster.set_attr(losses=None)


def load_rounds(path: Path) -> tuple[Any, Progress] | None:
    """The booster and progress that `save_rounds` wrote; None if there is no file, or a damaged one, which could crash XGBoost.

    A damaged file is renamed, so that the run that starts over does not overwrite it.

    Raises:
        OSError, MemoryError, XGBoostError: if the file cannot be read, or memory does not suffice.
    """
    import xgboost

    if not path.is_file():
        return None
    try:
        content = path.read_bytes()
        if hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
            raise ValueError("it is damaged")
        booster = xgboost.Booster(model_file=bytearray(content[DIGEST:]))
        losses = [float(loss) for loss in json.loads(str(booster.attr("losses")))]
        if booster.num_boosted_rounds() != len(losses):
            raise ValueError("trees and losses do not match")
    except FileNotFoundError:
        return None
    except Exception as error:
        raise_if_not_damage(path, error)
        message = "%s cannot be resumed, the run starts over: it is damaged (%s); kept as %s"
        notices.warning(message, path, one_line(error)[:160], set_aside(path).name)
        return None
    booster.set_attr(losses=None)
    return booster, Progress(losses, None)
