"""From finished run folders to a `FileClassifier`."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd

from musicreclass.classifiers.base import Classifier
from musicreclass.config.settings.tasks import TrainSettings
from musicreclass.data.crops import EvenCrops
from musicreclass.data.leaks import examples
from musicreclass.data.sources.fma_columns import SERIES
from musicreclass.errors import RunError
from musicreclass.evaluation.cascade import Cascade
from musicreclass.features.embeddings import EncoderPart
from musicreclass.features.extractors import ExtractorPart
from musicreclass.features.fma518.columns import column_names as fma518_columns
from musicreclass.features.fma518.extractor import FMA518
from musicreclass.features.opening import create_parts
from musicreclass.features.parts import Part, column_names, joint_fingerprint
from musicreclass.hardware.machine import cores
from musicreclass.hardware.profile import Profile
from musicreclass.prediction.cascade import CascadeClassifier
from musicreclass.prediction.file_classifier import FileClassifier
from musicreclass.prediction.file_model import FileModel
from musicreclass.prediction.readers import CropReader, Embedder, FeatureReader, Reader, WaveformReader
from musicreclass.runs.folder import TRACKS, Run
from musicreclass.storage.regular import read_regular
from musicreclass.storage.store import Store
from musicreclass.tasks.fit_decision import fit_classes, fit_tags
from musicreclass.tasks.machine import for_one_process, use_machine
from musicreclass.tasks.open_classifier import LabelOptions
from musicreclass.tasks.open_data import check_encoder, code_of
from musicreclass.tasks.promises import cautions, of_tags, validation
from musicreclass.tasks.settings_to_score import check_targets, settings_to_score

MIN_SECONDS = 1.0  # of a recording, where the run's data does not say


def open_file_classifier(folders: Sequence[Path], options: LabelOptions) -> FileClassifier:
    """Open one or several finished runs to label recordings.

    Args:
        folders: of runs with the same classes; the probabilities of several are averaged.
        options: how recordings are labelled.

    Raises:
        RunError: if a run is not finished, cannot be read, or cannot label recordings; if the classes differ; or if no
            threshold reaches the precision.
        WeightsError: if the weights of an encoder are missing or have changed.
        UserError: for options that do not fit.
    """
    runs = [Run.open(folder) for folder in folders]
    ensembles = [run.folder for run in runs if run.combination is not None]
    if ensembles and len(runs) > 1:
        line = f"{ensembles[0]}: an ensemble is not averaged with other runs; name it alone, or make an ensemble of all members"
        raise RunError(line, "ensemble_among_runs", ensembles[0])
    opened = [open_models(run, options.trust, list(options.overrides)) for run in runs]
    card = opened[0][0].classifier.card
    for run, models in zip(runs, opened, strict=True):
        check_same_classes(runs[0], run, card.classes, models[0].classifier.card.classes)
    fitted = (fit_tags if card.is_multi else fit_classes)(runs, validation(runs, card.classes), card.classes, options)
    combination = runs[0].combination
    classifier = FileClassifier(
        models=[model for models in opened for model in models],
        combine=mean if combination is None else combination.combine,
        temperature=fitted.temperature,
        decision=fitted.decision,
        class_map=fitted.class_map,
        promise=fitted.promise,
        cautions=tuple(
            line for run in runs for line in cautions(run, of_tags(run) if card.is_multi else fitted.uncalibrated)
        ),
        signature=signature(runs, fitted.settings),
        workers=cores()[0],
    )
    return as_cascade(classifier, combination) if isinstance(combination, Cascade) else classifier


def as_cascade(classifier: FileClassifier, cascade: Cascade) -> CascadeClassifier:
    """A classifier of all members of a cascade that runs them stage by stage."""
    values = {field.name: getattr(classifier, field.name) for field in fields(classifier)}
    return CascadeClassifier(**values, cascade=cascade)


def open_models(run: Run, trust: tuple[str, ...], overrides: list[str]) -> list[FileModel]:
    """The fitted model of a run with what it reads; of an ensemble, those of its members.

    Raises:
        RunError: if the run is not finished, or cannot label recordings.
        WeightsError: if the weights of an encoder are missing or have changed.
    """
    run.require_done("used to label recordings")
    if run.members:
        return [model for member in run.members for model in open_models(member, trust, overrides)]
    settings = settings_to_score(run, overrides, None)
    features = {"features": settings.features, **settings.features.sources()}
    check_targets(run.folder, {key: section.target for key, section in features.items()}, trust)
    classifier = run.classifier(trust)
    profile, seconds = use_machine(for_one_process(settings))[1], min_seconds(settings)
    if classifier.card.input == "waveform":
        return [FileModel(str(run.folder), classifier, [crop_reader(run, classifier)], min_seconds=seconds)]
    parts = feature_parts(run, settings, classifier, profile)
    store = Store(Path(settings.paths.cache).expanduser())
    readers: list[Reader] = []
    embedders: dict[str, Embedder] = {}
    for part in parts.values():
        key = part.key()
        if isinstance(part, EncoderPart):
            readers.append(WaveformReader(key, part.sample_rate, tuple(part.slots()), store))
            embedders[key] = Embedder(part, store)
        else:
            assert isinstance(part, ExtractorPart)
            readers.append(FeatureReader(key, part.extractor, store))
    return [FileModel(str(run.folder), classifier, readers, embedders, chosen_columns(run, classifier, parts), seconds)]


def feature_parts(run: Run, settings: TrainSettings, classifier: Classifier, profile: Profile) -> dict[str, Part]:
    """What computes the features that the model of a run was trained on; of a table, the sets of the 518 features that it has.

    Raises:
        WeightsError: if the encoder is another one now.
    """
    if settings.features.target is None:
        columns = set(classifier.card.columns)
        sets = [name for name in SERIES if not columns.isdisjoint(fma518_columns([name]))]
        return {"fma518": ExtractorPart(FMA518(sets=sets or None))}
    parts = create_parts(settings.features, profile, code_of)
    if run.identity.encoder is not None:
        check_encoder(settings.features, joint_fingerprint(parts), run.identity.encoder)
    return parts


def chosen_columns(run: Run, classifier: Classifier, parts: dict[str, Part]) -> list[int]:
    """The positions of the columns that a model reads among those of the parts.

    Raises:
        RunError: if the run was trained on a table with columns that cannot be computed from recordings.
    """
    positions = {name: i for i, name in enumerate(column_names(parts))}
    missing = [name for name in classifier.card.columns if name not in positions]
    if missing:
        line = (
            f"{run.folder}: was trained on a table with columns that cannot be computed from recordings "
            f"({examples(missing)}); train on recordings, with features=fma518 or an encoder, or on columns of FMA's 518"
        )
        raise RunError(line, "no_features", run.folder, missing)
    return [positions[name] for name in classifier.card.columns]


def crop_reader(run: Run, classifier: Classifier) -> CropReader:
    """Reads crops as the run was scored with."""
    card = classifier.card
    crops = EvenCrops(round(card.clip_seconds * card.sample_rate), card.eval_crops, card.eval_crop_position)
    return CropReader(card.sample_rate, crops, longest_seconds(run))


def min_seconds(settings: TrainSettings) -> float:
    """The length below which the run's data counts a recording as bad."""
    seconds = settings.data.arguments().get("min_seconds")
    return float(seconds) if isinstance(seconds, (int, float)) else MIN_SECONDS


def longest_seconds(run: Run) -> float:
    """The length of the longest recording of a run; infinite if unknown."""
    try:
        tracks = pd.read_parquet(io.BytesIO(read_regular(run.folder / TRACKS)), columns=["duration"])
        seconds = float(pd.to_numeric(tracks.duration, errors="coerce").max())
    except (OSError, ValueError, KeyError, AttributeError):
        return math.inf
    return seconds if seconds > 0 else math.inf


def check_same_classes(first: Run, run: Run, classes: list[str], others: list[str]) -> None:
    """Make sure that two runs have the same classes.

    Raises:
        RunError: if they do not.
    """
    different = sorted(set(classes) ^ set(others))
    if different:
        line = (
            f"{run.folder}: has other classes than {first.folder} ({different[0]} is only in one of them); train both on the "
            "same classes, with data.class_map=NAME where datasets name them differently, or label with one of them"
        )
        raise RunError(line, "other_classes", run.folder, different)


def mean(stack: np.ndarray) -> np.ndarray:
    """The mean of the probabilities of several models, (m, n, C) to (n, C)."""
    average: np.ndarray = stack.mean(axis=0)
    return average


def signature(runs: list[Run], settings: Mapping[str, object]) -> str:
    """A text that is equal only for classifiers that give equal labels."""
    identities = [
        [run.identity.signature, run.identity.code, run.identity.encoder, checksums(run.folder / "model")]
        for run in runs
    ]
    content = json.dumps([identities, settings], sort_keys=True)
    return f"run-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def checksums(model: Path) -> str:
    """The checksums of the files of a model."""
    try:
        return read_regular(model / "SHA256SUMS").decode("utf-8", "replace")
    except OSError:
        return ""
