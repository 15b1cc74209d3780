"""scikit-learn-style estimators with their preprocessing in one Pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from joblib import parallel_config

from musicreclass.classifiers.base import Classifier, Workspace
from musicreclass.classifiers.calibration_folds import undivided_tracks
from musicreclass.classifiers.class_weights import balanced_weights
from musicreclass.classifiers.model_folder import ModelCard, check_archive, reading
from musicreclass.classifiers.tree_check import check_estimator
from musicreclass.data.table import TableData
from musicreclass.data.track_data import TrackData
from musicreclass.errors import RunError, trust_remedy
from musicreclass.evaluation.ranking import scored_tags
from musicreclass.plurals import counted

TRUSTED = (  # types that skops may load besides its defaults: parts of the estimators in conf/model
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.tree._tree.Tree",
    "numpy.dtype",
)
CONSTANT = "constant.npy"  # of models of tags


class EstimatorClassifier(Classifier):
    """Imputation, scaling and an estimator, all fitted on the training split.

    Args:
        card: what the model is.
        estimator: has `fit` and `predict_proba`.
        weighted: whether each class has the same weight.
    """

    def __init__(self, card: ModelCard, estimator: Any, weighted: bool = False) -> None:
        self.card = card
        self.estimator = estimator
        self.weighted = weighted
        self.fit_summary = {}
        self.pipeline: Any = None
        self.present = np.empty(
            0, np.int64
        )  # numbers of the classes with training tracks; of the tags that can be learned
        self.constant = np.empty(0)  # of tags: the share of training tracks with each

    def fit(self, data: TrackData, work: Workspace) -> None:
        """Fit preprocessing and estimator on the training split."""
        assert isinstance(data, TableData)
        x, y = self._begin(data)
        self.pipeline = self._make_pipeline()
        weight = balanced_weights(y, len(self.present))[y] if self.weighted else None
        # the fits release the GIL; processes take seconds to start
        with parallel_config(backend="threading"), undivided_tracks(self.estimator, data, y):
            self.pipeline.fit(x, y, **({} if weight is None else {"classify__sample_weight": weight}))

    def _begin(self, data: TrackData) -> tuple[np.ndarray, np.ndarray]:
        """The training split, its classes numbered without gaps."""
        assert isinstance(data, TableData)
        _, x, y = data.arrays("train")
        self.present = np.unique(y)
        return x, np.searchsorted(self.present, y)

    def _begin_tags(self, data: TrackData) -> tuple[np.ndarray, np.ndarray]:
        """The training split, with indicators of all tags that train or valid has, (n, C)."""
        assert isinstance(data, TableData)
        _, x, y = data.arrays("train")
        self.present = np.flatnonzero(scored_tags(y))
        self.constant = np.pad(y.mean(axis=0), (0, len(self.card.classes) - y.shape[1]))
        return x, y

    def _make_pipeline(self) -> Any:
        from sklearn.pipeline import Pipeline

        return Pipeline([*preprocessing_steps(self.card.scale), ("classify", self.estimator)])

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """See `Classifier`; a class without training tracks has probability 0."""
        columns = np.asarray(self.pipeline.classes_)
        return self._spread(self.pipeline.predict_proba(x), columns)

    def _spread(self, probability: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Probabilities of the estimator's classes as columns of all classes."""
        if probability.shape[1:] != (len(columns),) or len(columns) != len(self.present):
            columns_text = (
                f"{counted(probability.shape[1], 'probability')}"
                if probability.ndim == 2
                else f"shape {probability.shape[1:]}"
            )
            raise ValueError(
                f"{self.card.target} returns {columns_text} per track; there are {counted(len(self.present), 'class')}"
            )
        full = np.zeros((len(probability), len(self.card.classes)))
        full[:, self.present[columns]] = probability
        return full

    def write(self, folder: Path) -> None:
        """Write the pipeline in skops's format, which contains no code."""
        from skops import io

        np.save(folder / "present.npy", self.present, allow_pickle=False)
        if self.card.is_multi:
            np.save(folder / CONSTANT, self.constant, allow_pickle=False)
        io.dump(self.pipeline, folder / "pipeline.skops")

    @classmethod
    def load(cls, folder: Path, card: ModelCard, trust: tuple[str, ...]) -> EstimatorClassifier:
        """See `Classifier`."""
        classifier = cls(card, None)
        classifier._load_preprocessing(folder, trust)
        classifier.estimator = classifier.pipeline[-1]
        return classifier

    def _load_preprocessing(self, folder: Path, trust: tuple[str, ...]) -> None:
        with reading(folder / "present.npy"):
            self.present = np.load(folder / "present.npy", allow_pickle=False)
            numbers, classes = self.present.tolist(), range(len(self.card.classes))
            if self.present.dtype.kind != "i" or self.present.ndim != 1 or not set(numbers) <= set(classes):
                raise ValueError("not class numbers")
            if len(set(numbers)) != len(numbers):
                raise ValueError("a class number is repeated")
        if self.card.is_multi:
            with reading(folder / CONSTANT):
                self.constant = np.load(folder / CONSTANT, allow_pickle=False)
                if self.constant.shape != (len(self.card.classes),) or self.constant.dtype.kind != "f":
                    raise ValueError("not a share for each tag")
        self.pipeline = load_skops(folder / "pipeline.skops", trust)


def preprocessing_steps(scale: bool) -> list[tuple[str, Any]]:
    """The steps before an estimator: medians for missing values, then mean 0 and standard deviation 1 if `scale`."""
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import StandardScaler

    impute = ("impute", SimpleImputer(strategy="median", keep_empty_features=True))
    return [impute, ("scale", StandardScaler())] if scale else [impute]


def load_skops(path: Path, trust: tuple[str, ...]) -> Any:
    """Read a skops file that contains only known types.

    Raises:
        RunError: if it is damaged, or contains types that are neither scikit-learn's nor of a trusted module.
    """
    from skops import io

    with reading(path):
        check_archive(path)
        unknown = [t for t in io.get_untrusted_types(file=path) if t not in TRUSTED]
        refused = [t for t in unknown if not any(t == m or t.startswith(f"{m}.") for m in trust)]
        if refused:
            module = refused[0].rpartition(".")[0]
            line = f"{path}: contains {', '.join(refused[:3])}; if you trust that code, {trust_remedy(module)}"
            raise RunError(line, "untrusted_module", path, refused, module)
        estimator = io.load(path, trusted=[*TRUSTED, *unknown])
        check_estimator(estimator)
        return estimator
