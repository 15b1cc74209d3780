"""Builds the parts of a network classifier from the settings of its model."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from torch import nn

from musicreclass.augmentation.augmentation import Augmentation
from musicreclass.classifiers.model_folder import ModelCard
from musicreclass.config.hydra_adapter import instantiate
from musicreclass.config.messages import one_line
from musicreclass.config.settings.models import ModelSettings
from musicreclass.config.settings.training import AugmentationSettings
from musicreclass.config.targets import check_arguments, dotted_name, import_class, import_target, rejected_call
from musicreclass.errors import ConfigError, Problem, UserError
from musicreclass.models.frontend import LogMel, Standardize

STATISTICS_COLUMNS = 64  # features whose statistics are computed together, which limits the memory for copies


def make_network(card: ModelCard) -> nn.Sequential:
    """Preprocessing, if the model has any, and the network with fresh weights.

    The target receives `num_classes`, and `in_features` for a table, in addition to the arguments in its YAML.

    Raises:
        ConfigError: if the target is not an nn.Module, or does not accept its arguments.
    """
    rule = "must be a subclass of nn.Module"
    network_class = import_class(card.target, "model._target_", lambda kind: issubclass(kind, nn.Module), rule)
    try:
        network = instantiate({"_target_": card.target, **card.arguments}, **given_arguments(card))
    except UserError:
        raise
    except Exception as error:
        raise rejected_call(error, network_class, "model", given_arguments(card)) from error
    rate = getattr(getattr(network, "encoder", network), "sample_rate", None)
    if card.input == "waveform" and isinstance(rate, int) and card.sample_rate not in (None, rate):
        message = f"data.sample_rate={card.sample_rate}: the network takes {rate} Hz: model.sample_rate={rate}"
        raise _config_error(message, "sample_rate_mismatch", "data.sample_rate", card.sample_rate)
    return nn.Sequential(make_front(card), network)


def given_arguments(card: ModelCard) -> dict[str, Any]:
    """The arguments that a network receives from the data; `columns` only if the class has `takes_columns`."""
    arguments: dict[str, Any] = {"num_classes": card.logits}
    if card.input == "table":
        arguments["in_features"] = len(card.columns)
        if getattr(import_target(card.target), "takes_columns", False):
            arguments["columns"] = card.columns
    return arguments


def check_network_arguments(network: type[nn.Module], card: ModelCard) -> None:
    """Check the arguments of a network's class, before it is called.

    Raises:
        ConfigError: if one does not exist, is missing or has another type, or if the class does not take what it receives.
    """
    sizes = given_arguments(card)
    rule = "networks over a table receive in_features and num_classes, networks over audio num_classes"
    parameters = inspect.signature(network).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        lacking = [name for name in sizes if name not in parameters]
        if lacking:
            message = f"model: {dotted_name(network)} has no parameter {' or '.join(lacking)}; {rule}"
            raise _config_error(message, "invalid_arguments", f"model.{lacking[0]}", card.target)
    features = parameters.get("in_features")
    if "in_features" not in {**sizes, **card.arguments} and features is not None and features.default is features.empty:
        message = f"model.in_features: {dotted_name(network)} needs it, but the model reads audio; {rule}"
        raise _config_error(message, "missing_value", "model.in_features", card.target)
    check_arguments(network, card.arguments, "model", supplied=sizes, keys=ModelSettings.about)


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
    rule = "must be a subclass of Augmentation"
    target = import_class(
        str(settings.target), "augmentation._target_", lambda kind: issubclass(kind, Augmentation), rule
    )
    missing = set(AugmentationSettings.model_fields) - {"target"} - settings.model_fields_set
    if missing:
        key = f"augmentation.{min(missing)}"
        message = f"{key}: not set; begin the file with 'defaults: [none, _self_]', which turns every effect off"
        raise ConfigError([Problem(message, "missing_value", key)])
    return target(settings)


def is_plain(value: Any) -> bool:
    """Whether arguments are plain values, without keys such as `_target_` that would create another object."""
    if isinstance(value, dict):
        return all(not str(k).startswith("_") and is_plain(v) for k, v in value.items())
    return all(map(is_plain, value)) if isinstance(value, list) else True


def fit_standardize(front: nn.Module, x: np.ndarray) -> None:
    """Set the medians, means and deviations of a `Standardize` from training features (n, F), NaN where missing."""
    from musicreclass.classifiers.estimator import preprocessing_steps

    assert isinstance(front, Standardize)
    for first in range(0, x.shape[1], STATISTICS_COLUMNS):
        columns = slice(first, first + STATISTICS_COLUMNS)
        part = np.ascontiguousarray(x[:, columns])
        (_, impute), (_, scale) = preprocessing_steps(scale=True)
        if np.isnan(part).any():
            part = impute.fit_transform(part)
            medians = impute.statistics_
        else:  # the same values in a quarter of the time: the imputer's masked median sorts
            medians = np.median(part, axis=0)
        scale.fit(part)
        front.fill[columns] = torch.from_numpy(medians)
        front.mean[columns] = torch.from_numpy(scale.mean_)
        front.scale[columns] = torch.from_numpy(scale.scale_)


def _config_error(message: str, kind: str, key: str, value: Any = None) -> ConfigError:
    return ConfigError([Problem(message, kind, key, value)])
