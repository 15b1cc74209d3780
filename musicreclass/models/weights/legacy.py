"""Reads two kinds of weights of genre classifiers that were trained elsewhere: an MLP over the 518 features, and a CNN.

The MLP's file is a dictionary with `model` (a state dict), `scaler_mean`, `scaler_scale` and `genres`; the CNN's has
`model_state_dict` and `label_encoder`. No code from a file is executed, and genres come from the file alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from musicreclass.errors import WeightsError, printable
from musicreclass.models.legacy_cnn import CHANNELS
from musicreclass.models.weights.pickled_values import PickledArray, PickledEncoder
from musicreclass.models.weights.torch_files import (
    describe_mismatch,
    describe_tensor,
    flatten_tensors,
    load_checkpoint,
    matches_shape,
)
from musicreclass.plurals import counted

FEATURES, HIDDEN = 518, (256, 128)
MLP_KEYS = ("model", "scaler_mean", "scaler_scale", "genres")
CNN_KEYS = ("model_state_dict", "label_encoder")
SELF_REPORTED = ("accuracy", "val_accuracy", "val_acc", "best_accuracy", "best_acc")
CONVOLUTIONS = (0, 5, 10, 15)  # in `features`, each followed by its batch normalisation
MAX_CLASSES = 10_000
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class LegacyWeights:
    """What a file contains.

    Attributes:
        network: `mlp` or `cnn`.
        tensors: the weights, under the names of `musicreclass.models.mlp.MLP` or `musicreclass.models.legacy_cnn.LegacyCNN`.
        genres: the class names, in the order of the outputs.
        mean, scale: of the features, (518,) float64; None for the CNN.
        accuracy: which the file claims; None if it claims none.
        epoch: which the file names.
    """

    network: str
    tensors: Tensors
    genres: list[str]
    mean: np.ndarray | None
    scale: np.ndarray | None
    accuracy: float | None
    epoch: int | None


def read_legacy(path: Path) -> LegacyWeights:
    """Read and check a file.

    Raises:
        WeightsError: if it is missing or damaged, names a class that is not read, lacks something, or is of another network.
    """
    return parse_legacy(path, load_checkpoint(path, with_arrays=True))


def parse_legacy(path: Path, content: Any) -> LegacyWeights:
    """The weights in the content of a file.

    Args:
        path: the file, for messages.
        content: of `load_checkpoint(path, with_arrays=True)`.

    Raises:
        WeightsError: see `read_legacy`.
    """
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path}: contains no dictionary: {expected_content()}", "incomplete_weights", path)
    network = "cnn" if "model_state_dict" in content or "label_encoder" in content else "mlp"
    missing = [key for key in (CNN_KEYS if network == "cnn" else MLP_KEYS) if key not in content]
    if missing:
        is_state = bool(content) and all(isinstance(value, torch.Tensor) for value in content.values())
        kind = "a state dict alone; " if is_state else ""
        other = f" (its tensors: {tensor_names(content)})" if "model" in missing and tensor_names(content) else ""
        message = f"{path}: {kind}{', '.join(missing)} missing{other}: {expected_content()}"
        raise WeightsError(message, "incomplete_weights", path, missing)
    state = content["model_state_dict" if network == "cnn" else "model"]
    if not isinstance(state, Mapping):
        raise WeightsError(f"{path}: the weights are no state dict", "wrong_tensors", path)
    genres = class_names(path, content["label_encoder" if network == "cnn" else "genres"])
    tensors = (cnn_tensors if network == "cnn" else mlp_tensors)(path, dict(state), len(genres))
    mean = scale = None
    if network == "mlp":
        mean, scale = (statistics(path, key, content[key]) for key in ("scaler_mean", "scaler_scale"))
        if not (scale > 0).all():
            count = int((scale <= 0).sum())
            message = f"{path}: scaler_scale: {count} of {FEATURES} values are not above 0"
            raise WeightsError(message, "invalid_values", path, "scaler_scale")
    accuracy = next((value for key in SELF_REPORTED if (value := number(content.get(key))) is not None), None)
    epoch = content.get("epoch")
    epoch = epoch if isinstance(epoch, int) and not isinstance(epoch, bool) else None
    return LegacyWeights(network, tensors, genres, mean, scale, accuracy, epoch)


def mlp_tensors(path: Path, state: dict[str, Any], classes: int) -> Tensors:
    """The weights of the MLP under the names of `MLP`.

    Raises:
        WeightsError: if they are of another network, or of another number of classes.
    """
    widths = (FEATURES, *HIDDEN, outputs_of(path, state, "net.6.weight", classes))
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, inputs, outputs in zip((0, 3, 6), widths, widths[1:], strict=False):
        shapes |= {f"net.{layer}.weight": (outputs, inputs), f"net.{layer}.bias": (outputs,)}
    return {name.removeprefix("net."): tensor for name, tensor in checked(path, state, shapes, "the MLP").items()}


def cnn_tensors(path: Path, state: dict[str, Any], classes: int) -> Tensors:
    """The weights of the CNN under the names of `LegacyCNN`. The last layer may be numbered, as one of a `Sequential`.

    Raises:
        WeightsError: if they are of another network, or of another number of classes.
    """
    names = [
        name.removesuffix(".weight") for name in state if name.startswith("classifier.") and name.endswith("weight")
    ]
    last = names[0] if len(names) == 1 else "classifier"
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, inputs, outputs in zip(CONVOLUTIONS, (1, *CHANNELS), CHANNELS, strict=False):
        shapes[f"features.{layer}.weight"] = (outputs, inputs, 3, 3)
        if f"features.{CONVOLUTIONS[0]}.bias" in state:
            shapes[f"features.{layer}.bias"] = (outputs,)
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"features.{layer + 1}.{part}"] = (outputs,)
    outputs = outputs_of(path, state, f"{last}.weight", classes)
    shapes |= {f"{last}.weight": (outputs, CHANNELS[-1]), f"{last}.bias": (outputs,)}
    counters = {name: value for name, value in state.items() if name.endswith(".num_batches_tracked")}
    tensors = checked(path, {k: v for k, v in state.items() if k not in counters}, shapes, "the CNN")
    for layer in CONVOLUTIONS:
        if (tensors[f"features.{layer + 1}.running_var"] < 0).any():
            name = f"features.{layer + 1}.running_var"
            raise WeightsError(f"{path}: {name}: a variance is negative", "invalid_values", path, name)
    return {name.replace(f"{last}.", "classifier."): tensor for name, tensor in tensors.items()}


def outputs_of(path: Path, state: dict[str, Any], name: str, classes: int) -> int:
    """The number of classes, which the rows of the last layer must equal; the number itself if there is no such layer.

    Raises:
        WeightsError: if they differ.
    """
    weight = state.get(name)
    if isinstance(weight, torch.Tensor) and weight.ndim == 2 and len(weight) != classes:
        message = f"{path}: names {counted(classes, 'genre')}, but {name} has {counted(len(weight), 'output')}"
        raise WeightsError(message, "class_mismatch", path, classes)
    return classes


def checked(path: Path, state: dict[str, Any], shapes: dict[str, tuple[int, ...]], network: str) -> Tensors:
    """The tensors of a network as float32 copies.

    Raises:
        WeightsError: if one is missing, has another shape, is not finite, or if there are others.
    """
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    if not all(name in tensors and matches_shape(tensors[name], shape) for name, shape in shapes.items()):
        detail = describe_mismatch(tensors, shapes)
        raise WeightsError(f"{path}: not the weights of {network}: {detail}", "wrong_tensors", path)
    if others := [str(name) for name in state if name not in shapes]:
        message = f"{path}: not the weights of {network}: also contains {printable(', '.join(others[:3]))}"
        raise WeightsError(message, "wrong_tensors", path, others)
    weights = {name: tensors[name].detach().float().clone() for name in shapes}
    if invalid := [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]:
        raise WeightsError(f"{path}: {invalid[0]}: not all values are finite", "invalid_values", path, invalid[0])
    return weights


def class_names(path: Path, value: Any) -> list[str]:
    """The names of the classes, of a list of texts or of an encoder.

    Raises:
        WeightsError: if there are none, one is no text or empty, or one is named twice.
    """
    try:
        if isinstance(value, (PickledEncoder, PickledArray)):
            value = value.classes() if isinstance(value, PickledEncoder) else value.strings()
        if not isinstance(value, (list, tuple)) or not all(type(name) is str and name.strip() for name in value):
            raise ValueError("not a list of names")
        if not 2 <= len(value) <= MAX_CLASSES:
            raise ValueError(f"{counted(len(value), 'name')}; at least 2 are needed, at most {MAX_CLASSES:,}")
        if invalid := [name for name in value if printable(name) != name]:
            raise ValueError(f"{printable(invalid[0])!r} contains control characters")
    except ValueError as error:
        raise WeightsError(f"{path}: genres: {error}", "invalid_genres", path) from error
    if repeated := sorted({name for name in value if value.count(name) > 1}) if len(set(value)) < len(value) else []:
        raise WeightsError(f"{path}: genres: {repeated[0]} is named twice", "duplicate_class", path, repeated)
    return list(value)


def statistics(path: Path, key: str, value: Any) -> np.ndarray:
    """The mean or the scale of the features, (518,) float64.

    Raises:
        WeightsError: if it is another array, or not finite.
    """
    try:
        if isinstance(value, PickledArray):
            value = value.numbers()
        elif isinstance(value, torch.Tensor):
            if not matches_shape(value, (FEATURES,)):  # before the copy: a view may be far larger than the file
                raise ValueError(f"{describe_tensor(value)}, expected ({FEATURES},)")
            value = value.double().numpy()
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or value.shape != (FEATURES,):
            shape = getattr(value, "shape", None)
            raise ValueError(f"shape {tuple(shape)}, expected ({FEATURES},)" if shape is not None else "not an array")
    except ValueError as error:
        raise WeightsError(f"{path}: {key}: {error}", "wrong_tensors", path, key) from error
    if not np.isfinite(value).all():
        raise WeightsError(f"{path}: {key}: not all values are finite", "invalid_values", path, key)
    return value.astype(np.float64)


def number(value: Any) -> float | None:
    """A finite number; None for anything else."""
    if isinstance(value, torch.Tensor) and value.numel() == 1 and matches_shape(value, value.shape):
        value = value.item()
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e6 and math.isfinite(value) else None


def tensor_names(content: Mapping[Any, Any]) -> str:
    """Some names of the tensors in a dictionary."""
    return printable(", ".join(name for name, _ in flatten_tensors(content)[:3]))


def expected_content() -> str:
    """What the two kinds of files contain, for messages."""
    return f"save a dictionary with {', '.join(MLP_KEYS)}, or one with {' and '.join(CNN_KEYS)}"
