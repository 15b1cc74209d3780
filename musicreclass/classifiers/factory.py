"""From settings, or from a saved model, to a Classifier."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from sklearn.utils.validation import has_fit_parameter
from torch import nn

from musicreclass.classifiers.base import Classifier
from musicreclass.classifiers.boosted import TARGETS, BoostedClassifier
from musicreclass.classifiers.estimator import EstimatorClassifier
from musicreclass.classifiers.estimator_check import check_boosting, check_parameters
from musicreclass.classifiers.model_folder import CARD, ModelCard, read_card, reading, verify_checksums
from musicreclass.classifiers.network import NetworkClassifier
from musicreclass.classifiers.network_builder import check_network_arguments
from musicreclass.classifiers.novelty import FILE as NOVELTY
from musicreclass.classifiers.novelty import Novelty
from musicreclass.classifiers.tag_estimators import TagEstimatorClassifier
from musicreclass.config.auto import Sizes, resolve_auto
from musicreclass.config.hydra_adapter import instantiate
from musicreclass.config.messages import one_line
from musicreclass.config.settings.models import CalibratedSettings, ModelSettings
from musicreclass.config.settings.tasks import TrainSettings
from musicreclass.config.targets import check_arguments, check_nested_targets, import_class, invalid_target
from musicreclass.config.working_directory import allow_import
from musicreclass.data.recordings import AudioData
from musicreclass.data.table import TableData
from musicreclass.data.targets import each_label
from musicreclass.data.track_data import TrackData
from musicreclass.data.tracks import some
from musicreclass.errors import ConfigError, DataError, Problem, UserError
from musicreclass.hardware.profile import Profile
from musicreclass.training.optimizers import make_optimizer, make_scheduler
from musicreclass.training.trainer import FitSettings
from musicreclass.training.user_callbacks import make_callbacks

MODEL_RULE = "must be a subclass of nn.Module, or an estimator class with fit and predict_proba"
STEPS = 100  # of a schedule that is tried
MAX_RATE = 1000  # as for optimizer.lr
CLASSES: dict[str, type[Classifier]] = {
    "network": NetworkClassifier,
    "estimator": EstimatorClassifier,
    "boosted": BoostedClassifier,
    "tag_estimators": TagEstimatorClassifier,
}

EXAMPLE_SIZES = Sizes(tracks=1000, features=100, classes=10, smallest_class=100)  # of a check without data


def build_classifier(settings: TrainSettings, profile: Profile, data: TrackData) -> Classifier:
    """An unfitted Classifier for the `_target_` of `model`.

    Args:
        settings: checked; each `auto` is resolved for the data.
        profile: how the machine is used.
        data: set up; has the classes and the features.

    Raises:
        ConfigError: if the target cannot be imported, is no model, or does not take its arguments.
    """
    settings = resolve_auto(settings, sizes_of(data))
    target = str(settings.model.target)
    imported = model_class(settings)
    card = make_card(settings.model, data)
    weighted = settings.class_weight == "balanced"
    if issubclass(imported, nn.Module):
        check_network_arguments(imported, card)
        try_training_settings(settings)
        return NetworkClassifier(card, weighted, FitSettings.of(settings, profile, data))
    if not isinstance(data, TableData):
        line = f"model.input=waveform: {target} is an estimator, which reads a table: input: table, with features=NAME"
        raise ConfigError([Problem(line, "input_mismatch", "model.input", settings.model.input)])
    estimator = make_estimator(settings, profile.threads)
    if weighted and not has_fit_parameter(estimator, "sample_weight"):
        line = f"class_weight=balanced: {target} takes no sample weights; choose class_weight=none"
        raise ConfigError([Problem(line, "no_sample_weights", "class_weight", "balanced", "class_weight=none")])
    if isinstance(settings.model, CalibratedSettings):
        check_calibration(settings.model, data)
    card.kind = "boosted" if target in TARGETS else "tag_estimators" if data.is_multi else "estimator"
    if card.kind == "boosted" and data.is_multi and weighted:
        line = "class_weight=balanced: XGBoost cannot weigh each tag by itself; choose class_weight=none"
        raise ConfigError([Problem(line, "no_sample_weights", "class_weight", "balanced", "class_weight=none")])
    kind: Any = CLASSES[card.kind]
    return kind(card, estimator, weighted)


def check_calibration(model: CalibratedSettings, data: TrackData) -> None:
    """Make sure that every class has a training track for each fold of the calibration.

    Raises:
        DataError: if one has fewer.
    """
    trained = each_label(data.tracks[data.tracks.split == "train"].target).value_counts()
    small = trained[trained < (model.cv if isinstance(model.cv, int) else 2)].sort_index()
    if len(small):
        limit = int(each_label(data.tracks.target).value_counts()[small.index].max()) + 1
        fewer = f"model.cv={small.min()}, " if small.min() >= 2 else ""
        raise DataError(
            f"model.cv={model.cv}: the calibration needs as many training tracks of every class, and "
            f"{some([f'{name} has {n}' for name, n in small.items()])}; choose {fewer}a model without calibration such as "
            f"model=logreg, or leave out small classes with data.min_class_tracks={limit}",
            kind="too_few_for_calibration",
            key="model.cv",
            value=int(small.min()),
        )


def check_model(settings: TrainSettings, threads: int) -> None:
    """Check the model and what trains it as far as possible without data.

    Args:
        settings: checked.
        threads: for estimators.

    Raises:
        ConfigError: if the target cannot be imported, is no model, or rejects its arguments.
    """
    settings = resolve_auto(settings, EXAMPLE_SIZES)
    if issubclass(model_class(settings), nn.Module):
        try_training_settings(settings)
    else:
        make_estimator(settings, threads)


def model_class(settings: TrainSettings) -> type:
    """The class that `model._target_` names; every target below it, and the arguments of an estimator, are checked.

    Raises:
        ConfigError: if it cannot be imported, is no model, or does not take its arguments.
    """
    target, arguments = str(settings.model.target), settings.model.arguments(*settings.model.about)
    imported = import_class(target, "model._target_", is_model, MODEL_RULE)
    check_nested_targets(arguments, "model", is_part, "must be an nn.Module, or a scikit-learn estimator")
    if not issubclass(imported, nn.Module):
        check_arguments(imported, arguments, "model", keys=ModelSettings.about)
    if target.startswith("xgboost.") and target not in TARGETS:
        raise invalid_target("model._target_", target, f"is not supported; use {TARGETS[0]}")
    return imported


def sizes_of(data: TrackData) -> Sizes:
    """The sizes of the training split, which values of presets depend on."""
    counts = each_label(data.tracks.target[data.tracks.split == "train"]).value_counts()
    features = len(data.columns) if isinstance(data, TableData) else 0
    return Sizes(data.size("train"), features, len(data.classes), int(counts.min()))


def is_model(kind: type) -> bool:
    """Whether a class is a network, or an estimator that returns probabilities."""
    return issubclass(kind, nn.Module) or all(hasattr(kind, name) for name in ("fit", "predict_proba", "get_params"))


def is_part(kind: type) -> bool:
    """Whether a class can be a part of a model: a network, an estimator or a transformer."""
    return issubclass(kind, nn.Module) or all(hasattr(kind, name) for name in ("fit", "get_params"))


def make_card(model: ModelSettings, data: TrackData) -> ModelCard:
    """What the model will be, once it is fitted on this data."""
    columns = data.columns if isinstance(data, TableData) else []
    arguments = model.arguments(*model.about)
    card = ModelCard("network", str(model.target), arguments, model.input, data.classes, columns, scale=model.scale)
    card.is_multi = data.is_multi
    if data.learned_classes < len(data.classes):
        card.outputs = data.learned_classes
    if isinstance(data, AudioData):
        card.sample_rate, card.clip_seconds = data.sample_rate, data.clip_seconds
        card.eval_crops, card.eval_crop_position = data.eval_crops, data.eval_crop_position
        card.frontend = None if model.frontend is None else model.frontend.as_dict()
    return card


def make_estimator(settings: TrainSettings, threads: int) -> Any:
    """The estimator that `model._target_` names, seeded.

    Raises:
        ConfigError: if it is no estimator, or rejects its arguments.
    """
    target, arguments = str(settings.model.target), settings.model.arguments(*settings.model.about)
    if "n_jobs" in arguments and arguments["n_jobs"] is None:
        arguments["n_jobs"] = threads
    try:
        estimator = instantiate({"_target_": target, **arguments})
    except Exception as error:
        raise ConfigError([Problem(f"model: {one_line(error)}", "invalid_arguments", "model", target)]) from error
    if not hasattr(estimator, "predict_proba") and "probability" in estimator.get_params():  # scikit-learn's SVC
        message = f"model.probability: {target} has no predict_proba without it; set probability: true in its YAML file"
        raise ConfigError([Problem(message, "missing_value", "model.probability", False, "+model.probability=true")])
    if not all(hasattr(estimator, name) for name in ("fit", "predict_proba", "get_params")):
        raise invalid_target("model._target_", target, MODEL_RULE)
    if "random_state" in estimator.get_params() and estimator.get_params()["random_state"] is None:
        estimator.set_params(random_state=settings.seed)
    check_parameters(estimator)
    if target in TARGETS:
        check_boosting(estimator)
    return estimator


def try_training_settings(settings: TrainSettings) -> None:
    """Create the callbacks, and the optimizer and the scheduler for a single parameter, so that what they reject is known before training.

    Raises:
        ConfigError: if one of them rejects its settings.
    """
    group = {"params": [nn.Parameter(torch.zeros(1))], "lr_scale": 1.0}
    make_callbacks(settings.callbacks)
    section = "optimizer"
    try:
        optimizer = make_optimizer(settings.optimizer, [group])
        section = "scheduler"
        scheduler = make_scheduler(settings.scheduler, optimizer, steps=STEPS, mode="min")
        if scheduler is not None and type(scheduler).__module__.startswith("torch."):
            try_schedule(scheduler, optimizer)
    except UserError:
        raise
    except Exception as error:
        raise ConfigError([Problem(f"{section}: {one_line(error)}", "invalid_value", section)]) from error


def try_schedule(scheduler: Any, optimizer: torch.optim.Optimizer) -> None:
    """Run a schedule over `STEPS` steps of a loss that never falls.

    Raises:
        ValueError: if a learning rate is negative, not finite or above `MAX_RATE`.
    """
    needs_metric = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(STEPS - 1):
            rates = [group["lr"] for group in optimizer.param_groups]
            if not all(0 <= rate <= MAX_RATE for rate in rates):
                raise ValueError(f"the learning rate becomes {rates[0]}; it must be from 0 to {MAX_RATE}")
            scheduler.step(*([1.0] if needs_metric else []))


def load(folder: Path, trust: tuple[str, ...] = ()) -> Classifier:
    """Read a saved model. No code from the folder is executed.

    Args:
        folder: the `model/` folder of a run.
        trust: modules of your own that a model may be created from, as `my_networks`.

    Raises:
        RunError: if the folder is incomplete or damaged, or needs code that is not trusted.
    """
    card = read_card(folder)
    verify_checksums(folder)
    for module in trust:
        allow_import(module)
    with reading(folder / CARD):
        classifier = CLASSES[card.kind].load(folder, card, trust)
    classifier.novelty = Novelty.load(folder)
    if classifier.novelty is not None:
        with reading(folder / NOVELTY):
            classifier.novelty.check_width(classifier.description_width)
    return classifier
