"""The export task: the model of a finished run as an ONNX file, compared with the run's own predictions before it is written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from musicreclass.classifiers.base import Classifier
from musicreclass.classifiers.model_folder import ModelCard
from musicreclass.classifiers.network import NetworkClassifier
from musicreclass.classifiers.onnx_model import TOLERANCE, OnnxModel, require_packages, run_onnx, to_onnx
from musicreclass.data.audio.decoding import decode
from musicreclass.data.audio.header import BadAudioError
from musicreclass.data.audio.suffixes import DECODED
from musicreclass.errors import RunError, UserError
from musicreclass.models.frontend import Standardize
from musicreclass.plurals import counted
from musicreclass.runs.folder import Run
from musicreclass.storage.atomic import replacing
from musicreclass.storage.writing import writing
from musicreclass.version import __version__

ROWS, CLIPS = 200, 4  # that are compared
MISSING = 0.02  # share of the compared features
MAX_FILES = 2000  # of the data's folder that are looked through for recordings
WRITER = "musicreclass"  # key of the metadata that marks a file as one of ours


class Exported(NamedTuple):
    """An exported model.

    Attributes:
        file: the ONNX file.
        difference: the largest one between its probabilities and the run's.
        compared: on what.
        notes: what the file does not contain.
    """

    file: Path
    difference: float
    compared: str
    notes: list[str]


def export(folder: Path, output: Path | None = None, force: bool = False, trust: tuple[str, ...] = ()) -> Exported:
    """Write the model of a run as ONNX.

    Args:
        folder: the run folder.
        output: the file; by default model/model.onnx in the run folder.
        force: whether to replace a file that this task did not write.
        trust: your own modules that the model needs.

    Raises:
        UserError: if a package is missing, the run is not finished, its model has no conversion, its probabilities differ by more
            than `TOLERANCE`, or the file cannot be written.
    """
    run = Run.open(folder)
    run.require_done("exported")
    if members := sorted(path for path in (folder / "members").glob("*") if path.is_dir()):
        line = (
            f"{folder}: an ensemble of {counted(len(members), 'model')}; export each: musicreclass export {members[0]}"
        )
        raise RunError(line, "ensemble", folder, len(members))
    require_packages()
    file = output or folder / "model" / "model.onnx"
    check_target(file, force)
    classifier = run.classifier(trust)
    model = to_onnx(classifier)
    notes = notes_of(run, model, classifier.card)
    for key, value in metadata(run, classifier.card, model).items():
        entry = model.proto.metadata_props.add()
        entry.key, entry.value = key, value
    content = model.proto.SerializeToString()
    difference, compared = compare(run, classifier, model, content)
    if not difference <= TOLERANCE:
        line = f"{folder}: the exported probabilities differ by {difference:.1g} on {compared}; at most {TOLERANCE:g} is allowed"
        raise RunError(f"{line}: nothing was written", "no_parity", folder, difference)
    with writing(file, error=RunError), replacing(file) as scratch:
        scratch.write_bytes(content)
    return Exported(file, difference, compared, notes)


def check_target(file: Path, force: bool) -> None:
    """Make sure that a file may be written.

    Raises:
        UserError: if its folder does not exist, or it exists and is not an ONNX file that this task wrote.
    """
    if not file.parent.is_dir():
        raise UserError(f"{file}: there is no folder {file.parent}", "missing_folder", file)
    if file.is_dir():
        raise UserError(f"{file}: is a folder; name a file: --output {file / 'model.onnx'}", "is_folder", file)
    if file.exists() and not force:
        import onnx

        with suppress(Exception):  # anything but an ONNX file
            written = onnx.load(str(file), load_external_data=False)
            if any(entry.key == WRITER for entry in written.metadata_props):
                return
        raise UserError(
            f"{file}: exists, and is not an exported model; choose another name, or add --force", "exists", file
        )


def metadata(run: Run, card: ModelCard, model: OnnxModel) -> dict[str, str]:
    """What a program needs to use the file, as text; lists and dictionaries as JSON."""
    metrics = run.metrics
    values: dict[str, Any] = {
        WRITER: __version__,
        "run": run.folder.resolve().name,
        "signature": run.identity.signature,
        "input": card.input,
        "classes": model.classes,
        "all_classes": card.classes,
        "model": card.target,
        "protocol": metrics.get("protocol"),
    }
    if card.input == "table":
        features = run.config.get("features")
        values |= {
            "columns": card.columns,
            "features": features if isinstance(features, dict) and features.get("_target_") else None,
        }
        values["preprocessing"] = "included: medians or means for NaN, and scaling where the model has it"
    else:
        values |= {"sample_rate": card.sample_rate, "clip_seconds": card.clip_seconds, "any_length": model.any_length}
        values |= {
            "eval_crops": card.eval_crops,
            "eval_crop_position": card.eval_crop_position,
            "frontend": card.frontend,
        }
        values["preprocessing"] = (
            "included; the input is mono float32 in [-1, 1]; average the probabilities of a track's clips"
        )
    calibration = metrics.get("calibration")
    if isinstance(calibration, dict) and "temperature" in calibration:
        values["temperature"] = calibration["temperature"]
        values["calibration"] = "not applied: softmax(log(probabilities) / temperature)"
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in values.items()
        if value is not None
    }


def notes_of(run: Run, model: OnnxModel, card: ModelCard) -> list[str]:
    """What the file does not contain, one line each."""
    notes = []
    features = run.config.get("features")
    if card.input == "table" and isinstance(features, dict) and features.get("_target_"):
        name = run.config["choices"].get("features", features["_target_"])
        notes.append(
            f"the input is the {counted(len(card.columns), 'column')} of features={name}, which the file does not compute"
        )
    if card.input == "waveform" and not model.any_length:
        notes.append(f"clips must have {counted(round(card.clip_seconds * card.sample_rate), 'sample')}")
    if untrained := [name for name in card.classes if name not in model.classes]:
        notes.append(f"without the classes that had no training tracks: {', '.join(untrained)}")
    return notes


def compare(run: Run, classifier: Classifier, model: OnnxModel, content: bytes) -> tuple[float, str]:
    """The largest difference between the file's probabilities, of ONNX Runtime, and the run's; and on what they were compared."""
    batches, compared = examples(run, classifier, model)
    columns = [classifier.card.classes.index(label) for label in model.classes]
    differences = []
    for x in batches:
        probability = run_onnx(content, x)
        differences.append(float(np.abs(probability - classifier.predict_proba(x)[:, columns]).max()))
    return float(np.max(differences)), compared


def examples(run: Run, classifier: Classifier, model: OnnxModel) -> tuple[list[np.ndarray], str]:
    """Inputs to compare on, in batches of several sizes, and what they are."""
    card, random = classifier.card, np.random.default_rng(0)
    if card.input == "table":
        x = random_features(random, *limits(classifier))
        return [x[:1], x[1:]], f"{counted(len(x), 'random row')} within the training ranges, with NaN"
    samples = round(card.clip_seconds * card.sample_rate)
    clips = list(islice(real_clips(run, card, samples), CLIPS))
    compared = f"{counted(len(clips), 'clip')} of the run's data"
    if not clips:
        time = np.arange(samples) / card.sample_rate
        clips = [0.3 * np.sin(2 * np.pi * f * time) + 0.05 * random.normal(size=samples) for f in (110, 440, 1760)]
        compared = f"{counted(len(clips), 'synthetic clip')}; the run's recordings are not here"
    x = np.stack(clips).astype(np.float32)
    return [x[:1], x, *([x[:2, : samples // 2]] if model.any_length else [])], compared


def random_features(random: np.random.Generator, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Random features between two limits per column, a few of them NaN, (ROWS, F) float32."""
    x = random.uniform(low, high, (ROWS, len(low))).astype(np.float32)
    x[random.random(x.shape) < MISSING] = np.nan
    return x


def limits(classifier: Classifier) -> tuple[np.ndarray, np.ndarray]:
    """The limits of each column in training, (F,); three standard deviations around the mean where only these are known."""
    ranges, count = classifier.card.ranges or {}, len(classifier.card.columns)
    low, high = (np.array(ranges.get(name, [None] * count), np.float64) for name in ("low", "high"))
    mean, scale = np.zeros(count), np.ones(count)
    if isinstance(classifier, NetworkClassifier) and isinstance(front := classifier.network[0], Standardize):
        mean, scale = front.mean.double().numpy(), front.scale.double().numpy()
    unknown = np.isnan(low) | np.isnan(high)
    return np.where(unknown, mean - 3 * scale, low), np.where(unknown, mean + 3 * scale, high)


def real_clips(run: Run, card: ModelCard, samples: int) -> Iterator[np.ndarray]:
    """Clips of recordings in the folder of the run's data, (samples,) float in [-1, 1]; none if it is not here."""
    root = run.config["data"].get("root")
    if not isinstance(root, str) or not Path(root).is_dir():
        return
    for path in islice(Path(root).rglob("*"), MAX_FILES):
        if path.suffix.lower() in DECODED and path.is_file():
            with suppress(BadAudioError, OSError):
                recording = decode(path, card.sample_rate)
                if len(recording):
                    yield np.resize(recording, samples) / 32768
