"""Checkpoints of several layouts are searched for OpenJMLA's encoder; files without it are reported in one line."""

from __future__ import annotations

import argparse
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from musicreclass.errors import WeightsError
from musicreclass.models.openjmla import OpenJMLAEncoder
from musicreclass.models.weights.torch_files import read_tensors
from tests.openjmla import published_tensors, save_checkpoint


def save(path: Path, value: object) -> Path:
    torch.save(value, path)
    return path


def test_encoder_is_found_under_any_prefix(tmp_path):
    tensors = published_tensors()
    nested = {f"audio_encoder.vit.{name}": tensor.half() for name, tensor in tensors.items()}
    path = save(tmp_path / "big.pth", {"model": {"module": {**nested, "lm.ln1.weight": torch.ones(768)}}, "epoch": 4})
    encoder = OpenJMLAEncoder.from_checkpoint(path)
    assert torch.equal(encoder.ln1.bias, tensors["ln1.bias"].half().float())
    assert encoder.ln1.bias.dtype == torch.float32


def test_a_file_with_two_encoders_needs_a_prefix(tmp_path):
    tensors = published_tensors()
    path = save(tmp_path / "ema.pth", {"state_dict": tensors, "ema": tensors})  # shared storage is saved once
    for prefix, kind in ((None, "ambiguous_prefix"), ("other.", "unknown_prefix")):
        with pytest.raises(WeightsError) as caught:
            OpenJMLAEncoder.from_checkpoint(path, prefix=prefix)
        assert (caught.value.kind, caught.value.key) == (kind, str(path))
        assert "'ema.', 'state_dict.'" in str(caught.value)
    assert OpenJMLAEncoder.from_checkpoint(path, prefix="ema.").ln1.bias.shape == (768,)


def bad_files(folder: Path) -> list[tuple[Path, str, str]]:
    """Files that do not contain the encoder, each with the kind of error and a name that the message contains."""
    # Expanded tensors: one number each on disk.
    tensors = {name: torch.zeros(1).expand(tensor.shape) for name, tensor in published_tensors().items()}
    with save_checkpoint(folder / "complete.pth").open("rb") as file:
        truncated = file.read(1_000_000)
    contents = {
        "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 345\n", "git_lfs_pointer"),
        "page": (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "web_page"),
        "empty": (b"", "empty_file"),
        "text": (b"hello, world", "damaged_file"),
        "zip": (b"PK\x03\x04 and nothing more", "damaged_file"),
        "truncated": (truncated, "damaged_file"),
    }
    files = [(folder / "absent.pth", "file_not_found", "")]
    for name, (content, kind) in contents.items():
        (folder / f"{name}.pth").write_bytes(content)
        files.append((folder / f"{name}.pth", kind, ""))
    missing = {name: tensor for name, tensor in tensors.items() if "layers.3.ffn" not in name}
    complex_bias = torch.zeros(768, dtype=torch.complex64)
    for name, value, kind, named in (
        ("missing", {"state_dict": missing}, "wrong_tensors", "layers.3.ffn.layers.0.0.weight"),
        ("shape", {**tensors, "pos_embed": torch.zeros(1, 197, 768)}, "wrong_tensors", "pos_embed is (1, 197, 768)"),
        (
            "foreign",
            {"state_dict": {"cls_token": torch.zeros(1, 1, 768)}, "args": argparse.Namespace(a=1)},
            "foreign_objects",
            "argparse.Namespace",
        ),
        ("meta", {**tensors, "cls_token": torch.empty(1, 1, 768, device="meta")}, "wrong_tensors", "cls_token"),
        ("complex", {**tensors, "ln1.bias": complex_bias}, "wrong_tensors", "complex64"),
        ("duplicate", {"a.b": torch.zeros(1), "a": {"b": torch.ones(1)}}, "duplicate_tensor", "'a.b'"),
        ("unrelated", {"conv": torch.zeros(3)}, "wrong_tensors", "conv"),
    ):
        files.append((save(folder / f"{name}.pth", value), kind, named))
    return files


def test_bad_files_are_reported_in_one_line(tmp_path):
    for path, kind, named in bad_files(tmp_path):
        with pytest.raises(WeightsError) as caught:
            OpenJMLAEncoder.from_checkpoint(path)
        assert (caught.value.kind, caught.value.key) == (kind, str(path))
        assert "\n" not in str(caught.value), path
        assert str(caught.value).startswith(f"{path}: ")
        assert named in str(caught.value)


def test_a_compressed_checkpoint_is_not_expanded(tmp_path):
    """A pickle of zeros takes a thousandth of its size."""
    original, path = save(tmp_path / "x.pth", {"a": torch.zeros(3)}), tmp_path / "compressed.pth"
    with zipfile.ZipFile(original) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(WeightsError) as caught:
        read_tensors(path)
    assert caught.value.kind == "damaged_file"
    assert read_tensors(original).keys() == {"a"}


@pytest.mark.parametrize("as_key", [True, False])
@pytest.mark.parametrize("legacy", [True, False])
def test_nested_objects_that_share_elements_are_rejected_at_once(tmp_path, as_key, legacy):
    """Sixty levels have 2^60 elements in a file of a few hundred bytes."""
    value: object = 1
    for _ in range(60):
        value = (value, value) if as_key else [value, value]
    path = tmp_path / "x.pth"
    # Python would hash the key itself while it creates the dictionary, so the pickle is assembled
    nested = pickle.dumps(value, protocol=2)[2:-1]
    content = b"\x80\x02}" + (nested + b"K\x01s" if as_key else b"K\x01" + nested + b"s") + b"."
    if legacy:
        torch.save({}, path, _use_new_zipfile_serialization=False)
        path.write_bytes(path.read_bytes().replace(pickle.dumps({}, protocol=2), content, 1))
    else:
        torch.save({}, path)
        with zipfile.ZipFile(path) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in entries.items():
                archive.writestr(name, content if name.endswith("data.pkl") else data)
    assert nested in path.read_bytes()
    with pytest.raises(WeightsError) as caught:
        read_tensors(path)
    assert caught.value.kind == "damaged_file"
