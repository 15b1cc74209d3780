"""musicnn's package on PyPI: downloads the wheel, verifies it and reads the TensorFlow checkpoints of its taggers.

The package is neither imported nor unpacked: the eight checkpoint files are read in memory, and only from the wheel with a known
SHA-256.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch

from musicreclass.errors import WeightsError
from musicreclass.models.weights.tensorflow import read_bundle

# with -m Python would search the working directory first
PIP = "import sys; sys.path[:] = [p for p in sys.path if p]; from runpy import run_module; run_module('pip', run_name='__main__')"

CHECKPOINTS = ("MSD_musicnn", "MTT_musicnn", "MSD_vgg", "MTT_vgg")
PACKAGE, PACKAGE_VERSION = "musicnn", "0.1.0"
WHEEL = f"{PACKAGE}-{PACKAGE_VERSION}-py3-none-any.whl"
SHA256 = "f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa"  # of this wheel on PyPI
PREPARE = "musicreclass prepare features=musicnn"
# TensorFlow's name of each layer, in the order of the graph, and ours
MUSICNN_LAYERS = {
    "batch_normalization": "input_norm", "conv2d": "timbral.0.conv", "batch_normalization_1": "timbral.0.norm",
    "conv2d_1": "timbral.1.conv", "batch_normalization_2": "timbral.1.norm", "conv2d_2": "temporal.0.conv",
    "batch_normalization_3": "temporal.0.norm", "conv2d_3": "temporal.1.conv", "batch_normalization_4": "temporal.1.norm",
    "conv2d_4": "temporal.2.conv", "batch_normalization_5": "temporal.2.norm", "conv2d_5": "middle.0.conv",
    "batch_normalization_6": "middle.0.norm", "conv2d_6": "middle.1.conv", "batch_normalization_7": "middle.1.norm",
    "conv2d_7": "middle.2.conv", "batch_normalization_8": "middle.2.norm", "batch_normalization_9": "pooled_norm",
    "dense": "hidden", "batch_normalization_10": "hidden_norm", "dense_1": "tags",
}  # fmt: skip
VGG_LAYERS = {
    "batch_normalization": "input_norm",
    **{f"{i + 1}CNN": f"blocks.{i}.conv" for i in range(5)},
    **{f"batch_normalization_{i + 1}": f"blocks.{i}.norm" for i in range(5)},
    "dense": "tags",
}
PARAMETERS = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias", "moving_mean": "running_mean",
              "moving_variance": "running_var"}  # fmt: skip


def download_wheel(folder: Path) -> Path:
    """Download the wheel into a folder, without dependencies, with the pip of the running interpreter.

    Raises:
        WeightsError: if pip fails.
    """
    command = [sys.executable, "-c", PIP, "download", f"{PACKAGE}=={PACKAGE_VERSION}"]
    options = ["--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--no-input", "--retries", "2"]
    result = subprocess.run(
        [*command, *options, "--dest", str(folder)], capture_output=True, text=True, errors="replace", check=False
    )
    if result.returncode or not (folder / WHEEL).is_file():
        lines = [line.removeprefix("ERROR: ").strip() for line in result.stderr.splitlines() if line.strip()]
        reason = lines[-1][:160] if lines else "no reason given"
        if "connection broken" in result.stderr:
            reason = "no connection to a package index"
        raise WeightsError(
            f"pip cannot download {PACKAGE} {PACKAGE_VERSION} ({reason}); without a network, copy {WHEEL} to this machine and"
            f" run {PREPARE} features.wheel=PATH",
            "download_failed",
            "features.wheel",
        )
    return folder / WHEEL


def read_wheel(wheel: Path) -> dict[str, dict[str, np.ndarray]]:
    """The variables of the four checkpoints in the wheel, by checkpoint.

    Raises:
        WeightsError: if it is not the wheel with the known SHA-256, or if a checkpoint in it is damaged.
    """
    try:
        content = wheel.read_bytes()
    except OSError as error:
        raise WeightsError(f"{wheel}: cannot be read ({error.strerror})", "unreadable", wheel) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        raise WeightsError(
            f"{wheel}: damaged, or not {PACKAGE} {PACKAGE_VERSION} from PyPI: its SHA-256 is {digest[:12]}... instead of"
            f" {SHA256[:12]}...; nothing was installed",
            "wrong_checksum",
            wheel,
        )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {
                name: read_bundle(
                    archive.read(f"{PACKAGE}/{name}/.index"),
                    archive.read(f"{PACKAGE}/{name}/.data-00000-of-00001"),
                    f"{wheel}/{PACKAGE}/{name}/",
                )
                for name in CHECKPOINTS
            }
    except (zipfile.BadZipFile, zlib.error, KeyError) as error:
        raise WeightsError(f"{wheel}: not the package {PACKAGE} ({error})", "not_the_package", wheel) from error


def convert_variables(variables: dict[str, np.ndarray], checkpoint: str) -> dict[str, torch.Tensor]:
    """A checkpoint's variables, without those of the optimizer, as a state_dict of `musicnn.MusiCNN` or `musicnn.VGG`.

    Raises:
        WeightsError: if variables are missing or unknown.
    """
    layers, state = VGG_LAYERS if checkpoint.endswith("vgg") else MUSICNN_LAYERS, {}
    for variable, value in variables.items():
        layer, _, parameter = variable.rpartition("/")
        if layer in layers and parameter in PARAMETERS:
            weights = torch.from_numpy(_to_torch_layout(value, layers[layer]).copy())
            state[f"{layers[layer]}.{PARAMETERS[parameter]}"] = weights
        elif not parameter.startswith("Adam") and variable not in ("beta1_power", "beta2_power"):
            raise WeightsError(f"{checkpoint}: unknown variable {variable}", "unknown_variable", checkpoint, variable)
    expected = {f"{ours}.{PARAMETERS[name]}" for layer, ours in layers.items() for name in _parameters_of(layer)}
    if missing := sorted(expected - state.keys()):
        raise WeightsError(f"{checkpoint}: missing weights: {', '.join(missing)[:80]}", "missing_variables", checkpoint)
    return state


def _parameters_of(layer: str) -> tuple[str, ...]:
    return ("gamma", "beta", "moving_mean", "moving_variance") if layer.startswith("batch") else ("kernel", "bias")


def _to_torch_layout(value: np.ndarray, layer: str) -> np.ndarray:
    """A kernel with its axes in PyTorch's order: outputs, inputs, then frames and bands."""
    if value.ndim == 2:
        return value.T
    if value.ndim == 4:
        value = value.transpose(3, 2, 0, 1)
        return value[:, 0].swapaxes(1, 2) if layer.startswith("middle") else value
    return value
