"""From a configuration, or from a saved model, to a Classifier."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import get_object
from sklearn.utils.validation import has_fit_parameter
from torch import nn

from musicreclass.classifiers.base import Classifier, ModelCard, check_sums, refusing
from musicreclass.classifiers.boosted import TARGETS, BoostedClassifier
from musicreclass.classifiers.estimator import EstimatorClassifier
from musicreclass.classifiers.network import NetworkClassifier, TrainerSettings
from musicreclass.config.hydra_adapter import instantiate
from musicreclass.config.messages import one_line
from musicreclass.data.recordings import AudioData
from musicreclass.data.table import TableData
from musicreclass.data.tracks import TrackData
from musicreclass.errors import ConfigError, RunError
from musicreclass.hardware.profile import Profile
from musicreclass.training.optimizers import make_optimizer, make_scheduler

KINDS: dict[str, type[Classifier]] = {
    "network": NetworkClassifier,
    "estimator": EstimatorClassifier,
    "boosted": BoostedClassifier,
}
ABOUT = (
    "_target_",
    "input",
    "scale",
    "sample_rate",
    "clip_seconds",
    "eval_crops",
    "eval_crop_position",
    "frontend",
)  # what a model's YAML says beside its target's arguments


def build(config: dict[str, Any], profile: Profile, data: TrackData) -> Classifier:
    """An unfitted Classifier around the `_target_` of `config["model"]`.

    Args:
        config: a resolved configuration.
        profile: what the machine offers.
        data: set up; gives the classes and the features.

    Raises:
        ConfigError: if the target cannot be imported or does not take its arguments.
    """
    node = config["model"]
    target = node["_target_"]
    try:
        found = get_object(target)
    except Exception as error:
        raise ConfigError([f"model._target_={target}: cannot be imported: {one_line(error)}"]) from error
    arguments = {name: value for name, value in node.items() if name not in ABOUT}
    columns = data.columns if isinstance(data, TableData) else []
    meta = ModelCard("network", target, arguments, node["input"], data.classes, columns, scale=node.get("scale", True))
    if isinstance(data, AudioData):
        meta.sample_rate, meta.frontend = data.sample_rate, node.get("frontend")
        meta.clip_seconds, meta.eval_crops, meta.eval_crop_position = (
            data.clip_seconds,
            data.eval_crops,
            data.eval_crop_position,
        )
    weighted = config["class_weight"] == "balanced"
    if isinstance(found, type) and issubclass(found, nn.Module):
        try_training_settings(config)
        return NetworkClassifier(meta, weighted, TrainerSettings.of(config, profile, data))
    threads = {"n_jobs": profile.threads} if "n_jobs" in arguments and arguments["n_jobs"] is None else {}
    try:
        estimator = instantiate({"_target_": target, **arguments, **threads})
    except (InstantiationException, TypeError) as error:
        raise ConfigError([f"model: {one_line(error.__cause__ or error)}"]) from error
    if not all(hasattr(estimator, name) for name in ("fit", "predict_proba", "get_params")):
        raise ConfigError(
            [f"model._target_={target}: neither an nn.Module nor an estimator with fit and predict_proba"]
        )
    if "random_state" in estimator.get_params() and estimator.get_params()["random_state"] is None:
        estimator.set_params(random_state=config["seed"])
    if weighted and not has_fit_parameter(estimator, "sample_weight"):
        raise ConfigError([f"class_weight=balanced: {target} takes no sample weights; choose class_weight=none"])
    if hasattr(estimator, "_parameter_constraints"):
        try:
            estimator._validate_params()
        except ValueError as error:
            raise ConfigError([f"model: {one_line(error)}"]) from error
    if target.startswith("xgboost.") and target not in TARGETS:
        raise ConfigError([f"model._target_={target}: of XGBoost's estimators there is {TARGETS[0]}"])
    kind = "boosted" if target in TARGETS else "estimator"
    meta.kind = kind
    made = BoostedClassifier if kind == "boosted" else EstimatorClassifier
    return made(meta, estimator, weighted)


def try_training_settings(config: dict[str, Any]) -> None:
    """Make the optimizer and the scheduler once, over nothing, so that what they refuse is known ahead of training."""
    try:
        optimizer = make_optimizer(config["optimizer"], [{"params": [nn.Parameter(torch.zeros(1))], "lr_scale": 1.0}])
    except Exception as error:
        raise ConfigError([f"optimizer: {one_line(error.__cause__ or error)}"]) from error
    try:
        make_scheduler(config["scheduler"], optimizer, steps=100, mode="min")
    except Exception as error:
        raise ConfigError([f"scheduler: {one_line(error.__cause__ or error)}"]) from error


def load(folder: Path, trust: tuple[str, ...] = ()) -> Classifier:
    """Read a saved model. Nothing that the folder brings is executed.

    Args:
        folder: the `model/` folder of a run.
        trust: modules of your own that a model may be made from, as `my_networks`.

    Raises:
        RunError: if the folder is incomplete or foreign, or needs code that is not trusted.
    """
    meta = read_meta(folder)
    check_sums(folder)
    with refusing(folder / "meta.json"):
        return KINDS[meta.kind].load(folder, meta, trust)


def read_meta(folder: Path) -> ModelCard:
    """What a saved model says of itself.

    Raises:
        RunError: if the folder is incomplete or foreign.
    """
    try:
        fields = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"{folder}: no meta.json: not a model, or one whose run did not finish") from error
    except (OSError, ValueError) as error:
        raise RunError(f"{folder}/meta.json: cannot be read ({error})") from error
    if not isinstance(fields, dict) or fields.pop("format", None) != 1 or str(fields.get("kind")) not in KINDS:
        raise RunError(f"{folder}/meta.json: not a model of this version of musicreclass")
    with refusing(folder / "meta.json"):
        names = fields.get("classes")
        if not isinstance(names, list) or len({str(name) for name in names}) != len(names):
            raise ValueError("classes must be a list of different names")
        if not isinstance(fields.get("columns"), list) or not isinstance(fields.get("scale"), bool):
            raise ValueError("columns must be a list, and scale true or false")
        return ModelCard(**fields)
