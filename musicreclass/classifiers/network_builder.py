"""Builds the parts of a network classifier from the settings of its model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from musicreclass.augmentation.augmentation import Augmentation
from musicreclass.classifiers.model_folder import ModelCard
from musicreclass.config.hydra_adapter import instantiate
from musicreclass.config.messages import one_line
from musicreclass.config.settings import AugmentationSettings
from musicreclass.config.targets import import_class
from musicreclass.errors import ConfigError, Problem, UserError
from musicreclass.models.frontend import LogMel, Standardize


def make_network(card: ModelCard) -> nn.Sequential:
    """Preprocessing, if the model has any, and the network with fresh weights.

    The target receives `num_classes`, and `in_features` for a table, in addition to the arguments in its YAML.

    Raises:
        ConfigError: if the target is not an nn.Module, or does not accept its arguments.
    """
    import_class(
        card.target, "model._target_", lambda kind: issubclass(kind, nn.Module), "must be a subclass of nn.Module"
    )
    sizes = {"num_classes": len(card.classes)}
    if card.input == "table":
        sizes["in_features"] = len(card.columns)
    try:
        network = instantiate({"_target_": card.target, **card.arguments}, **sizes)
    except UserError:
        raise
    except Exception as error:
        raise _config_error(f"model: {one_line(error)}", "invalid_arguments", "model", card.target) from error
    rate = getattr(getattr(network, "encoder", network), "sample_rate", None)
    if card.input == "waveform" and isinstance(rate, int) and card.sample_rate not in (None, rate):
        message = f"data.sample_rate={card.sample_rate}: the network takes {rate} Hz: model.sample_rate={rate}"
        raise _config_error(message, "sample_rate_mismatch", "data.sample_rate", card.sample_rate)
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


@torch.no_grad()
def try_network(network: nn.Module, card: ModelCard) -> None:
    """Pass a silent clip or two tracks of zeros through a network, so that what it rejects is reported before training.

    Args:
        network: as `make_network` returns it; its modes and the random state are not changed.
        card: gives the shape of the input and the classes.

    Raises:
        ConfigError: if the network rejects its input, or does not return a logit for each class.
    """
    samples = round(card.clip_seconds * card.sample_rate)
    rows, columns = (1, samples) if card.input == "waveform" else (2, len(card.columns))
    x = torch.zeros(rows, columns)
    modes = [(module, module.training) for module in network.modules()]
    try:
        with torch.random.fork_rng(devices=[]):
            logits = network.eval()(x)
    except Exception as error:
        raise _rejected_input(error, card, samples) from error
    for module, training in modes:
        module.training = training
    shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if shape != (rows, len(card.classes)):
        values = f"{shape[1]} values" if len(shape) == 2 and shape[0] == rows else f"{shape} for {rows} track(s)"
        message = f"model: the network returns {values} for {len(card.classes)} classes"
        raise _config_error(message, "wrong_output", "model", card.target)


def _rejected_input(error: Exception, card: ModelCard, samples: int) -> ConfigError:
    """The error of a network that rejects its input."""
    reason = one_line(error)[:120]
    if card.input == "table":
        message = f"model: the network cannot take a table of {len(card.columns)} features: {reason}"
        return _config_error(message, "wrong_input", "model", card.target)
    if card.frontend is None:
        message = f"model.frontend: the network cannot take a waveform of {samples} samples: {reason}"
        remedy = "if it reads spectrograms, set model.frontend"
        return _config_error(f"{message}; {remedy}", "wrong_input", "model.frontend")
    message = f"data.clip_seconds={card.clip_seconds}: the network cannot take clips of {samples} samples: {reason}"
    remedy = "use longer clips or a smaller model.frontend.hop_length"
    return _config_error(f"{message}; {remedy}", "clip_length", "data.clip_seconds", card.clip_seconds)


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


def _config_error(message: str, kind: str, key: str, value: Any = None) -> ConfigError:
    return ConfigError([Problem(message, kind, key, value)])
