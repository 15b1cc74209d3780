"""The import task: weights that were trained elsewhere become a run folder that can predict and be scored on other data."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from musicreclass.classifiers.model_folder import ModelCard
from musicreclass.classifiers.network import NetworkClassifier
from musicreclass.config.check import train_settings
from musicreclass.config.settings.data import CLIPS
from musicreclass.config.settings.tasks import TRAINING
from musicreclass.errors import RunError
from musicreclass.features.fma518.columns import COLUMNS
from musicreclass.models.frontend import Standardize
from musicreclass.models.weights.legacy import LegacyWeights, read_legacy
from musicreclass.runs.code_version import code_version
from musicreclass.runs.folder import Run, is_disk_full
from musicreclass.runs.identity import Identity
from musicreclass.runs.signature import hashed
from musicreclass.storage.atomic import replacing
from musicreclass.storage.store import sha256
from musicreclass.storage.writing import writing
from musicreclass.tasks.import_tagger import (
    THRESHOLD,
    encoder_of,
    find_tagger,
    tagger_classifier,
    tagger_config,
    tagger_reason,
    tagger_settings,
    tagger_tags,
)
from musicreclass.version import __version__

SPLIT = "imported"  # of the protocol
NO_DATA = "unknown"  # in place of the root of the training data
DROPOUT = 0.3  # without effect on predictions; the files do not contain it
TARGETS = {"mlp": "musicreclass.models.mlp.MLP", "cnn": "musicreclass.models.legacy_cnn.LegacyCNN"}
CHOICES = ("data", "data/split", "features", "model")  # the groups of the configuration that apply
SAMPLE_RATE, CLIP_SECONDS, CROPS, POSITION = 22050, 30.0, 1, "start"  # of the CNN's input


class Imported(NamedTuple):
    """A run of imported weights.

    Attributes:
        run: the run.
        classes: names, in the order of the outputs.
        reason: why nothing is known about its scores.
        already: whether the file had been imported into this folder before.
    """

    run: Run
    classes: list[str]
    reason: str
    already: bool = False


class Content(NamedTuple):
    """What a run of imported weights consists of.

    Attributes:
        config: the configuration, as far as it is known.
        classes, reason: as in `Imported`.
        create: returns the classifier.
        provenance: further facts on the file.
        thresholds: of tags; empty for classes.
        encoder: as in `Identity`.
    """

    config: dict[str, Any]
    classes: list[str]
    reason: str
    create: Callable[[], NetworkClassifier]
    provenance: dict[str, Any]
    thresholds: dict[str, float]
    encoder: str | None = None


def import_weights(file: Path, output: Path | None = None) -> Imported:
    """Turn the weights of a classifier into a run folder. No code from the file is executed.

    Args:
        file: see `musicreclass.models.weights.legacy`; or the weights of one of musicnn's taggers as `musicreclass prepare` installs
            them, or its name, such as `MTT_musicnn`.
        output: the run folder; by default one below `outputs`, named after the file and its content.

    Raises:
        WeightsError: if the file is missing, damaged, incomplete, or of another network.
        RunError: if the folder exists and is not that of the same import, or cannot be written.
    """
    tagger = find_tagger(file)
    content = legacy_content(file) if tagger is None else tagger_content(tagger)
    file = tagger or file
    checksum = sha256(file)
    signature = hashed({"imported": checksum})[:12]
    folder = output or Path(content.config["paths"]["outputs"]) / f"imported-{file.stem}-{signature}"
    if is_imported_there(folder, signature):
        return Imported(Run.open(folder), content.classes, content.reason, already=True)
    config, choices = content.config, content.config["choices"]
    identity = Identity(
        signature, None, __version__, code_version(config), choices=choices, source=file.name, encoder=content.encoder
    )
    imported = {"file": file.name, "sha256": checksum, **content.provenance}
    protocol = {"split": SPLIT, "leaky": "unknown", "why": [content.reason]}
    thresholds = {"thresholds": content.thresholds} if content.thresholds else {}
    try:
        with writing(folder, remedy="choose another folder", error=RunError):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with replacing(folder, durable=True) as scratch:
                scratch.mkdir()
                run = Run(scratch)
                run.begin(config, identity, resume=False)
                run.save_model(content.create())
                run.write("provenance.json", {"imported": imported, "notes": [content.reason]})
                run.write("metrics.json", {"classes": content.classes, "protocol": protocol, **thresholds})
                run.set_state("done")
    except RuntimeError as error:
        if not is_disk_full(error, folder.parent):
            raise
        raise RunError(f"{folder}: the disk is full; free some space", "no_space", folder) from error
    return Imported(Run.open(folder), content.classes, content.reason)


def legacy_content(file: Path) -> Content:
    """The run of a file of `musicreclass.models.weights.legacy`."""
    weights = read_legacy(file)
    claims = {"accuracy": weights.accuracy, "epoch": weights.epoch}
    return Content(run_config(weights), weights.genres, reason(weights), partial(make_classifier, weights), claims, {})


def tagger_content(path: Path) -> Content:
    """The run of one of musicnn's taggers."""
    settings, tags = tagger_settings(path, NO_DATA), tagger_tags(path)
    config, encoder = known_part(tagger_config(settings)), encoder_of(settings)
    thresholds = dict.fromkeys(tags, THRESHOLD)
    return Content(config, tags, tagger_reason(path), partial(tagger_classifier, path), {}, thresholds, encoder)


def is_imported_there(folder: Path, signature: str) -> bool:
    """Whether a folder has the import of a file; False if it is new or empty.

    Raises:
        RunError: if the folder has anything else.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if folder.is_dir() and (run := Run(folder)).has_identity:
        if run.identity.signature == signature and run.state == "done" and run.is_imported:
            return True
        line = f"{folder}: is another run; choose a new or an empty folder"
        raise RunError(line, "another_run", folder)
    kind = "is not the folder of a run" if folder.is_dir() else "is not a folder"
    raise RunError(f"{folder}: {kind}; choose a new or an empty folder", "foreign_files", folder)


def reason(weights: LegacyWeights) -> str:
    """Why nothing is known about the scores of imported weights."""
    claim = "none" if weights.accuracy is None else f"{weights.accuracy:g}"
    return f"imported weights: self-reported accuracy {claim}, which was not measured here; training data and split are unknown"


def run_config(weights: LegacyWeights) -> dict[str, Any]:
    """The configuration of a run, as far as it is known: how the input is computed, and the model.

    The data is a library of recordings without a root, so that `evaluate RUN data.root=DIR` suffices for other data.
    """
    if weights.network == "mlp":
        overrides = ["features=fma518", "model=mlp", f"model.dropout={DROPOUT}"]
    else:
        overrides = [
            "model=cnn",
            *(
                f"data.{name}={value}"
                for name, value in zip(CLIPS, (SAMPLE_RATE, CLIP_SECONDS, CROPS, POSITION), strict=True)
            ),
        ]
    config = train_settings(["data=folder", f"data.root={NO_DATA}", *overrides]).as_dict()
    if weights.network == "cnn":
        arguments = {"sample_rate": SAMPLE_RATE, "frontend": None, "bias": has_bias(weights)}
        config["model"] = {"_target_": TARGETS["cnn"], "input": "waveform", **arguments}
        config["choices"]["model"] = "legacy_cnn"
    return known_part(config)


def known_part(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a configuration that is known of weights that were trained elsewhere."""
    choices = {group: option for group, option in config["choices"].items() if group in CHOICES}
    unknown = (*TRAINING, "augmentation", "class_weight", "logger")
    return {key: value for key, value in config.items() if key not in unknown} | {"choices": choices}


def make_classifier(weights: LegacyWeights) -> NetworkClassifier:
    """The classifier of imported weights.

    Missing features, which the original scaler did not accept, are replaced by their means.
    """
    card = ModelCard("network", TARGETS[weights.network], {}, "table", weights.genres, [])
    if weights.network == "mlp":
        assert weights.mean is not None
        assert weights.scale is not None
        card.arguments, card.columns = {"dropout": DROPOUT}, list(COLUMNS)
        unknown = [None] * len(COLUMNS)
        # scikit-learn sets the scale of a constant column to 1
        card.ranges = {"low": [*unknown], "high": [*unknown], "varies": (weights.scale != 1).tolist()}
    else:
        card.input, card.arguments, card.scale = "waveform", {"bias": has_bias(weights)}, False
        card.sample_rate, card.clip_seconds = SAMPLE_RATE, CLIP_SECONDS
        card.eval_crops, card.eval_crop_position = CROPS, POSITION
    classifier = NetworkClassifier(card)
    front, network = classifier.network
    network.load_state_dict({**network.state_dict(), **weights.tensors})
    if isinstance(front, Standardize):
        front.fill.copy_(torch.from_numpy(weights.mean))
        front.mean.copy_(torch.from_numpy(weights.mean))
        front.scale.copy_(torch.from_numpy(weights.scale))
    classifier.network.eval()
    return classifier


def has_bias(weights: LegacyWeights) -> bool:
    """Whether the convolutions have a bias."""
    return "features.0.bias" in weights.tensors
