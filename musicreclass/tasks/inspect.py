"""The contents of a checkpoint or a run folder, and how they can be used. No code from the files is executed."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from musicreclass.classifiers.model_folder import ModelCard, read_card
from musicreclass.errors import RunError, WeightsError
from musicreclass.evaluation.cascade import Cascade
from musicreclass.evaluation.combining import Combination
from musicreclass.evaluation.metric_names import METRIC_LABELS, main_metrics
from musicreclass.models.openjmla import OpenJMLAEncoder
from musicreclass.models.weights.legacy import CNN_KEYS, MLP_KEYS, parse_legacy
from musicreclass.models.weights.torch_files import flatten_tensors, foreign_objects, load_checkpoint, matching_prefixes
from musicreclass.plurals import counted
from musicreclass.runs.find import find_runs
from musicreclass.runs.folder import Run

MAX_PLAIN_VALUES = 8  # of a checkpoint
MAX_SHAPES = 4  # of a module


@dataclass(frozen=True)
class Inspection:
    """The description of a run folder or a checkpoint.

    Attributes:
        properties: (name, value), in order.
        modules: (module, number of tensors, shapes, number of values, size), the total last; empty for a run folder.
        uses: how a checkpoint can be used, one line each.
    """

    properties: list[tuple[str, str]]
    modules: list[tuple[str, str, str, str, str]]
    uses: list[str]


def inspect_run(folder: Path) -> Iterator[Inspection]:
    """Describe the state, protocol, scores and model of a run, then the weights of the model.

    Raises:
        RunError: if the folder is not a run folder, or damaged.
        WeightsError: if the weights are damaged.
    """
    if not (folder / "status.json").is_file() and (count := len(find_runs(folder))):
        what = "a sweep of" if (folder / "runs.csv").is_file() else "not a run, but contains"
        message = (
            f"{folder}: is {what} {counted(count, 'run')}; inspect one of them, or use musicreclass compare {folder}"
        )
        raise RunError(message, "several_runs", folder, count)
    run = Run.open(folder)
    error = f": {run.status['error']}" if run.status.get("error") else ""
    options = [f"{group}={option}" for group, option in run.config.get("choices", {}).items() if option != "none"]
    stale = " (stale: the code has changed since)" if run.is_stale else ""
    properties = [
        ("state", run.state + error),
        ("options", ", ".join(options)),
        ("signature", (run.identity.signature or "unknown") + stale),
    ]
    if run.metrics:
        properties += metrics_properties(run.metrics)
    model, combination = folder / "model", run.combination
    if combination is not None:
        properties += ensemble_properties(combination, run.members)
    elif model.is_dir():
        properties += model_properties(read_card(model))
    yield Inspection(properties, [], [])
    if (model / "weights.pt").is_file():
        yield inspect_file(model / "weights.pt")


def metrics_properties(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """The protocol, classes and scores of a run."""
    protocol = metrics.get("protocol", {})
    reasons = "; ".join([*protocol.get("why", []), *protocol.get("cautions", {}).values()])
    properties = [
        ("protocol", f"{protocol.get('split')}, leaks: {protocol.get('leaky')}" + (f" ({reasons})" if reasons else "")),
        ("classes", f"{len(metrics['classes'])}: {', '.join(metrics['classes'])}"),
    ]
    for split in ("valid", "test"):
        if split in metrics:
            scores = metrics[split]
            properties.append((split, f"{', '.join(metric_texts(scores))}, n = {scores['n']}"))
    return properties


def metric_texts(scores: dict[str, Any]) -> list[str]:
    """The main metrics of a split, as `accuracy 0.812`."""
    values = [(METRIC_LABELS[name], scores[name]) for name in main_metrics(scores)]
    return [f"{label} {'undefined' if value is None else f'{value:.3f}'}" for label, value in values]


def ensemble_properties(combination: Combination | Cascade, members: list[Run]) -> list[tuple[str, str]]:
    """The method of an ensemble, and each member with its weight or threshold and validation scores."""
    properties = [("method", f"{combination.method} of {len(members)}")]
    if isinstance(combination, Cascade):
        parts = [*(f"stops from {value:.3f}" for value in combination.thresholds), "labels the rest"]
    else:
        parts = [f"weight {weight:.3f}" for weight in combination.weights]
    for k, (name, part, member) in enumerate(zip(combination.members, parts, members, strict=True)):
        scores = member.metrics.get("valid", {})
        accuracy = f", valid {metric_texts(scores)[0]}" if scores else ""
        properties.append((f"member {k}", f"{part}  {name}{accuracy}"))
    if isinstance(combination, Combination) and combination.bias:
        biases = zip(combination.classes, combination.bias, strict=True)
        properties.append(("bias", ", ".join(f"{name} {bias:+.2f}" for name, bias in biases)))
    return properties


def model_properties(card: ModelCard) -> list[tuple[str, str]]:
    """The class of a saved model with its arguments, and its input."""
    if card.input == "table":
        model_input = f"table of {counted(len(card.columns), 'feature')}"
    else:
        model_input = f"{counted(card.eval_crops, 'clip')} of {card.clip_seconds} s at {card.sample_rate} Hz per track"
    values = {name: "{...}" if isinstance(value, dict) else value for name, value in card.arguments.items()}
    arguments = ", ".join(f"{name}={value}" for name, value in values.items())
    return [("model", f"{card.target}({arguments})"), ("input", model_input)]


def inspect_file(path: Path) -> Inspection:
    """Describe the tensors of a checkpoint by module, its plain values, and its uses.

    Raises:
        WeightsError: if the file is damaged or not a checkpoint.
    """
    try:
        checkpoint = load_safely(path)
    except WeightsError:
        objects = foreign_objects(path)
        if not objects:
            raise
        properties = [*file_properties(path), ("objects", f"{', '.join(objects)} (not loaded)")]
        return Inspection(
            properties, [], ["to use its tensors, save the state_dict alone where the checkpoint was made"]
        )
    properties = [*file_properties(path), *plain_values(checkpoint)]
    tensors = dict(flatten_tensors(checkpoint))
    modules = [module_cells(name, members) for name, members in tensors_by_module(tensors).items()]
    name, count, _, values, size = module_cells("all", list(tensors.values()))
    return Inspection(
        properties, [*modules, (name, count, "", values, size)], checkpoint_uses(path, checkpoint, tensors)
    )


def load_safely(path: Path) -> Any:
    """The content of a checkpoint, with NumPy arrays and encoders only if it has any: tensors are then not memory-mapped.

    Raises:
        WeightsError: see `load_checkpoint`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about protocols that it may not read
            return load_checkpoint(path)
    except WeightsError as error:
        try:
            return load_checkpoint(path, with_arrays=True)
        except WeightsError as second:
            raise (second if second.kind == "foreign_objects" else error) from None


def module_cells(name: str, tensors: list[torch.Tensor]) -> tuple[str, str, str, str, str]:
    """Name, number of tensors, shapes, number of values and size of a module."""
    shapes = list(dict.fromkeys("x".join(map(str, tensor.shape)) or "scalar" for tensor in tensors))
    shapes_text = ", ".join(shapes[:MAX_SHAPES]) + (", ..." if len(shapes) > MAX_SHAPES else "")
    values = sum(tensor.numel() for tensor in tensors)
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return name, str(len(tensors)), shapes_text, f"{values:,}", bytes_text(size)


def checkpoint_uses(path: Path, checkpoint: Any, tensors: dict[str, torch.Tensor]) -> list[str]:
    """How a checkpoint can be used, one line each."""
    encoder_shapes = {name: tensor.shape for name, tensor in OpenJMLAEncoder().state_dict().items()}
    lines = []
    encoder_prefixes = matching_prefixes(tensors, encoder_shapes)
    for prefix in encoder_prefixes:
        choice = f" features.prefix={prefix!r}" if len(encoder_prefixes) > 1 else ""
        lines.append(f"OpenJMLA encoder under {prefix!r}: features=openjmla features.checkpoint={path}{choice}")
    if path.parent.name == "checkpoints" and (path.parent.parent / "identity.json").is_file():
        lines.append(f"checkpoint of the run {path.parent.parent}: run the same command again to resume")
    if path.parent.name == "model" and (path.parent / "meta.json").is_file():
        lines.append(f"weights of a saved model: musicreclass evaluate {path.parent.parent}")
    if isinstance(checkpoint, Mapping) and not {*MLP_KEYS[1:], *CNN_KEYS}.isdisjoint(checkpoint):
        try:
            parse_legacy(path, checkpoint)
            lines.append(f"genre classifier that was trained elsewhere: musicreclass import {path}")
        except WeightsError as error:
            lines.append(f"cannot be imported: {error}")
    return lines or ["the tensors fit no network of this project"]


def plain_values(checkpoint: Any) -> list[tuple[str, str]]:
    """The numbers and texts stored next to the tensors, by name."""
    if not isinstance(checkpoint, Mapping):
        return []
    values = {str(name): value for name, value in checkpoint.items() if isinstance(value, (str, int, float))}
    properties = [(name[:24], str(value)[:80]) for name, value in list(values.items())[:MAX_PLAIN_VALUES]]
    omitted = len(values) - MAX_PLAIN_VALUES
    return properties + ([("...", f"{counted(omitted, 'more value')}")] if omitted > 0 else [])


def tensors_by_module(tensors: dict[str, torch.Tensor]) -> dict[str, list[torch.Tensor]]:
    """Group tensors by module; numbered layers of one parent share an entry, as `layers.0-11`."""
    numbers: dict[str, set[int]] = {}
    members: dict[str, list[torch.Tensor]] = {}
    for name, tensor in tensors.items():
        layer = re.match(r"(.*?\.)?(\d+)\.", name)
        module = f"{layer[1] or ''}#" if layer else name.rpartition(".")[0] or name
        members.setdefault(module, []).append(tensor)
        if layer:
            numbers.setdefault(module, set()).add(int(layer[2]))
    return {
        module.replace("#", range_text(numbers[module])) if module in numbers else module: group
        for module, group in members.items()
    }


def range_text(numbers: set[int]) -> str:
    """The range of some numbers, `0-11`, or a single number."""
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low}-{high}"


def file_properties(path: Path) -> list[tuple[str, str]]:
    """Path, size and format of a checkpoint."""
    if path.suffix == ".safetensors":
        file_format = "safetensors"
    else:
        file_format = "PyTorch, zip" if zipfile.is_zipfile(path) else "PyTorch, before 1.6"
    return [("file", f"{path}, {bytes_text(path.stat().st_size)}"), ("format", file_format)]


def bytes_text(size: float) -> str:
    """A number of bytes in B, KiB, MiB or GiB."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
