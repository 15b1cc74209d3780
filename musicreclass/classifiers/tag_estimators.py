"""scikit-learn-style estimators of tags: one for each tag, behind one preprocessing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed

from musicreclass.classifiers.base import Workspace
from musicreclass.classifiers.calibration_folds import undivided_tracks
from musicreclass.classifiers.class_weights import balanced_weights
from musicreclass.classifiers.estimator import EstimatorClassifier, load_skops, preprocessing_steps
from musicreclass.classifiers.model_folder import ModelCard, reading
from musicreclass.data.table import TableData
from musicreclass.data.track_data import TrackData
from musicreclass.plurals import counted

TAGS = "tags.skops"


class TagEstimatorClassifier(EstimatorClassifier):
    """Imputation and scaling, then a binary estimator for each tag that some training tracks have and others lack.

    The probability of another tag is the share of training tracks with it: 0 or 1.
    """

    estimators: list[Any]  # one for each of `present`

    def fit(self, data: TrackData, work: Workspace) -> None:
        """Fit preprocessing and estimators on the training split."""
        from sklearn.base import clone
        from sklearn.pipeline import Pipeline

        assert isinstance(data, TableData)
        x, y = self._begin_tags(data)
        self.pipeline = Pipeline(preprocessing_steps(self.card.scale))
        x = self.pipeline.fit_transform(x)

        def fit_one(tag: int) -> Any:
            target = y[:, tag]
            weight = {"sample_weight": balanced_weights(target, 2)[target]} if self.weighted else {}
            estimator = clone(self.estimator)
            with undivided_tracks(estimator, data, target):
                return estimator.fit(x, target, **weight)

        # the fits release the GIL; each uses one thread
        self.estimators = Parallel(self.threads, backend="threading")(delayed(fit_one)(tag) for tag in self.present)

    @property
    def threads(self) -> int:
        """How many tags are fitted at a time: 1 if the estimator has threads itself."""
        from musicreclass.hardware.machine import cores

        return 1 if (getattr(self.estimator, "n_jobs", None) or 1) != 1 else cores()[0]

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """Probabilities of the tags, (n, C) float64."""
        x = self.pipeline.transform(x)
        full = np.tile(self.constant, (len(x), 1))
        for tag, estimator in zip(self.present, self.estimators, strict=True):
            full[:, tag] = estimator.predict_proba(x)[:, 1]
        return full

    def write(self, folder: Path) -> None:
        """Write preprocessing and estimators in skops's format, which contains no code."""
        from skops import io

        super().write(folder)
        io.dump(self.estimators, folder / TAGS)

    @classmethod
    def load(cls, folder: Path, card: ModelCard, trust: tuple[str, ...]) -> TagEstimatorClassifier:
        """See `Classifier`."""
        classifier = cls(card, None)
        classifier._load_preprocessing(folder, trust)
        classifier.estimators = load_skops(folder / TAGS, trust)
        with reading(folder / TAGS):
            if not isinstance(classifier.estimators, list) or len(classifier.estimators) != len(classifier.present):
                raise ValueError(f"not an estimator for each of {counted(len(classifier.present), 'tag')}")
        return classifier
