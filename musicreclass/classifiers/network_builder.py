"""From what a model's YAML says to a plain nn.Module."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hydra.errors import InstantiationException
from hydra.utils import get_object
from torch import nn

from musicreclass.augmentation.augmentation import Augmentation
from musicreclass.classifiers.base import ModelCard
from musicreclass.config.hydra_adapter import instantiate
from musicreclass.config.messages import one_line
from musicreclass.errors import ConfigError, UserError
from musicreclass.models.frontend import LogMel, Standardize


@torch.no_grad()
def try_clip(network: nn.Module, meta: ModelCard) -> None:
    """Pass one silent clip through a network, so that clips it cannot take are known ahead of decoding and training.

    Raises:
        ConfigError: if it cannot.
    """
    n = round(meta.clip_seconds * meta.sample_rate)
    try:
        network.eval()(torch.zeros(1, n))
        network.train()
    except (RuntimeError, ValueError, IndexError) as error:
        told = "longer clips or a smaller model.frontend.hop_length give it more"
        raise ConfigError(
            [
                f"data.clip_seconds={meta.clip_seconds}: the network cannot take clips of {n} samples: {one_line(error)[:120]}; {told}"
            ]
        ) from error


def plain_arguments(value: Any) -> bool:
    """Whether arguments are plain values, with nothing in them that asks for another object to be made."""
    if isinstance(value, dict):
        return all(not str(k).startswith("_") and plain_arguments(v) for k, v in value.items())
    return all(map(plain_arguments, value)) if isinstance(value, list) else True


def make_network(meta: ModelCard) -> nn.Sequential:
    """Standardisation, if the model asks for it, and the network itself with fresh weights.

    A network's target takes `num_classes` beside the arguments in its YAML, and over a table `in_features`.

    Raises:
        ConfigError: if the target is no nn.Module, or does not take its arguments.
    """
    found = get_object(meta.target)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ConfigError([f"model._target_={meta.target}: not an nn.Module"])
    sizes = {"num_classes": len(meta.classes)}
    if meta.input == "table":
        sizes["in_features"] = len(meta.columns)
    try:
        network = instantiate({"_target_": meta.target, **meta.arguments}, **sizes)
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from error
        raise ConfigError([f"model: {one_line(error.__cause__ or error)}"]) from error
    takes = getattr(getattr(network, "encoder", network), "sample_rate", None)
    if meta.input == "waveform" and isinstance(takes, int) and meta.sample_rate not in (None, takes):
        raise ConfigError(
            [f"data.sample_rate={meta.sample_rate}: the network takes {takes} Hz: model.sample_rate={takes}"]
        )
    front: nn.Module = nn.Identity()
    if meta.input == "waveform" and meta.frontend is not None:
        try:
            front = LogMel(meta.sample_rate, **meta.frontend)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ConfigError([f"model.frontend: {one_line(error)}"]) from error
    elif meta.input == "table" and meta.scale:
        front = Standardize(len(meta.columns))
    return nn.Sequential(front, network)


def make_augmentation(node: dict[str, Any]) -> Augmentation:
    """The augmentation of a node of conf/augmentation/.

    Raises:
        ConfigError: for settings that cannot be.
    """
    try:
        found = instantiate(node)
    except InstantiationException as error:
        if isinstance(error.__cause__, ConfigError):
            raise error.__cause__ from error
        raise ConfigError([f"augmentation: {one_line(error.__cause__ or error)}"]) from error
    if not isinstance(found, Augmentation):
        raise ConfigError([f"augmentation._target_={node.get('_target_')}: not an Augmentation"])
    return found


def fit_standardize(front: nn.Module, x: np.ndarray) -> None:
    """Give a `Standardize` the medians, means and deviations of the training features (n, F), NaN where missing."""
    from sklearn.pipeline import Pipeline

    from musicreclass.classifiers.estimator import preprocessing_steps

    assert isinstance(front, Standardize)
    steps = Pipeline(preprocessing_steps(scale=True)).fit(x)
    front.fill.copy_(torch.from_numpy(steps["impute"].statistics_))
    front.mean.copy_(torch.from_numpy(steps["scale"].mean_))
    front.scale.copy_(torch.from_numpy(steps["scale"].scale_))
