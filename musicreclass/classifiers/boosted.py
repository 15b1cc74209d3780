"""XGBoost: stopped early on the validation split, with a curve, saved in its own format, and resumed exactly.

Boosting goes on in segments of a few rounds. Each starts from the trees that are there and a seed of its own, drawn from the
run's seed and its first round; whether the process that grew those trees still lives makes no difference to it. (XGBoost keeps
the state of its random source in memory only, so a fit that simply went on after a kill would grow other trees.)
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from musicreclass.classifiers.base import ModelCard, Workspace, refusing
from musicreclass.classifiers.class_weights import balanced_weights
from musicreclass.classifiers.estimator import EstimatorClassifier, preprocessing_steps
from musicreclass.data.sampling import derive_seed
from musicreclass.data.table import TableData
from musicreclass.data.tracks import TrackData
from musicreclass.errors import RunError
from musicreclass.storage.atomic import replacing

TARGETS = ("xgboost.XGBClassifier", "xgboost.sklearn.XGBClassifier")
SEGMENT = 10  # rounds between two checkpoints: a start costs under 2 % of them
log = logging.getLogger("musicreclass")
GROWING = ("auc", "map", "ndcg", "pre")  # metrics that are to become large; all others are losses


class BoostedClassifier(EstimatorClassifier):
    """An XGBoost classifier behind the same preprocessing as every estimator."""

    booster: Any

    def fit(self, data: TrackData, work: Workspace) -> None:
        """Boost on the training split until the validation loss stops falling; keep the trees up to the best round."""
        import xgboost
        from sklearn.pipeline import Pipeline

        assert isinstance(data, TableData)
        settings: dict[str, Any] = self.estimator.get_params()
        x, y = self._begin(data)
        self.pipeline = Pipeline(preprocessing_steps(self.card.scale))
        x = self.pipeline.fit_transform(x)
        _, x_valid, y_valid = data.arrays("valid")
        known = np.isin(y_valid, self.present)  # a class that cannot be predicted cannot say when to stop
        x_valid, y_valid = self.pipeline.transform(x_valid[known]), np.searchsorted(self.present, y_valid[known])
        weight = balanced_weights(y, len(self.present))[y] if self.weighted else None
        bins = settings["max_bin"] or 256
        train = xgboost.QuantileDMatrix(x, y, weight=weight, max_bin=bins)
        valid = xgboost.QuantileDMatrix(x_valid, y_valid, ref=train, max_bin=bins)

        several = len(self.present) > 2
        parameters = {
            "eval_metric": "mlogloss" if several else "logloss",
            **{name: value for name, value in self.estimator.get_xgb_params().items() if value is not None},
            **({"objective": "multi:softprob", "num_class": len(self.present)} if several else {}),
        }
        seed, patience, most = (
            settings["random_state"] or 0,
            settings["early_stopping_rounds"],
            settings["n_estimators"] or 100,
        )
        place = work.folder / "checkpoints" / "rounds.bin"
        booster: Any
        booster, watch = (load_rounds(place) if work.resume else None) or (None, Watch([], patience))
        watch.patience = patience
        while len(watch.losses) < most and not watch.is_over():
            booster = xgboost.train(
                {**parameters, "seed": derive_seed(seed, len(watch.losses)) % 2**31},
                train,
                min(SEGMENT, most - len(watch.losses)),
                evals=[(train, "train"), (valid, "valid")],
                callbacks=[watch_callback(watch, work)],
                xgb_model=booster,
                verbose_eval=False,
            )
            save_rounds(booster, watch, place)
        best = watch.best() if patience is not None else len(watch.losses) - 1
        self.booster = booster[: best + 1]
        self.fit_summary = {"rounds": len(watch.losses), "best_round": best}

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """See `Classifier`."""
        probability = np.asarray(self.booster.inplace_predict(self.pipeline.transform(x)), np.float64)
        if probability.ndim == 1:  # of the second of two classes
            probability = np.stack([1 - probability, probability], axis=1)
        return self._spread(probability / probability.sum(axis=1, keepdims=True), np.arange(len(self.present)))

    def write(self, folder: Path) -> None:
        """Write the trees in XGBoost's own format, the preprocessing in skops's."""
        super().write(folder)
        self.booster.save_model(folder / "trees.ubj")

    @classmethod
    def load(cls, folder: Path, card: ModelCard, trust: tuple[str, ...]) -> BoostedClassifier:
        """See `classifiers.build.load`."""
        import xgboost

        if card.target not in TARGETS:
            raise RunError(f"{folder}/meta.json: {card.target} is not XGBoost's classifier")
        found = cls(card, None)
        found._load_preprocessing(folder, trust)
        with refusing(folder / "trees.ubj"):
            found.booster = xgboost.Booster(model_file=folder / "trees.ubj")
        return found


class Watch:
    """The validation losses so far, and whether they have stopped falling.

    Args:
        losses: one per round; of a metric that is to become large, its negative.
        patience: rounds without a smaller one after which boosting ends, or None for never.
    """

    def __init__(self, losses: list[float], patience: int | None) -> None:
        self.losses = losses
        self.patience = patience

    def best(self) -> int:
        """The first round with the smallest loss."""
        return int(np.argmin(self.losses))

    def is_over(self) -> bool:
        """Whether boosting is to end."""
        return self.patience is not None and bool(self.losses) and len(self.losses) - 1 - self.best() >= self.patience


def watch_callback(watch: Watch, work: Workspace) -> Any:
    """What XGBoost calls after each round: notes the losses, and ends the segment when it is time."""
    from xgboost.callback import TrainingCallback

    class Callback(TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            latest = {name: float(next(reversed(found.values()))[-1]) for name, found in evals_log.items()}
            metric = next(reversed(evals_log["valid"]))
            work.log_epoch(len(watch.losses), {f"{name}/loss": value for name, value in latest.items()})
            watch.losses.append(-latest["valid"] if metric.startswith(GROWING) else latest["valid"])
            return watch.is_over()

    return Callback()


def save_rounds(booster: Any, watch: Watch, place: Path) -> None:
    """Write the trees so far with the losses that led to them, in one file and one step, its SHA-256 ahead of it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    booster.set_attr(losses=json.dumps(watch.losses))
    content = bytes(booster.save_raw("ubj"))
    with replacing(place) as scratch:
        scratch.write_bytes(hashlib.sha256(content).digest() + content)
    booster.set_attr(losses=None)


def load_rounds(place: Path) -> tuple[Any, Watch] | None:
    """What `save_rounds` wrote, or None if it is not there or not whole: damaged trees can bring XGBoost's reader down."""
    import xgboost

    if not place.is_file():
        return None
    size = hashlib.sha256().digest_size
    try:
        found = place.read_bytes()
        if hashlib.sha256(found[size:]).digest() != found[:size]:
            raise ValueError("it is damaged")
        booster = xgboost.Booster(model_file=bytearray(found[size:]))
        losses = [float(loss) for loss in json.loads(str(booster.attr("losses")))]
        if booster.num_boosted_rounds() != len(losses):
            raise ValueError("trees and losses do not match")
    except Exception as error:
        log.warning("%s cannot be gone on from, the run starts over: %s", place, str(error)[:160])
        return None
    booster.set_attr(losses=None)
    return booster, Watch(losses, None)
