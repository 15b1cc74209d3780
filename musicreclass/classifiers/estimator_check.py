"""Checks of an estimator's parameters by its own library, before it is fitted."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np

from musicreclass.config.messages import one_line
from musicreclass.errors import ConfigError, Problem

ALIASES = {"min_split_loss": "gamma"}  # XGBoost's names, as its classifier names them
OF_COLUMNS = ("monotone_constraints", "interaction_constraints", "feature_types", "feature_weights")
SMALL_FITS = (
    "LogisticRegression",
    "RandomForestClassifier",
)  # of scikit-learn, with parameters that exclude each other


def check_parameters(estimator: Any, key: str = "model") -> None:
    """Check the parameters of a scikit-learn estimator, and of those that it contains.

    Args:
        estimator: not fitted; any other object is accepted.
        key: of its settings.

    Raises:
        ConfigError: with the first parameter that it rejects.
    """
    if not hasattr(estimator, "_parameter_constraints"):
        return
    try:
        estimator._validate_params()
        if type(getattr(estimator, "cv", None)) is int:
            from sklearn.model_selection import check_cv

            check_cv(estimator.cv)
    except (TypeError, ValueError) as error:
        raise rejected(error, key) from error
    for name, part in estimator.get_params(deep=False).items():
        check_parameters(part, f"{key}.{name}")
    if type(estimator).__module__.startswith("sklearn.") and type(estimator).__name__ in SMALL_FITS:
        try_small_fit(estimator, key)


def try_small_fit(estimator: Any, key: str) -> None:
    """Fit a copy on a few rows of two classes, without the parameters that depend on the data.

    Raises:
        ConfigError: if it rejects a combination of its parameters.
    """
    from sklearn.base import clone

    trial = clone(estimator)
    few = {"n_estimators": 1, "max_iter": 1, "n_jobs": 1, "class_weight": None, "monotonic_cst": None}
    if type(trial.get_params().get("max_samples")) is int:
        few["max_samples"] = None if trial.get_params().get("bootstrap") else 1
    trial.set_params(**{name: value for name, value in few.items() if name in trial.get_params()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            trial.fit(np.eye(8), np.arange(8) % 2)
        except (TypeError, ValueError) as error:
            raise rejected(error, key) from error


def check_boosting(estimator: Any) -> None:
    """Grow one tree on a few rows, for two and for three classes: XGBoost checks its parameters only when it trains.

    Raises:
        ConfigError: if it rejects them, or grows what is no tree.
    """
    import xgboost

    settings = estimator.get_params()
    if settings.get("booster") == "gblinear":
        line = "model.booster=gblinear: is not supported; use gbtree or dart, or model=logreg for a linear model"
        raise ConfigError([Problem(line, "invalid_value", "model.booster", "gblinear", "gbtree")])
    left_out = {"n_jobs", "n_estimators", "early_stopping_rounds"}
    left_out |= {
        name for name in OF_COLUMNS if str(settings.get(name))[:1] in "([{"
    }  # their length is that of the data
    parameters = {k: v for k, v in estimator.get_xgb_params().items() if v is not None and k not in left_out}
    metrics = parameters.get("eval_metric", "")
    for metric in metrics if isinstance(metrics, list) else [metrics]:
        if not isinstance(metric, str):
            raise ConfigError(
                [Problem(f"model.eval_metric={metric}: must be text", "invalid_value", "model.eval_metric")]
            )
    quiet = {"nthread": 1, "seed": 0, "verbosity": 0}
    several: dict[str, Any] = {"objective": "multi:softprob", "num_class": 3}
    for classes, objective in ((2, {}), (3, several)):
        matrix = xgboost.QuantileDMatrix(np.eye(6), np.arange(6) % classes, max_bin=settings["max_bin"] or 256)
        metric = {} if metrics else {"eval_metric": "mlogloss" if objective else "logloss"}
        try:
            merged = {**quiet, **metric, **parameters, **objective}
            xgboost.train(merged, matrix, 1, evals=[(matrix, "train")], verbose_eval=False)
        except (xgboost.core.XGBoostError, TypeError, ValueError) as error:
            raise rejected(error, "model", parameters) from error


def rejected(error: Exception, key: str, values: dict[str, Any] | None = None) -> ConfigError:
    """The error of a parameter that a library rejects, under its key if the library names it or its value.

    Args:
        error: of the library.
        key: of the settings.
        values: the parameters, to recognise one whose value the message names.
    """
    text = one_line(error) if values is None else str(error).splitlines()[0]
    text = re.sub(r"^\[[\d:]+\] \S+: (Check failed: )?", "", text)
    named = re.search(r"The '(\w+)' parameter of|for Parameter (\w+)|Parameter format for (\w+)", text)
    parameter = next(filter(None, named.groups()), "") if named else ""
    parameter = ALIASES.get(parameter, parameter)
    if not parameter:
        words = re.findall(r"[\w.:-]+", text)
        parameter = next(
            (name for name, value in (values or {}).items() if name in words or parts(value) & {*words}), ""
        )
    full = f"{key}.{parameter}" if parameter else key
    return ConfigError([Problem(f"{full}: {text}", "invalid_value", full)])


def parts(value: Any) -> set[str]:
    """A text, or the texts in a list; numbers are in too many messages."""
    return {item for item in (value if isinstance(value, (list, tuple)) else [value]) if isinstance(item, str)}
