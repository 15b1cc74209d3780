"""Builds the parts of a network classifier from the settings of its model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hydra.errors import InstantiationException
from hydra.utils import get_object
from torch import nn

from musicreclass.augmentation.augmentation import Augmentation
from musicreclass.classifiers.model_folder import ModelCard
from musicreclass.config.hydra_adapter import instantiate
from musicreclass.config.messages import one_line
from musicreclass.config.settings import AugmentationSettings
from musicreclass.errors import ConfigError, Problem, UserError
from musicreclass.models.frontend import LogMel, Standardize


def make_network(card: ModelCard) -> nn.Sequential:
    """Preprocessing, if the model asks for any, and the network with fresh weights.

    The target receives `num_classes`, and `in_features` for a table, in addition to the arguments in its YAML.

    Raises:
        ConfigError: if the target is not an nn.Module, or does not accept its arguments.
    """
    target = get_object(card.target)
    if not (isinstance(target, type) and issubclass(target, nn.Module)):
        raise _config_error(
            f"model._target_={card.target}: not an nn.Module", "not_a_network", "model._target_", card.target
        )
    sizes = {"num_classes": len(card.classes)}
    if card.input == "table":
        sizes["in_features"] = len(card.columns)
    try:
        network = instantiate({"_target_": card.target, **card.arguments}, **sizes)
    except InstantiationException as error:
        raise _from_target(error, "model") from error
    rate = getattr(getattr(network, "encoder", network), "sample_rate", None)
    if card.input == "waveform" and isinstance(rate, int) and card.sample_rate not in (None, rate):
        message = f"data.sample_rate={card.sample_rate}: the network takes {rate} Hz: model.sample_rate={rate}"
        raise _config_error(message, "sample_rate", "data.sample_rate", card.sample_rate)
    return nn.Sequential(make_front(card), network)


def make_front(card: ModelCard) -> nn.Module:
    """What precedes the network: a log-mel, standardisation of features, or nothing.

    Raises:
        ConfigError: for invalid settings of the log-mel.
    """
    if card.input == "waveform" and card.frontend is not None:
        try:
            return LogMel(card.sample_rate, **card.frontend)
        except (TypeError, ValueError, RuntimeError) as error:
            raise _config_error(f"model.frontend: {one_line(error)}", "invalid_arguments", "model.frontend") from error
    return Standardize(len(card.columns)) if card.input == "table" and card.scale else nn.Identity()


def make_augmentation(settings: AugmentationSettings) -> Augmentation:
    """The augmentation that `augmentation._target_` names.

    Raises:
        ConfigError: if the target is no Augmentation, or a setting is missing.
    """
    try:
        target = get_object(str(settings.target))
    except Exception as error:
        message = f"augmentation._target_={settings.target}: cannot be imported: {one_line(error)}"
        raise _config_error(message, "cannot_import", "augmentation._target_", settings.target) from error
    if not (isinstance(target, type) and issubclass(target, Augmentation)):
        message = f"augmentation._target_={settings.target}: not an Augmentation"
        raise _config_error(message, "not_an_augmentation", "augmentation._target_", settings.target)
    missing = set(AugmentationSettings.model_fields) - {"target"} - settings.model_fields_set
    if missing:
        key = f"augmentation.{min(missing)}"
        message = f"{key}: not set; begin the file with 'defaults: [none, _self_]', which turns every effect off"
        raise _config_error(message, "missing_value", key)
    return target(settings)


@torch.no_grad()
def check_clip_length(network: nn.Module, card: ModelCard) -> None:
    """Pass a silent clip through a network, so that a clip length it cannot take is reported before decoding.

    Raises:
        ConfigError: if the network cannot take clips of this length.
    """
    n = round(card.clip_seconds * card.sample_rate)
    try:
        network.eval()(torch.zeros(1, n))
        network.train()
    except (RuntimeError, ValueError, IndexError) as error:
        key = f"data.clip_seconds={card.clip_seconds}"
        message = f"{key}: the network cannot take clips of {n} samples: {one_line(error)[:120]}"
        remedy = "use longer clips or a smaller model.frontend.hop_length"
        raise _config_error(f"{message}; {remedy}", "clip_length", "data.clip_seconds", card.clip_seconds) from error


def is_plain(value: Any) -> bool:
    """Whether arguments are plain values, without keys such as `_target_` that would create another object."""
    if isinstance(value, dict):
        return all(not str(k).startswith("_") and is_plain(v) for k, v in value.items())
    return all(map(is_plain, value)) if isinstance(value, list) else True


def fit_standardize(front: nn.Module, x: np.ndarray) -> None:
    """Set the medians, means and deviations of a `Standardize` from training features (n, F), NaN where missing."""
    from sklearn.pipeline import Pipeline

    from musicreclass.classifiers.estimator import preprocessing_steps

    assert isinstance(front, Standardize)
    steps = Pipeline(preprocessing_steps(scale=True)).fit(x)
    front.fill.copy_(torch.from_numpy(steps["impute"].statistics_))
    front.mean.copy_(torch.from_numpy(steps["scale"].mean_))
    front.scale.copy_(torch.from_numpy(steps["scale"].scale_))


def _from_target(error: InstantiationException, section: str) -> UserError:
    """The error of a target that rejected its arguments."""
    if isinstance(error.__cause__, UserError):
        return error.__cause__
    return _config_error(f"{section}: {one_line(error.__cause__ or error)}", "invalid_arguments", section)


def _config_error(message: str, kind: str, key: str, value: Any = None) -> ConfigError:
    return ConfigError([Problem(message, kind, key, value)])
