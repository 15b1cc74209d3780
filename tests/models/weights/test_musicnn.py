"""musicnn's weights: only the known wheel is accepted, and files are installed completely or not at all."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from musicreclass.errors import WeightsError
from musicreclass.models.musicnn import MusiCNNEncoder
from musicreclass.models.weights import musicnn_wheel
from musicreclass.models.weights.musicnn import install_weights, read_weights
from musicreclass.models.weights.musicnn_wheel import CHECKPOINTS
from tests import tensorflow_bundle as bundle
from tests.make_musicnn_outputs import make_variables


def install_error(folder: Path, wheel: Path | None) -> tuple[str, str]:
    """Kind and key of the error that keeps weights from being installed."""
    with pytest.raises(WeightsError) as caught:
        install_weights(folder, wheel)
    assert "\n" not in str(caught.value)
    assert not folder.exists()
    return caught.value.kind, caught.value.key


def test_only_the_published_wheel_is_accepted(make_wheel: Callable[..., Path], tmp_path: Path) -> None:
    wheel, folder = make_wheel(), tmp_path / "models"
    content = bytearray(wheel.read_bytes())
    content[len(content) // 2] ^= 1
    for damaged in (content, content[:1000]):
        wheel.write_bytes(damaged)
        assert install_error(folder, wheel) == ("wrong_checksum", str(wheel))
    for path in (tmp_path / "musicnn-0.2.0-py3-none-any.whl", tmp_path):  # a missing file, a folder
        assert install_error(folder, path) == ("unreadable", str(path))


def test_wheels_with_other_content_are_rejected(
    make_wheel: Callable[..., Path], members: dict[str, bytes], tmp_path: Path
) -> None:
    folder, index, data = tmp_path / "models", "musicnn/MTT_vgg/.index", "musicnn/MTT_vgg/.data-00000-of-00001"
    wheel = make_wheel(**{index: None})
    assert install_error(folder, wheel) == ("not_the_package", str(wheel))
    for name, content in ((data, members[data][:-1]), (index, members[index][:-9])):
        wheel = make_wheel(**{name: content})
        assert install_error(folder, wheel) == ("damaged_file", f"{wheel}/{name}")
    for variables, kind in (
        ({"other/kernel": np.zeros(3, np.float32)}, "unknown_variable"),
        (make_variables({"dense/bias": [50]}), "missing_variables"),
    ):
        blocks, last_keys, content = bundle.bundle(variables)
        wheel = make_wheel(**{index: bundle.table(blocks, last_keys), data: content})
        assert install_error(folder, wheel) == (kind, "MTT_vgg")
    wheel = make_wheel()
    wheel.write_bytes(b"not an archive")
    musicnn_wheel.SHA256 = sha256(b"not an archive").hexdigest()  # the monkeypatch of make_wheel restores it
    assert install_error(folder, wheel) == ("not_the_package", str(wheel))


def test_download_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    assert install_error(tmp_path / "models", None) == ("download_failed", "features.wheel")


def test_no_file_is_partially_installed(
    make_wheel: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel, folder, calls = make_wheel(), tmp_path / "models", []

    def fail_on_second_file(file: int) -> None:
        calls.append(file)
        if len(calls) == 2:
            os.ftruncate(file, 1000)
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail_on_second_file)
    with pytest.raises(WeightsError) as caught:
        install_weights(folder, wheel)
    assert (caught.value.kind, caught.value.key) == ("unwritable", str(folder))
    assert [path.name for path in folder.iterdir()] == [f"{CHECKPOINTS[0]}.safetensors"]
    read_weights(folder, CHECKPOINTS[0])
    monkeypatch.undo()
    monkeypatch.setattr(musicnn_wheel, "SHA256", sha256(wheel.read_bytes()).hexdigest())
    assert sorted(install_weights(folder, wheel)) == sorted(folder.iterdir())
    unused = tmp_path / "unused.whl"  # not read when all weights are installed
    assert len({path.stat().st_mtime_ns for path in install_weights(folder, unused)}) == 4


def test_a_killed_installation_leaves_only_complete_files(make_wheel: Callable[..., Path], tmp_path: Path) -> None:
    wheel, folder = make_wheel(), tmp_path / "models"
    if (child := os.fork()) == 0:
        actions = iter([lambda: None, lambda: os.kill(os.getpid(), signal.SIGKILL)])
        os.fsync = lambda file: next(actions)()
        install_weights(folder, wheel)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert [path.name for path in folder.glob("*.safetensors")] == [f"{CHECKPOINTS[0]}.safetensors"]
    read_weights(folder, CHECKPOINTS[0])
    assert all(path.is_file() for path in install_weights(folder, wheel))


def test_damaged_weights_are_reported_and_replaced(make_wheel: Callable[..., Path], tmp_path: Path) -> None:
    wheel, folder = make_wheel(), tmp_path / "models"
    install_weights(folder, wheel)
    path = folder / "MSD_vgg.safetensors"
    content = path.read_bytes()

    def read_error() -> str:
        with pytest.raises(WeightsError) as caught:
            read_weights(folder, "MSD_vgg")
        assert caught.value.key == str(path)
        assert "musicreclass prepare" in str(caught.value)
        return caught.value.kind

    for damaged in (content[:-4], content[:50], b"", bytes(300)):
        path.write_bytes(damaged)
        assert read_error() == "damaged_file"
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert read_error() == "wrong_checksum"
    install_weights(folder, wheel)
    assert path.read_bytes() == content
    weights, card = read_weights(folder, "MSD_vgg")
    for change in ({"tags": ["rock"]}, {"tags": None}, {"overlaps": ["gtzan"]}, {"overlaps": [{"dataset": "gtzan"}]}):
        save_file(weights, path, {"card": json.dumps({**card, **change})})
        assert read_error() == "invalid_card"
    save_file({"w": torch.zeros(3)}, path)  # another program's file, without a card
    assert read_error() == "damaged_file"
    with pytest.raises(WeightsError):
        MusiCNNEncoder("MSD_vgg", "tags", str(folder))
