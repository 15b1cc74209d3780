"""Fixtures with musicnn's weights: seeded random ones, and the published ones where they are available."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from musicreclass.models.weights import musicnn_wheel
from musicreclass.models.weights.musicnn import install_weights
from musicreclass.models.weights.musicnn_wheel import CHECKPOINTS, WHEEL
from tests import tensorflow_bundle as bundle
from tests.make_musicnn_outputs import make_variables

MODELS = os.environ.get("MUSICRECLASS_MODELS")  # read before tests/conftest.py removes it
REAL_WHEEL = os.environ.get("MUSICRECLASS_TEST_MUSICNN")  # musicnn's wheel from PyPI
EXPECTED = np.load(Path(__file__).parents[1] / "files" / "musicnn_outputs.npz")


def seeded_name(checkpoint: str) -> str:
    """The name under which the outputs of a network with seeded weights are recorded."""
    return "seeded_" + checkpoint.rpartition("_")[2]


def seeded_bundle(checkpoint: str) -> tuple[bytes, bytes]:
    """Index and data of a checkpoint with seeded weights, including a few variables of an optimizer."""
    variables = make_variables(json.loads(str(EXPECTED[f"{seeded_name(checkpoint)}/shapes"])))
    variables |= {"dense/bias/Adam": variables["dense/bias"], "beta1_power": np.array(0.5, np.float32)}
    blocks, last_keys, data = bundle.bundle(variables)
    return bundle.table(blocks, last_keys), data


def write_wheel(path: Path, members: dict[str, bytes | None], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a wheel and make its SHA-256 the known one."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            if data is not None:
                archive.writestr(name, data)
    monkeypatch.setattr(musicnn_wheel, "SHA256", sha256(content.getvalue()).hexdigest())
    path.write_bytes(content.getvalue())
    return path


@pytest.fixture(scope="session")
def members() -> dict[str, bytes]:
    """The files of a package like musicnn's, with seeded weights."""
    files: dict[str, bytes] = {"musicnn/__init__.py": b"raise SystemExit('imported')"}
    for name in CHECKPOINTS:
        files[f"musicnn/{name}/.index"], files[f"musicnn/{name}/.data-00000-of-00001"] = seeded_bundle(name)
    return files


@pytest.fixture
def make_wheel(members: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes the wheel with some members replaced, or removed where None."""

    def make(**changes: bytes | None) -> Path:
        return write_wheel(tmp_path / WHEEL, {**members, **changes}, monkeypatch)

    return make


@pytest.fixture(scope="session")
def seeded(members: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with seeded weights, installed from a wheel."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as monkeypatch:
        install_weights(folder / "musicnn", write_wheel(folder / WHEEL, {**members}, monkeypatch))
    return folder / "musicnn"


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with musicnn's published weights; skips the test if there are none."""
    if MODELS and (Path(MODELS) / "musicnn" / f"{CHECKPOINTS[0]}.safetensors").is_file():
        return Path(MODELS) / "musicnn"
    if not REAL_WHEEL:
        pytest.skip("needs musicnn's weights in MUSICRECLASS_MODELS, or its wheel in MUSICRECLASS_TEST_MUSICNN")
    folder = tmp_path_factory.mktemp("published")
    install_weights(folder, Path(REAL_WHEEL))
    return folder
