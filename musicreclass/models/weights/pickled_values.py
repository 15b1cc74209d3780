"""Reads checkpoints that contain NumPy arrays and a LabelEncoder next to tensors, by an allow-list; no class of a file is imported.

Python's unpickler imports and calls what a file names. Here the operations of the file are interpreted instead: a name is an
entry of a fixed table or an error, and arrays, data types and encoders become plain data that is checked before NumPy sees it.
"""

from __future__ import annotations

import math
import pickletools
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

MAX_PICKLE = 16 << 20  # bytes of a file's object structure; it holds no tensors
MAX_STRING = 1000  # characters of a NumPy text
STORAGES = {
    "torch FloatStorage": torch.float32,
    "torch DoubleStorage": torch.float64,
    "torch HalfStorage": torch.float16,
    "torch BFloat16Storage": torch.bfloat16,
    "torch LongStorage": torch.int64,
    "torch IntStorage": torch.int32,
    "torch BoolStorage": torch.bool,
}
ENCODERS = ("sklearn.preprocessing._label LabelEncoder", "sklearn.preprocessing.label LabelEncoder")
FUNCTIONS = {  # the names that pickles have for them -> what is done
    "collections OrderedDict": "dictionary",
    "torch._utils _rebuild_tensor_v2": "tensor",
    "torch._utils _rebuild_parameter": "parameter",
    "numpy._core.multiarray _reconstruct": "array",  # NumPy 2
    "numpy.core.multiarray _reconstruct": "array",  # NumPy 1
    "numpy._core.multiarray scalar": "scalar",
    "numpy.core.multiarray scalar": "scalar",
    "numpy dtype": "dtype",
    "_codecs encode": "bytes",  # how protocol 2 writes bytes
}
ALLOWED = {*STORAGES, *ENCODERS, *FUNCTIONS, "numpy ndarray"}
MARK = object()


class ForeignObjectError(ValueError):
    """A file names a class or function that is not on the allow-list.

    Args:
        name: `module.name`.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is not read")
        self.name = name


@dataclass(frozen=True)
class Name:
    """A class or function that a file names; nothing was imported."""

    text: str


@dataclass
class NumpyType:
    """The data type of an array: `f8`, `U9`, `O8`, and its byte order."""

    code: str
    order: str = "="

    @property
    def is_object(self) -> bool:
        """Whether elements are Python objects."""
        return self.code.startswith("O")

    def dtype(self) -> np.dtype[Any]:
        """The type, if it is a number, a boolean or text.

        Raises:
            ValueError: for any other type.
        """
        match = re.fullmatch(r"(f[248]|[iu][1248]|b1)|U(\d{1,4})", self.code)
        if match is None or self.order not in tuple("<>=|") or int(match[2] or 1) not in range(1, MAX_STRING + 1):
            raise ValueError(f"an array of the type {self.code!r}")
        return np.dtype(f"{self.order}{self.code}" if self.code != "b1" else "b1")


@dataclass
class PickledArray:
    """A NumPy array, as a file describes it; `numbers` and `strings` check it."""

    shape: tuple[int, ...] = ()
    type: NumpyType = field(default_factory=lambda: NumpyType("f8"))
    is_fortran: bool = False
    content: bytes | list[Any] = b""

    def numbers(self) -> np.ndarray:
        """The array of numbers, or of NumPy's own texts.

        Raises:
            ValueError: if its type is another, or its size and its content differ.
        """
        dtype, content = self.type.dtype(), self.content
        if not isinstance(content, bytes) or len(content) != math.prod(self.shape) * dtype.itemsize:
            raise ValueError(f"an array of shape {self.shape} with another number of bytes")
        return np.frombuffer(content, dtype).reshape(self.shape, order="F" if self.is_fortran else "C")

    def strings(self) -> list[str]:
        """The texts of an array with one axis.

        Raises:
            ValueError: if it is another array.
        """
        values = self.content if self.type.is_object else self.numbers().tolist()
        if not isinstance(values, list) or self.shape != (len(values),) or not all(type(v) is str for v in values):
            raise ValueError("an array that is no list of texts")
        return values


@dataclass
class PickledEncoder:
    """A scikit-learn LabelEncoder, of which only the class names are used."""

    state: dict[Any, Any] = field(default_factory=dict)

    def classes(self) -> list[str]:
        """The class names.

        Raises:
            ValueError: if it has none, or they are no texts.
        """
        classes = self.state.get("classes_")
        if not isinstance(classes, PickledArray):
            raise ValueError("an encoder without classes")
        return classes.strings()


def read_archive(path: Path) -> Any:
    """The content of a file of `torch.save`: dictionaries, lists, plain values, tensors, `PickledArray` and `PickledEncoder`.

    Args:
        path: a file in the format of PyTorch since version 1.6, a zip archive; pickle protocols 2 to 4.

    Raises:
        ForeignObjectError: for a class or function that is not on the allow-list.
        Exception: of many types, for a damaged file.
    """
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        if len(entries) != len(archive.infolist()):
            raise ValueError("two entries have one name")
        if compressed := [name for name, entry in entries.items() if entry.compress_type != zipfile.ZIP_STORED]:
            raise ValueError(f"{compressed[0]} is compressed")
        (pickle,) = (name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1)
        folder = pickle.removesuffix("data.pkl")
        if entries[pickle].file_size > MAX_PICKLE:
            raise ValueError(f"{pickle} is larger than {MAX_PICKLE >> 20} MiB")
        if f"{folder}byteorder" in entries and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError("big-endian")
        return Machine(archive, folder, path.stat().st_size).run(archive.read(pickle))


class Machine:
    """Interprets the operations of a pickle that `torch.save` writes; any other operation is an error.

    Args:
        archive: has the tensors' values.
        folder: of its entries.
        limit: bytes that tensors and encoded texts may have in all: entries and texts can be named many times.
    """

    def __init__(self, archive: zipfile.ZipFile, folder: str, limit: int) -> None:
        self.archive, self.folder, self.limit = archive, folder, limit
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, torch.Tensor] = {}

    def run(self, pickle: bytes) -> Any:
        """The object that a pickle describes."""
        for operation, argument, _ in pickletools.genops(pickle):
            if operation.name == "STOP":
                (content,) = self.stack
                return content
            self.step(operation.name, argument)
        raise ValueError("has no end")

    def step(self, name: str, argument: Any) -> None:
        """One operation on the stack."""
        stack = self.stack
        match name:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                stack.append(MARK)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                stack.append(argument)
            case "BINUNICODE" | "SHORT_BINUNICODE" | "BINUNICODE8" | "BINBYTES" | "SHORT_BINBYTES" | "BINBYTES8":
                stack.append(argument)
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE":
                stack.append({"EMPTY_DICT": {}, "EMPTY_LIST": [], "EMPTY_TUPLE": ()}[name])
            case "TUPLE":
                stack.append(tuple(self.after_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self.pop(int(name[-1]))))
            case "APPEND" | "APPENDS":
                values = self.pop(1) if name == "APPEND" else self.after_mark()
                as_type(stack[-1], list).extend(values)
            case "SETITEM" | "SETITEMS":
                self.set_items(self.pop(2) if name == "SETITEM" else self.after_mark())
            case "BINPUT" | "LONG_BINPUT" | "MEMOIZE":
                self.memo[len(self.memo) if name == "MEMOIZE" else argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "GLOBAL":
                stack.append(allowed(argument))
            case "STACK_GLOBAL":
                stack.append(allowed(" ".join(as_type(text, str) for text in self.pop(2))))
            case "BINPERSID":
                stack.append(self.storage(*as_type(stack.pop(), tuple)))
            case "REDUCE":
                function, arguments = self.pop(2)
                stack.append(self.call(as_type(function, Name).text, as_type(arguments, tuple)))
            case "NEWOBJ":
                kind, arguments = self.pop(2)
                if as_type(kind, Name).text not in ENCODERS or arguments != ():
                    raise ForeignObjectError(kind.text.replace(" ", "."))
                stack.append(PickledEncoder())
            case "BUILD":
                (state,) = self.pop(1)
                build(stack[-1], state)
            case _:
                raise ValueError(f"the operation {name} is not one that torch.save writes")

    def pop(self, count: int) -> list[Any]:
        """The last values of the stack, which are removed."""
        values = self.stack[-count:]
        if len(values) < count or any(value is MARK for value in values):
            raise ValueError("a value is missing")
        del self.stack[-count:]
        return values

    def after_mark(self) -> list[Any]:
        """The values after the last mark, which are removed with it."""
        values = []
        while (value := self.stack.pop()) is not MARK:
            values.append(value)
        return values[::-1]

    def set_items(self, items: list[Any]) -> None:
        """Add keys and values to the dictionary on top of the stack."""
        target = as_type(self.stack[-1], dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (str, int):  # the hash of nested tuples can take for ever
                raise ValueError("a key that is neither text nor a number")
            target[key] = value

    def call(self, function: str, arguments: tuple[Any, ...]) -> Any:
        """What a function of the allow-list gives; no function of another module is called with values of a file."""
        match FUNCTIONS.get(function):
            case "dictionary":
                () = arguments
                return {}
            case "tensor":
                return rebuild_tensor(*arguments[:4])
            case "parameter":
                return as_type(arguments[0], torch.Tensor)
            case "array":
                return PickledArray()  # BUILD gives it content
            case "dtype":
                return NumpyType(as_type(arguments[0], str))
            case "scalar":
                kind, content = arguments
                return PickledArray((), as_type(kind, NumpyType), False, as_type(content, bytes)).numbers().item()
            case "bytes":
                text, encoding = arguments
                self.spend(len(as_type(text, str)))
                if encoding != "latin1":
                    raise ValueError("bytes in another encoding")
                return text.encode("latin1")
        raise ForeignObjectError(function.replace(" ", "."))

    def storage(self, label: str, kind: Name, key: str, _device: str, _numel: int) -> torch.Tensor:
        """The values of one or several tensors, (n,)."""
        if label != "storage" or as_type(key, str) != key.rpartition("/")[2]:
            raise ValueError("a reference to something other than a tensor")
        if key not in self.storages:
            entry = self.archive.getinfo(f"{self.folder}data/{key}")
            self.spend(entry.file_size)
            content = bytearray(self.archive.read(entry))
            dtype = STORAGES[kind.text]
            self.storages[key] = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
        return self.storages[key]

    def spend(self, size: int) -> None:
        """Count bytes that are read or copied."""
        self.limit -= size
        if self.limit < 0:
            raise ValueError("describes more data than it has")


def allowed(name: str) -> Name:
    """A class or function of the allow-list, `module name`.

    Raises:
        ForeignObjectError: for any other.
    """
    if name not in ALLOWED:
        raise ForeignObjectError(name.replace(" ", "."))
    return Name(name)


def as_type(value: Any, kind: type) -> Any:
    """A value of a type.

    Raises:
        ValueError: if it is of another.
    """
    if not isinstance(value, kind):
        raise ValueError(f"a {type(value).__name__} where a {kind.__name__} is expected")
    return value


def build(target: Any, state: Any) -> None:
    """Give an array, a data type or an encoder its content. That of a dictionary, PyTorch's `_metadata`, is not used."""
    if isinstance(target, PickledArray):
        _, shape, kind, is_fortran, content = state
        if not all(type(size) is int and size >= 0 for size in as_type(shape, tuple)):
            raise ValueError("an array of an invalid shape")
        target.shape, target.type, target.is_fortran = shape, as_type(kind, NumpyType), bool(is_fortran)
        target.content = as_type(content, list) if target.type.is_object else as_type(content, bytes)
    elif isinstance(target, NumpyType):
        target.order = as_type(state[1], str)
    elif isinstance(target, PickledEncoder):
        target.state = as_type(state, dict)
    elif not isinstance(target, dict):
        raise ValueError(f"a {type(target).__name__} with a state")


def rebuild_tensor(storage: torch.Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> torch.Tensor:
    """A view of a storage.

    Raises:
        ValueError: if it is not within the storage.
    """
    numbers = [offset, *as_type(size, tuple), *as_type(stride, tuple)]
    if not all(type(number) is int and number >= 0 for number in numbers) or len(size) != len(stride):
        raise ValueError("a tensor of an invalid shape")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 not in size and last >= len(as_type(storage, torch.Tensor)):
        raise ValueError("a tensor that is larger than its data")
    return storage.as_strided(size, stride, offset)
