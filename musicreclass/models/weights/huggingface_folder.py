"""Reads checkpoints in the format of Hugging Face: a folder with config.json, preprocessor_config.json and safetensors files.

Nothing in the folder is executed, and nothing is downloaded: checkpoints that require either are rejected.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from musicreclass.config.messages import brief
from musicreclass.errors import WeightsError
from musicreclass.models.weights.torch_files import read_tensors
from musicreclass.storage.regular import open_regular

CONFIG, PREPROCESSOR, PROCESSOR = "config.json", "preprocessor_config.json", "processor_config.json"
SUFFIX, WEIGHTS, INDEX = ".safetensors", "model.safetensors", "model.safetensors.index.json"
MAX_JSON = 4 << 20  # bytes; the index of the largest published checkpoints is smaller
MAX_LAYERS = 1000  # networks are created before their size is compared with that of the weights
ATTENTION = (None, "eager", "sdpa")  # implementations that are part of PyTorch; other names can mean code on the Hub
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")
CONVERT = "AutoModel.from_pretrained(OLD).save_pretrained(NEW)"


@dataclass(frozen=True)
class CheckpointFolder:
    """The content of a checkpoint folder, without the tensors.

    Attributes:
        path: the folder.
        config: of the network.
        preprocessor: of the feature extractor.
        weights: the safetensors files.
    """

    path: Path
    config: dict[str, Any]
    preprocessor: dict[str, Any]
    weights: list[Path]

    def tensors(self) -> dict[str, torch.Tensor]:
        """All tensors by name.

        Raises:
            WeightsError: if a file is missing or damaged, or two files contain the same tensor.
        """
        tensors: dict[str, torch.Tensor] = {}
        for file in self.weights:
            shard = read_tensors(file)
            if repeated := tensors.keys() & shard.keys():
                name = min(repeated)
                raise WeightsError(f"{file}: contains {name}, as another file does", "duplicate_tensor", file, name)
            tensors |= shard
        return tensors


def read_folder(path: Path, key: str) -> CheckpointFolder:
    """Read and check a folder's JSON files, and find its weights.

    Args:
        path: the folder.
        key: the setting that names it, for messages.

    Raises:
        WeightsError: if a file is missing, damaged, or asks for code that is not part of transformers.
    """
    if not path.is_dir():
        line = f"{key}={path}: there is no such folder; name one that contains {CONFIG} and {WEIGHTS}"
        raise WeightsError(line, "missing_folder", key, str(path))
    config = read_json(path / CONFIG)
    preprocessor: Any
    if (path / PREPROCESSOR).exists():
        preprocessor = read_json(path / PREPROCESSOR)
    elif (path / PROCESSOR).exists():
        preprocessor = read_json(path / PROCESSOR).get("feature_extractor")
        if not isinstance(preprocessor, dict):
            line = f"{path / PROCESSOR}: describes no feature_extractor; add the checkpoint's {PREPROCESSOR}"
            raise WeightsError(line, "missing_value", path / PROCESSOR)
    else:
        line = (
            f"{path / PREPROCESSOR}: file not found; it holds the sample rate and the normalisation of the checkpoint"
        )
        raise WeightsError(line, "file_not_found", path / PREPROCESSOR)
    return described_folder(path, config, preprocessor, find_weights(path))


def described_folder(
    path: Path, config: dict[str, Any], preprocessor: dict[str, Any], weights: list[Path]
) -> CheckpointFolder:
    """A checkpoint with these JSON files, which are checked.

    Raises:
        WeightsError: if one asks for code that is not part of transformers.
    """
    for file, values in ((CONFIG, config), (PREPROCESSOR, preprocessor)):
        try:
            reject_code(values, path / file)
        except RecursionError as error:
            raise WeightsError(f"{path / file}: too deeply nested", "damaged_file", path / file) from error
    return CheckpointFolder(path, config, preprocessor, weights)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of limited size, without repeated keys, NaN or infinity.

    Raises:
        WeightsError: if it is missing or anything else.
    """
    try:
        with open_regular(path) as file:
            content = file.read(MAX_JSON + 1)
        if len(content) > MAX_JSON:
            raise WeightsError(f"{path}: larger than {MAX_JSON >> 20} MiB", "damaged_file", path)
        value = json.loads(content.decode("utf-8"), object_pairs_hook=unique, parse_constant=rejected_constant)
        if not isinstance(value, dict):
            raise ValueError("not an object")
    except FileNotFoundError as error:
        raise WeightsError(
            f"{path}: file not found; name the folder of a checkpoint", "file_not_found", path
        ) from error
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})", "unreadable", path) from error
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: not a JSON object ({brief(error)})", "damaged_file", path) from error
    return value


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON.

    Raises:
        ValueError: if a key is repeated.
    """
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("a key is repeated")
    return result


def rejected_constant(name: str) -> Any:
    """Reject NaN and infinity, which are not part of JSON."""
    raise ValueError(f"contains {name}")


def reject_code(node: Any, path: Path) -> None:
    """Reject configurations that ask for code outside transformers and PyTorch, or for networks of absurd depth.

    Raises:
        WeightsError: naming the file and the key.
    """
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        name = str(key)
        if name == "auto_map" and value:
            line = f"{path}: auto_map: the checkpoint needs code of its own, which is not executed; use a checkpoint of a model type that transformers includes"
            raise WeightsError(line, "remote_code", path, "auto_map")
        if name.endswith("attn_implementation") and value not in ATTENTION:
            line = f"{path}: {name}={value}: can load code from the Hub, which is not executed; remove the key"
            raise WeightsError(line, "remote_code", path, name)
        if name == "quantization_config" and value:
            line = f"{path}: {name}: quantised checkpoints are not supported; use the original one"
            raise WeightsError(line, "unsupported_format", path, name)
        if name.endswith("layers") and isinstance(value, int) and value > MAX_LAYERS:
            raise WeightsError(f"{path}: {name}={value}: more than {MAX_LAYERS} layers", "damaged_file", path, name)
        reject_code(value, path)


def without_private_keys(node: Any) -> Any:
    """A configuration without keys such as `_name_or_path`, which describe where it was loaded and not the network."""
    if isinstance(node, dict):
        return {key: without_private_keys(value) for key, value in node.items() if not key.startswith("_")}
    return [without_private_keys(value) for value in node] if isinstance(node, list) else node


def find_weights(path: Path) -> list[Path]:
    """The safetensors files of a folder.

    Raises:
        WeightsError: if there are none, or the index names other files.
    """
    if (path / WEIGHTS).exists():
        return [path / WEIGHTS]
    if (path / INDEX).exists():
        names = read_json(path / INDEX).get("weight_map")
        files = list(names.values()) if isinstance(names, dict) else []
        if not files or not all(isinstance(n, str) and n.endswith(SUFFIX) and Path(n).name == n for n in files):
            line = f"{path / INDEX}: weight_map must name safetensors files in the same folder"
            raise WeightsError(line, "damaged_file", path / INDEX)
        return [path / name for name in sorted(set(files))]
    pickles = sorted(file.name for file in path.iterdir() if file.suffix in PICKLES)
    if pickles:
        line = (
            f"{path}: {pickles[0]} can execute code when it is loaded; only safetensors files are read. Convert it where "
            f"you trust it: {CONVERT}"
        )
        raise WeightsError(line, "foreign_objects", path, pickles[0])
    raise WeightsError(f"{path}: {WEIGHTS} not found; name the folder of a checkpoint", "file_not_found", path)
