"""Other people's checkpoints: read without running anything they bring, and searched for the tensors that are wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from musicreclass.errors import WeightsError
from musicreclass.storage.atomic import POINTER

Shapes = Mapping[str, Sequence[int]]


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a checkpoint by its full name, the keys of nested dictionaries joined by dots.

    Tensors of .pth and .ckpt files are memory-mapped where the format allows it: only those that are used are read.

    Raises:
        WeightsError: for a file that is not there, is no checkpoint, is damaged, or brings objects that would run code.
    """
    found: dict[str, torch.Tensor] = {}
    for name, tensor in flattened(read(path)):
        if name in found:
            raise WeightsError(
                f"{path}: two of its tensors have the same name, {name!r}: which one is meant is not known"
            )
        found[name] = tensor
    return found


def read(path: Path) -> Any:
    """What a checkpoint holds: tensors and plain values, in dictionaries and lists.

    Raises:
        WeightsError: as `read_tensors`.
    """
    try:
        with path.open("rb") as file:
            begin = file.read(512)
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: there is no such file") from error
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from error
    refuse_stand_ins(path, begin)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=begin.startswith(b"PK"))
        flattened(found)  # what holds itself ends here
        return found
    except Exception as error:
        brought = foreign_objects(path)
        if brought:
            raise WeightsError(
                f"{path}: brings objects beside its tensors ({', '.join(brought[:3])}), which are not loaded; save its"
                " state_dict alone, where it was made, and give that file"
            ) from error
        raise WeightsError(f"{path}: cut short, damaged, or no checkpoint of torch or safetensors") from error


def refuse_stand_ins(path: Path, begin: bytes) -> None:
    """Say what a file is that stands where a checkpoint should.

    Args:
        path: the file.
        begin: its first bytes.

    Raises:
        WeightsError: for an empty file, a Git LFS pointer, or a web page.
    """
    if not begin:
        raise WeightsError(f"{path}: empty")
    if begin.startswith(POINTER):
        raise WeightsError(f"{path}: a Git LFS pointer, not the file itself; fetch it with git lfs pull")
    if begin.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise WeightsError(f"{path}: a web page, not a checkpoint; download the file that the page offers")


def foreign_objects(path: Path) -> list[str]:
    """The classes and functions that a checkpoint would have to import, sorted; none of them is."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # damaged files fail in as many ways as there are bytes
        return []


def flattened(value: Any, name: str = "") -> list[tuple[str, torch.Tensor]]:
    """Every tensor in nested dictionaries and lists with its full name."""
    if isinstance(value, torch.Tensor):
        return [(name, value)]
    if isinstance(value, Mapping):
        items = [(str(key), inner) for key, inner in value.items()]
    elif isinstance(value, (list, tuple)):
        items = [(str(number), inner) for number, inner in enumerate(value)]
    else:
        return []
    return [found for key, inner in items for found in flattened(inner, f"{name}.{key}" if name else key)]


def prefixes(tensors: Mapping[str, torch.Tensor], wanted: Shapes) -> list[str]:
    """Every prefix p for which all `p + name` of the wanted tensors are there with their shapes, sorted."""
    first = next(iter(wanted))
    candidates = {name.removesuffix(first) for name in tensors if name.endswith(first)}
    return sorted(
        p for p in candidates if all(p + name in tensors and fits(tensors[p + name], wanted[name]) for name in wanted)
    )


def fits(tensor: torch.Tensor, shape: Sequence[int]) -> bool:
    """Whether a tensor has a shape, and is of real numbers that are all there."""
    real = tensor.is_floating_point() and tensor.layout == torch.strided and not tensor.is_meta
    return real and tuple(tensor.shape) == tuple(shape)


def find(path: Path, tensors: Mapping[str, torch.Tensor], wanted: Shapes, what: str, prefix: str | None = None) -> str:
    """The one prefix under which a checkpoint holds the wanted tensors.

    Args:
        path: the file, for messages.
        tensors: its tensors by full name.
        wanted: names and shapes.
        what: what they make together, for messages.
        prefix: the one to take, where there are several.

    Raises:
        WeightsError: if there is none, or more than one and none was chosen.
    """
    found = prefixes(tensors, wanted)
    if prefix is not None:
        if prefix in found:
            return prefix
        there = f"; there is {', '.join(map(repr, found))}" if found else ""
        raise WeightsError(f"{path}: no {what} under the prefix {prefix!r}{there}")
    if len(found) == 1:
        return found[0]
    if found:
        raise WeightsError(
            f"{path}: holds {len(found)} of {what}, under {', '.join(map(repr, found))}: choose one with prefix="
        )
    raise WeightsError(f"{path}: no {what}: {what_is_wrong(tensors, wanted)}")


def described(tensor: torch.Tensor) -> str:
    """A tensor's shape, and its kind where that is not one of weights."""
    kind = "" if fits(tensor, tensor.shape) else f" of {'no content' if tensor.is_meta else str(tensor.dtype)[6:]}"
    return f"{tuple(tensor.shape)}{kind}" + ("" if tensor.layout == torch.strided else ", sparse")


def what_is_wrong(tensors: Mapping[str, torch.Tensor], wanted: Shapes) -> str:
    """Under the prefix that comes nearest: what is missing or has another shape, in a clause."""
    votes: dict[str, int] = {}
    for key in tensors:
        for name in wanted:
            if key.endswith(name):
                prefix = key.removesuffix(name)
                votes[prefix] = votes.get(prefix, 0) + 1
    if not votes:
        return (
            f"none of its {len(tensors)} tensors has a fitting name ({', '.join(list(tensors)[:3]) or 'it has none'})"
        )
    prefix = max(votes, key=lambda p: (votes[p], -len(p)))
    missing = [name for name in wanted if prefix + name not in tensors]
    other = [
        f"{name} is {described(tensors[prefix + name])} and must be {tuple(wanted[name])}"
        for name in wanted
        if prefix + name in tensors and not fits(tensors[prefix + name], wanted[name])
    ]
    told = [f"{len(missing)} of {len(wanted)} tensors are missing ({', '.join(missing[:3])})"] if missing else []
    told += [f"{len(other)} have another shape ({'; '.join(other[:3])})"] if other else []
    return f"under {prefix!r} " + ", ".join(told)
