"""Reads PyTorch and safetensors checkpoints without executing code from them, and finds a network's tensors in them."""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

import torch

from musicreclass.errors import WeightsError
from musicreclass.models.weights.pickled_values import ForeignObjectError, read_archive
from musicreclass.plurals import agreeing, counted
from musicreclass.storage.atomic import POINTER
from musicreclass.storage.damage import raise_if_not_damage
from musicreclass.storage.regular import open_regular

MAX_OBJECTS, MAX_DEPTH = 1_000_000, 200
OLD_FORMAT = bytes.fromhex("6cfc9c46f9206aa85019")  # PyTorch's magic number, at the start of the same files
LEGACY_PICKLES = 5  # at the start of a file as PyTorch wrote before version 1.6
Shapes = Mapping[str, Sequence[int]]


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a checkpoint by its full name, the keys of nested dictionaries joined by dots.

    Tensors of .pth and .ckpt files are memory-mapped where the format allows it, so that unused ones are not read.

    Raises:
        WeightsError: if the file is missing or damaged, is not a checkpoint, or contains objects that would execute code.
    """
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in flatten_tensors(load_checkpoint(path)):
        if name in tensors:
            raise WeightsError(f"{path}: contains two tensors named {name!r}", "duplicate_tensor", path, name)
        tensors[name] = tensor
    return tensors


def load_checkpoint(path: Path, with_arrays: bool = False) -> Any:
    """The content of a checkpoint: tensors and plain values in dictionaries and lists.

    Args:
        path: the file.
        with_arrays: whether to read NumPy arrays and the classes of a LabelEncoder too, see `pickled_values`.

    Raises:
        WeightsError: see `read_tensors`.
    """
    try:
        with open_regular(path) as file:
            start = file.read(512)
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: there is no such file", "file_not_found", path) from error
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})", "unreadable", path) from error
    reject_placeholders(path, start)
    if with_arrays and OLD_FORMAT in start:
        message = (
            f"{path}: arrays in a file of PyTorch before version 1.6 are not read; save it again with a newer version"
        )
        raise WeightsError(message, "unsupported_format", path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        if with_arrays and zipfile.is_zipfile(path):
            content = read_archive(path)
        else:
            check_pickle(path)
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=start.startswith(b"PK"))
        flatten_tensors(content)  # fails on objects that contain themselves
        return content
    except Exception as error:
        raise_if_not_content(path, error)
        objects = (
            [error.name] if isinstance(error, ForeignObjectError) else [] if with_arrays else foreign_objects(path)
        )
        if objects:
            what, remedy = (
                ("tensors", "only its state_dict") if not with_arrays else ("tensors and arrays", "it without them")
            )
            raise WeightsError(
                f"{path}: contains objects other than {what} ({', '.join(objects[:3])}), which are not loaded; save {remedy}"
                " where it was created, and use that file",
                "foreign_objects",
                path,
            ) from error
        raise WeightsError(
            f"{path}: truncated, damaged, or not a PyTorch or safetensors checkpoint", "damaged_file", path
        ) from error


def raise_if_not_content(path: Path, error: Exception) -> None:
    """Report why a file could not be loaded, unless it is due to its content.

    Raises:
        WeightsError: `unreadable` or `out_of_memory`.
    """
    try:
        raise_if_not_damage(path, error)
    except OSError as cause:
        raise WeightsError(f"{path}: cannot be read ({cause.strerror or cause})", "unreadable", path) from error
    except Exception as cause:
        mib = path.stat().st_size / 2**20
        message = f"{path}: not enough memory to load it ({mib:.0f} MiB); free some memory, or fetch the file again"
        raise WeightsError(message, "out_of_memory", path, mib) from cause


def check_pickle(path: Path) -> None:
    """Check that loading a checkpoint takes no more memory and time than its size explains.

    Raises:
        ValueError: for compressed entries, which PyTorch does not write and which could expand without limit, or for nested
            tuples that share elements, the hash of which could take for ever.
    """
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            for _ in range(LEGACY_PICKLES):
                check_tuples(file)
        return
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{entry.filename} is compressed")
            if entry.filename.endswith(".pkl"):
                with archive.open(entry) as file:
                    check_tuples(file)


def check_tuples(file: IO[bytes]) -> None:
    """Reject a pickle with a tuple of more than `MAX_OBJECTS` elements, those of its elements included.

    It follows the sizes of objects on the pickle machine's stack, as `pickletools` describes its operations; nothing is
    created.
    """
    stack: list[int | None] = []  # sizes; None is a mark
    memo: dict[int, int] = {}
    for operation, argument, _ in pickletools.genops(file):
        name = operation.name
        if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if name == "MEMOIZE" else cast(int, argument)] = stack[-1] or 1
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[cast(int, argument)])
        elif name == "MARK":
            stack.append(None)
        else:
            before = operation.stack_before
            size = 1
            if pickletools.markobject in before:
                while (top := stack.pop()) is not None:
                    size += top
                before = before[: before.index(pickletools.markobject)]
            for _ in before:
                size += stack.pop() or 0
            if name.startswith("TUPLE") and size > MAX_OBJECTS:
                raise ValueError("contains too large a tuple")
            stack += [size] * len(operation.stack_after)


def reject_placeholders(path: Path, start: bytes) -> None:
    """Reject files that are commonly found in place of a checkpoint.

    Args:
        path: the file.
        start: its first bytes.

    Raises:
        WeightsError: for an empty file, a Git LFS pointer, or a web page.
    """
    if not start:
        raise WeightsError(f"{path}: the file is empty", "empty_file", path)
    if start.startswith(POINTER):
        message = f"{path}: a Git LFS pointer, not the file itself; fetch it with git lfs pull"
        raise WeightsError(message, "git_lfs_pointer", path)
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        message = f"{path}: a web page, not a checkpoint; download the file that the page links to"
        raise WeightsError(message, "web_page", path)


def foreign_objects(path: Path) -> list[str]:
    """The classes and functions that loading a checkpoint would import, sorted; nothing is imported."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # damaged files raise exceptions of many types
        return []


def flatten_tensors(value: Any, name: str = "") -> list[tuple[str, torch.Tensor]]:
    """Every tensor in nested dictionaries and lists, with its full name.

    Raises:
        ValueError: for more than `MAX_OBJECTS` values or `MAX_DEPTH` levels: objects that contain others several times, or
            themselves, can have any number.
    """
    tensors: list[tuple[str, torch.Tensor]] = []
    queue = [(name, value, 0)]
    visited = 0
    while queue:
        name, value, depth = queue.pop()
        visited += 1
        if visited > MAX_OBJECTS or depth > MAX_DEPTH:
            raise ValueError("contains too many objects")
        items: Iterable[tuple[Any, Any]] = ()
        if isinstance(value, torch.Tensor):
            tensors.append((name, value))
        elif isinstance(value, Mapping):
            items = value.items()
        elif isinstance(value, (list, tuple)):
            items = enumerate(value)
        queue += [(f"{name}.{key}" if name else str(key), child, depth + 1) for key, child in items][::-1]
    return tensors


def matching_prefixes(tensors: Mapping[str, torch.Tensor], shapes: Shapes) -> list[str]:
    """Every prefix p under which all tensors `p + name` exist with the expected shapes, sorted."""
    first = next(iter(shapes))
    candidates = {name.removesuffix(first) for name in tensors if name.endswith(first)}
    return sorted(
        p
        for p in candidates
        if all(p + name in tensors and matches_shape(tensors[p + name], shapes[name]) for name in shapes)
    )


def matches_shape(tensor: torch.Tensor, shape: Sequence[int]) -> bool:
    """Whether a tensor has the shape, is dense, holds real floating-point numbers and has data."""
    real = tensor.is_floating_point() and tensor.layout == torch.strided and not tensor.is_meta
    return real and tuple(tensor.shape) == tuple(shape)


def find_prefix(
    path: Path, tensors: Mapping[str, torch.Tensor], shapes: Shapes, network: str, prefix: str | None = None
) -> str:
    """The prefix under which a checkpoint contains the tensors of a network.

    Args:
        path: the file, for messages.
        tensors: its tensors by full name.
        shapes: the network's tensors: names and shapes.
        network: its name, for messages.
        prefix: which one to use, if there are several.

    Raises:
        WeightsError: if there is none, or several and `prefix` is None.
    """
    matches = matching_prefixes(tensors, shapes)
    available = ", ".join(map(repr, matches))
    if prefix is not None:
        if prefix in matches:
            return prefix
        hint = f"; available: {available}" if matches else ""
        raise WeightsError(f"{path}: no {network} under the prefix {prefix!r}{hint}", "unknown_prefix", path, prefix)
    if len(matches) == 1:
        return matches[0]
    if matches:
        message = (
            f"{path}: contains {counted(len(matches), 'copy')} of {network}, under {available}; choose one with prefix="
        )
        raise WeightsError(message, "ambiguous_prefix", path, matches)
    raise WeightsError(f"{path}: contains no {network}: {describe_mismatch(tensors, shapes)}", "wrong_tensors", path)


def describe_mismatch(tensors: Mapping[str, torch.Tensor], shapes: Shapes) -> str:
    """What is missing or has another shape, under the prefix with the most matching names."""
    matches: dict[str, int] = {}
    for full_name in tensors:
        for name in shapes:
            if full_name.endswith(name):
                prefix = full_name.removesuffix(name)
                matches[prefix] = matches.get(prefix, 0) + 1
    if not matches:
        examples = f" ({', '.join(list(tensors)[:3])})" if tensors else ""
        return f"none of its {counted(len(tensors), 'tensor')} has a matching name{examples}"
    prefix = max(matches, key=lambda p: (matches[p], -len(p)))
    missing = [name for name in shapes if prefix + name not in tensors]
    mismatched = [
        f"{name} is {describe_tensor(tensors[prefix + name])}, expected {tuple(shapes[name])}"
        for name in shapes
        if prefix + name in tensors and not matches_shape(tensors[prefix + name], shapes[name])
    ]
    clauses = (
        [
            f"{len(missing)} of {counted(len(shapes), 'tensor')} {agreeing(len(missing), 'is', 'are')} missing ({', '.join(missing[:3])})"
        ]
        if missing
        else []
    )
    clauses += [f"{len(mismatched)} do not match ({'; '.join(mismatched[:3])})"] if mismatched else []
    return f"under {prefix!r} " + ", ".join(clauses)


def describe_tensor(tensor: torch.Tensor) -> str:
    """A tensor's shape, and what makes it unusable as weights."""
    description = str(tuple(tensor.shape))
    if tensor.is_meta:
        description += " without data"
    elif not matches_shape(tensor, tensor.shape):
        description += f" of {str(tensor.dtype)[6:]}"
    return description if tensor.layout == torch.strided else f"{description}, sparse"
