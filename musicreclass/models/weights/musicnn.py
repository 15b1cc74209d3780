"""Weights of musicnn's taggers as safetensors files, each with a card: origin, licence, tags and known overlaps."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from musicreclass.errors import WeightsError
from musicreclass.models.weights import musicnn_wheel
from musicreclass.models.weights.musicnn_wheel import CHECKPOINTS, PACKAGE, PACKAGE_VERSION, PREPARE, WHEEL
from musicreclass.storage.atomic import replacing

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
            "source": "reported to this project; the published source is unknown and the count was not verified",
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


def install_weights(folder: Path, wheel: Path | None = None) -> list[Path]:
    """Install the weights of all four taggers in a folder. Each file is written atomically; nothing is done if all are valid.

    Args:
        folder: created if needed.
        wheel: a local copy of musicnn's package; None to download it with pip.

    Returns:
        the files.

    Raises:
        WeightsError: if the package cannot be downloaded or is not the known one, or the folder cannot be written.
    """
    if not all(_is_installed(folder, name) for name in CHECKPOINTS):
        with tempfile.TemporaryDirectory(prefix="musicreclass-") as scratch:
            variables = musicnn_wheel.read_wheel(wheel or musicnn_wheel.download_wheel(Path(scratch)))
            weights = {name: musicnn_wheel.convert_variables(values, name) for name, values in variables.items()}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, state in weights.items():
                write_weights(folder, name, state)
        except (OSError, SafetensorError) as error:
            raise WeightsError(
                f"{folder}: the weights cannot be written ({error}); choose another folder with paths.models=DIR",
                "unwritable",
                folder,
            ) from error
    return [weights_path(folder, name) for name in CHECKPOINTS]


def weights_path(folder: Path, name: str) -> Path:
    """The weight file of a tagger."""
    return folder / f"{name}.safetensors"


def write_weights(folder: Path, name: str, weights: dict[str, torch.Tensor]) -> None:
    """Write weights and their card, atomically."""
    data = name.partition("_")[0]
    card = {
        "name": name, "source": f"{PACKAGE} {PACKAGE_VERSION} on PyPI, {WHEEL}", "wheel_sha256": musicnn_wheel.SHA256,
        "licence": "ISC", "copyright": "Music Technology Group, Universitat Pompeu Fabra, 2019", "citation": CITATION,
        "trained_on": TRAINED_ON[data], "tags": TAGS[data].split(","), "overlaps": OVERLAPS[data],
        "sha256": _weights_digest(weights),
    }  # fmt: skip
    content = save({key: value.contiguous() for key, value in weights.items()}, {"card": json.dumps(card)})
    with replacing(weights_path(folder, name)) as scratch, scratch.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def read_weights(folder: Path, name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read the weights of a tagger and their card.

    Raises:
        WeightsError: if the file is missing or damaged.
    """
    path = weights_path(folder, name)
    if not path.is_file():
        raise WeightsError(f"{path}: file not found; run {PREPARE} to install it", "file_not_found", path)
    try:
        with safe_open(path, "pt") as file:
            card = json.loads((file.metadata() or {})["card"])
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        intact = card["sha256"] == _weights_digest(weights)
        valid_card = _is_valid_card(card)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{path}: damaged, or not written by this project ({error}); delete it and run {PREPARE}",
            "damaged_file",
            path,
        ) from error
    if not valid_card:
        raise WeightsError(
            f"{path}: its card lacks 50 tags or a valid list of overlaps; delete it and run {PREPARE}",
            "invalid_card",
            path,
        )
    if not intact:
        raise WeightsError(
            f"{path}: damaged: the SHA-256 of its weights is not that in its card; delete it and run {PREPARE}",
            "wrong_checksum",
            path,
        )
    return weights, card


def _is_valid_card(card: dict[str, Any]) -> bool:
    """Whether tags and overlaps have the structure that their readers expect; the file may come from anyone."""
    tags, overlaps = card.get("tags"), card.get("overlaps")
    if not (isinstance(tags, list) and isinstance(overlaps, list) and len(set(map(str, tags))) == len(tags) == 50):
        return False
    fields = [o.get(key) if isinstance(o, dict) else None for o in overlaps for key in ("dataset", "what", "source")]
    return all(isinstance(text, str) for text in [*tags, *fields])


def _is_installed(folder: Path, name: str) -> bool:
    try:
        return read_weights(folder, name)[1].get("wheel_sha256") == musicnn_wheel.SHA256
    except WeightsError:
        return False


def _weights_digest(weights: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for key, tensor in sorted(weights.items()):
        digest.update(f"{key}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
