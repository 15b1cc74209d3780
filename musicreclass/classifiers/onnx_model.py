"""Converts a fitted classifier to ONNX: networks with their front end by torch.export, scikit-learn pipelines by skl2onnx."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from musicreclass.classifiers.base import Classifier
from musicreclass.classifiers.boosted import BoostedClassifier
from musicreclass.classifiers.estimator import EstimatorClassifier
from musicreclass.classifiers.network import NetworkClassifier
from musicreclass.classifiers.tag_estimators import TagEstimatorClassifier
from musicreclass.errors import RunError, UserError
from musicreclass.models.frontend import int16_to_float
from musicreclass.models.huggingface_finetune import HuggingFace

PACKAGES = ("onnx", "onnxruntime", "onnxscript", "skl2onnx")  # of the extra `export`
INSTALL = "pip install 'musicreclass[export]'"
MIN_OPSET = 18  # of networks: the STFT operator, and reductions over axes that are inputs
OPSET, ML_OPSET = 18, 3  # of pipelines
OUTPUT = "probabilities"
TOLERANCE = 1e-4  # of probabilities


@dataclass(frozen=True)
class OnnxModel:
    """A converted classifier.

    Attributes:
        proto: the onnx.ModelProto.
        classes: the class of each column of the output. Classes that were not trained on have probability 0 and no column.
        any_length: whether a clip may have any number of samples.
    """

    proto: Any
    classes: list[str]
    any_length: bool = False


def require_packages() -> None:
    """Make sure that the packages of the extra `export` are installed.

    Raises:
        UserError: if one is missing.
    """
    for name in PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            line = f"export needs the package {name}, which cannot be imported: {INSTALL}"
            raise UserError(line, "missing_package", name) from error


def to_onnx(classifier: Classifier) -> OnnxModel:
    """Convert a classifier. The input is a batch of features (B, F) or of clips (B, samples), float32; rows of the output sum to 1, except those of tags.

    Raises:
        RunError: if its kind of model, or an operator of it, has no conversion.
    """
    if isinstance(classifier, BoostedClassifier):
        line = "XGBoost is not exported to ONNX; model/trees.ubj of the run is XGBoost's own format, which any of its versions reads"
        raise RunError(line, "unsupported_model", "model", classifier.card.target)
    if isinstance(classifier, TagEstimatorClassifier):
        line = "estimators of tags are not exported to ONNX, since each tag has its own; export a network"
        raise RunError(line, "unsupported_model", "model", classifier.card.target)
    if isinstance(classifier, NetworkClassifier) and isinstance(classifier.network[1], HuggingFace):
        line = "model=huggingface is not exported to ONNX: the front end of its checkpoint is not a part of the network"
        raise RunError(line, "unsupported_model", "model", classifier.card.target)
    try:
        with quiet():
            if isinstance(classifier, NetworkClassifier):
                return network_to_onnx(classifier)
            assert isinstance(classifier, EstimatorClassifier)
            return estimator_to_onnx(classifier)
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        line = f"{classifier.card.target} cannot be exported to ONNX ({type(error).__name__}: {reason})"
        raise RunError(line, "unsupported_model", "model", classifier.card.target) from error


class Probabilities(nn.Module):
    """The probabilities of a network in place of its logits."""

    def __init__(self, network: nn.Module, is_multi: bool) -> None:
        super().__init__()
        self.network, self.is_multi = network, is_multi

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features (B, F) or clips (B, samples) to probabilities (B, C)."""
        logits = self.network(int16_to_float(x)).float()
        return torch.sigmoid(logits) if self.is_multi else torch.softmax(logits, 1)


def network_to_onnx(classifier: NetworkClassifier) -> OnnxModel:
    """Convert a network with its front end: batches of any size, and clips of any length where the network allows it."""
    card = classifier.card
    network = Probabilities(classifier.network.to("cpu"), card.is_multi).eval()
    classifier.device = torch.device("cpu")
    classes = card.classes[: card.logits]
    if card.input == "table":
        return OnnxModel(exported(network, torch.zeros(3, len(card.columns)), "features", {0: "batch"}), classes)
    clip = 0.1 * torch.randn(3, round(card.clip_seconds * card.sample_rate), generator=torch.Generator().manual_seed(0))
    with suppress(Exception):  # of many types: the shapes that a network computes depend on the length
        proto = exported(network, clip, "waveform", {0: "batch", 1: "samples"})
        half = clip[:2, : clip.shape[1] // 2]  # a network that cuts or repeats a clip is exported for one of both
        if np.allclose(run_onnx(proto.SerializeToString(), half.numpy()), network(half).detach(), atol=TOLERANCE):
            return OnnxModel(proto, classes, any_length=True)
    return OnnxModel(exported(network, clip, "waveform", {0: "batch"}), classes)


def run_onnx(content: bytes, x: np.ndarray) -> np.ndarray:
    """The probabilities of an ONNX file, by ONNX Runtime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (node,) = session.get_inputs()
    return np.asarray(session.run([OUTPUT], {node.name: x})[0])


def exported(network: nn.Module, example: torch.Tensor, name: str, axes: dict[int, str]) -> Any:
    """The ONNX graph of a network.

    Args:
        network: takes one tensor.
        example: an input.
        name: of the input.
        axes: those of any size, by number.
    """
    shapes = (dict.fromkeys(axes, torch.export.Dim.DYNAMIC),)
    with torch.no_grad():
        program = torch.onnx.export(
            network,
            (example,),
            input_names=[name],
            output_names=[OUTPUT],
            dynamic_shapes=shapes,
            dynamo=True,
            opset_version=MIN_OPSET,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    dimensions = proto.graph.input[0].type.tensor_type.shape.dim
    if fixed := [axis for axis in axes if not dimensions[axis].dim_param]:
        raise ValueError(f"axis {fixed[0]} became constant")
    return proto


def estimator_to_onnx(classifier: EstimatorClassifier) -> OnnxModel:
    """Convert a scikit-learn pipeline."""
    from skl2onnx import to_onnx as convert
    from skl2onnx.common.data_types import FloatTensorType

    pipeline, card = classifier.pipeline, classifier.card
    proto = convert(
        pipeline,
        initial_types=[("features", FloatTensorType([None, len(card.columns)]))],
        options={id(pipeline): {"zipmap": False, "output_class_labels": False}},
        target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET},
    )
    outputs = proto.graph.output
    for output in [output for output in outputs if output.name != OUTPUT]:  # the labels are numbers
        outputs.remove(output)
    numbers = classifier.present[np.asarray(pipeline.classes_)]
    return OnnxModel(proto, [card.classes[number] for number in numbers])


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings and log lines of exporters."""
    loggers = [
        logging.getLogger(name) for name in ("torch.onnx", "torch.onnx._internal", "onnxscript", "onnx_ir", "skl2onnx")
    ]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
