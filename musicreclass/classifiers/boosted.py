"""XGBoost: as any estimator, but stopped early on the validation split, with a curve, and saved in its own format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from musicreclass.classifiers.base import Meta, Workspace, refusing
from musicreclass.classifiers.estimator import EstimatorClassifier, preprocessing_steps
from musicreclass.classifiers.weights import balanced_weights
from musicreclass.data.table import TableData
from musicreclass.data.tracks import TrackData
from musicreclass.errors import RunError

TARGETS = ("xgboost.XGBClassifier", "xgboost.sklearn.XGBClassifier")


class BoostedClassifier(EstimatorClassifier):
    """An XGBoost classifier behind the same preprocessing as every estimator."""

    def fit(self, data: TrackData, work: Workspace) -> None:
        """Boost on the training split until the validation loss stops falling."""
        from sklearn.pipeline import Pipeline
        from xgboost.callback import TrainingCallback

        class Curves(TrainingCallback):
            """Hands each round's losses on."""

            def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
                names = {"validation_0": "train/loss", "validation_1": "valid/loss"}
                work.log_epoch(epoch, {names[k]: float(next(iter(v.values()))[-1]) for k, v in evals_log.items()})
                return False

        assert isinstance(data, TableData)
        x, y = self._begin(data)
        self.pipeline = Pipeline(preprocessing_steps(self.meta.scale))
        x = self.pipeline.fit_transform(x)
        _, x_valid, y_valid = data.arrays("valid")
        known = np.isin(y_valid, self.present)  # a class that cannot be predicted cannot say when to stop
        watched = [(x, y), (self.pipeline.transform(x_valid[known]), np.searchsorted(self.present, y_valid[known]))]
        if self.estimator.eval_metric is None:
            self.estimator.set_params(eval_metric="mlogloss" if len(self.present) > 2 else "logloss")
        self.estimator.set_params(callbacks=[*(self.estimator.callbacks or []), Curves()])
        weight = balanced_weights(y, len(self.present))[y] if self.weighted else None
        self.estimator.fit(x, y, sample_weight=weight, eval_set=watched, verbose=False)
        self.estimator.set_params(callbacks=None)
        self.facts = {"rounds": self.estimator.get_booster().num_boosted_rounds()}
        if self.estimator.early_stopping_rounds is not None:
            self.facts["best_round"] = int(self.estimator.best_iteration)

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """See `Classifier`; trees after the best round take no part."""
        probability = self.estimator.predict_proba(self.pipeline.transform(x)).astype(np.float64)
        return self._spread(probability / probability.sum(axis=1, keepdims=True), np.arange(len(self.present)))

    def save(self, folder: Path) -> None:
        """Write the trees in XGBoost's own format, the preprocessing in skops's."""
        super().save(folder)
        self.estimator.save_model(folder / "trees.ubj")

    @classmethod
    def load(cls, folder: Path, meta: Meta, trust: tuple[str, ...]) -> BoostedClassifier:
        """See `classifiers.build.load`."""
        import xgboost

        if meta.target not in TARGETS:
            raise RunError(f"{folder}/meta.json: {meta.target} is not XGBoost's classifier")
        found = cls(meta, xgboost.XGBClassifier())
        found._load_preprocessing(folder, trust)
        with refusing(folder / "trees.ubj"):
            found.estimator.load_model(folder / "trees.ubj")
        return found
