"""XGBoost: stopped early on the validation split, with a learning curve, saved in its own format, and resumed exactly.

Boosting proceeds in segments of a few rounds. Each segment continues from the trees so far with a seed derived from the run's seed
and the segment's first round, so that an interrupted fit grows the same trees. (XGBoost keeps the state of its random generator in
memory only; a fit that simply continued after an interruption would grow others.)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from musicreclass.classifiers.base import Workspace
from musicreclass.classifiers.boosting_progress import Progress, load_rounds, progress_callback, save_rounds
from musicreclass.classifiers.class_weights import balanced_weights
from musicreclass.classifiers.estimator import EstimatorClassifier, preprocessing_steps
from musicreclass.classifiers.model_folder import CARD, ModelCard, reading
from musicreclass.classifiers.tree_check import check_xgboost
from musicreclass.data.sampling import derive_seed
from musicreclass.data.table import TableData
from musicreclass.data.track_data import TrackData
from musicreclass.errors import RunError

TARGETS = ("xgboost.XGBClassifier", "xgboost.sklearn.XGBClassifier")
TREES = "trees.ubj"
SEGMENT = 10  # rounds between two checkpoints: restarting costs under 2 % of their time
ROUNDS = 100  # where n_estimators is null, as in XGBoost


class BoostedClassifier(EstimatorClassifier):
    """An XGBoost classifier behind the same preprocessing as every estimator; of tags, with a tree for each tag in each round."""

    booster: Any

    def fit(self, data: TrackData, work: Workspace) -> None:
        """Boost on the training split until the validation loss stops falling; keep the trees up to the best round."""
        import xgboost

        assert isinstance(data, TableData)
        settings: dict[str, Any] = self.estimator.get_params()
        train, valid = self._matrices(data, settings["max_bin"] or 256)
        patience, limit = settings["early_stopping_rounds"], settings["n_estimators"]
        limit = ROUNDS if limit is None else limit
        parameters, seed = self._parameters(), settings["random_state"] or 0
        path = work.folder / "checkpoints" / "rounds.bin"
        booster: Any
        booster, progress = (load_rounds(path) if work.resume else None) or (None, Progress([], patience))
        progress.patience = patience
        while progress.rounds < limit and not progress.is_over():
            booster = xgboost.train(
                {**parameters, "seed": derive_seed(seed, progress.rounds) % 2**31},
                train,
                min(SEGMENT, limit - progress.rounds),
                evals=[(train, "train"), (valid, "valid")],
                callbacks=[progress_callback(progress, work)],
                xgb_model=booster,
                verbose_eval=False,
            )
            save_rounds(booster, progress, path)
        best = progress.best() if patience is not None else progress.rounds - 1
        self.booster = booster[: best + 1]
        self.fit_summary = {"rounds": progress.rounds, "best_round": best}

    def _matrices(self, data: TableData, bins: int) -> tuple[Any, Any]:
        """The training and validation splits as XGBoost reads them; fits the preprocessing on the former."""
        import xgboost
        from sklearn.pipeline import Pipeline

        x, y = self._begin_tags(data) if self.card.is_multi else self._begin(data)
        self.pipeline = Pipeline(preprocessing_steps(self.card.scale))
        x = self.pipeline.fit_transform(x)
        _, x_valid, y_valid = data.arrays("valid")
        if self.card.is_multi:
            train = xgboost.QuantileDMatrix(x, y[:, self.present], max_bin=bins)
            x_valid = self.pipeline.transform(x_valid)
            return train, xgboost.QuantileDMatrix(x_valid, y_valid[:, self.present], ref=train, max_bin=bins)
        predictable = np.isin(y_valid, self.present)  # tracks of other classes cannot decide when to stop
        x_valid = self.pipeline.transform(x_valid[predictable])
        y_valid = np.searchsorted(self.present, y_valid[predictable])
        weight = balanced_weights(y, len(self.present))[y] if self.weighted else None
        train = xgboost.QuantileDMatrix(x, y, weight=weight, max_bin=bins)
        return train, xgboost.QuantileDMatrix(x_valid, y_valid, ref=train, max_bin=bins)

    def _parameters(self) -> dict[str, Any]:
        """What XGBoost is called with: the estimator's settings, and an objective for these classes."""
        multiclass = len(self.present) > 2 and not self.card.is_multi
        return {
            "eval_metric": "mlogloss" if multiclass else "logloss",
            **{name: value for name, value in self.estimator.get_xgb_params().items() if value is not None},
            **({"objective": "multi:softprob", "num_class": len(self.present)} if multiclass else {}),
        }

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """See `Classifier`."""
        probability = np.asarray(self.booster.inplace_predict(self.pipeline.transform(x)), np.float64)
        if self.card.is_multi:
            full = np.tile(self.constant, (len(x), 1))
            full[:, self.present] = probability.reshape(len(x), -1)
            return full
        if probability.ndim == 1:  # of the second of two classes
            probability = np.stack([1 - probability, probability], axis=1)
        return self._spread(probability / probability.sum(axis=1, keepdims=True), np.arange(len(self.present)))

    def write(self, folder: Path) -> None:
        """Write the trees in XGBoost's own format, the preprocessing in skops's."""
        super().write(folder)
        self.booster.save_model(folder / TREES)

    @classmethod
    def load(cls, folder: Path, card: ModelCard, trust: tuple[str, ...]) -> BoostedClassifier:
        """See `Classifier`."""
        import xgboost

        if card.target not in TARGETS:
            line = f"{folder / CARD}: {card.target} is not XGBoost's classifier"
            raise RunError(line, "invalid_target", folder / CARD, card.target)
        classifier = cls(card, None)
        classifier._load_preprocessing(folder, trust)
        with reading(folder / TREES):
            check_xgboost(folder / TREES, len(card.columns), len(classifier.present), card.is_multi)
            classifier.booster = xgboost.Booster(model_file=folder / TREES)
        return classifier
