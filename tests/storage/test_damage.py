"""Files that a failing drive or a lack of memory makes unreadable are not taken for damaged ones."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import xgboost

from musicreclass.classifiers.boosting_progress import Progress, load_rounds, save_rounds
from musicreclass.errors import WeightsError
from musicreclass.models.weights.torch_files import read_tensors
from musicreclass.training.checkpoints import find_checkpoint

FAILING = {
    "drive": OSError(errno.EIO, os.strerror(errno.EIO)),
    "memory": MemoryError(),
    "allocator": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
}


def fail_with(error: Exception) -> Any:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    return fail


@pytest.fixture
def checkpoints(tmp_path) -> Path:
    best = tmp_path / "best.ckpt"
    torch.save({"weight": torch.ones(3)}, best)
    state = {"dirpath": str(tmp_path), "best_model_path": str(best)}
    torch.save({"callbacks": {"ModelCheckpoint{}": state}}, tmp_path / "last.ckpt")
    return tmp_path


@pytest.mark.parametrize("name", FAILING)
def test_a_checkpoint_that_cannot_be_read_is_an_error_and_stays(name, checkpoints, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(torch, "load", fail_with(FAILING[name]))
        with pytest.raises(type(FAILING[name])):
            find_checkpoint(checkpoints)
    assert find_checkpoint(checkpoints) == checkpoints / "last.ckpt"


def test_a_drive_that_fails_silently_is_noticed(checkpoints, monkeypatch):
    """The loader reports damage, but the file cannot be read from start to end."""
    monkeypatch.setattr(torch, "load", fail_with(RuntimeError("failed finding central directory")))
    monkeypatch.setattr(Path, "open", fail_with(FAILING["drive"]))
    with pytest.raises(OSError, match="Input/output"):
        find_checkpoint(checkpoints)
    assert (checkpoints / "last.ckpt").exists()


@pytest.mark.parametrize("damaged", ["last.ckpt", "best.ckpt"])
def test_a_damaged_checkpoint_is_kept_under_another_name(damaged, checkpoints, caplog):
    content = (checkpoints / damaged).read_bytes()[:300]
    (checkpoints / damaged).write_bytes(content)
    assert find_checkpoint(checkpoints) is None
    assert (checkpoints / f"{damaged}.damaged").read_bytes() == content
    assert not (checkpoints / "last.ckpt").exists()
    assert damaged in caplog.text
    assert find_checkpoint(checkpoints) is None


def test_a_checkpoint_that_names_files_elsewhere_renames_none(checkpoints, tmp_path_factory):
    precious = tmp_path_factory.mktemp("elsewhere") / "precious.txt"
    precious.write_text("text")
    state = {"dirpath": str(checkpoints), "best_model_path": str(precious)}
    torch.save({"callbacks": {"ModelCheckpoint{}": state}}, checkpoints / "last.ckpt")
    assert find_checkpoint(checkpoints) is None
    assert precious.read_text() == "text"


@pytest.fixture
def rounds(tmp_path) -> Path:
    data = xgboost.DMatrix([[0.0], [1.0]], [0, 1])
    save_rounds(xgboost.train({}, data, 2), Progress([0.5, 0.4], None), tmp_path / "rounds.bin")
    return tmp_path / "rounds.bin"


@pytest.mark.parametrize("name", ["drive", "memory"])
def test_rounds_that_cannot_be_read_are_an_error_and_stay(name, rounds, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", fail_with(FAILING[name]))
        with pytest.raises(type(FAILING[name])):
            load_rounds(rounds)
    resumed = load_rounds(rounds)
    assert resumed is not None
    assert resumed[1].losses == [0.5, 0.4]


def test_damaged_rounds_are_kept_under_another_name(rounds, caplog):
    rounds.write_bytes(rounds.read_bytes()[:-1])
    assert load_rounds(rounds) is None
    assert not rounds.exists()
    assert rounds.with_name("rounds.bin.damaged").exists()
    assert "rounds.bin" in caplog.text


@pytest.mark.parametrize(("name", "kind"), [("drive", "unreadable"), ("memory", "out_of_memory"), ("allocator", "out_of_memory")])  # fmt: skip
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_that_cannot_be_read_are_not_called_damaged(name, kind, suffix, tmp_path, monkeypatch):
    path = tmp_path / f"x{suffix}"
    torch.save({"a": torch.ones(3)}, path)
    monkeypatch.setattr(torch, "load", fail_with(FAILING[name]))
    monkeypatch.setattr("safetensors.torch.load_file", fail_with(FAILING[name]))
    with pytest.raises(WeightsError) as caught:
        read_tensors(path)
    assert (caught.value.kind, caught.value.key) == (kind, str(path))
