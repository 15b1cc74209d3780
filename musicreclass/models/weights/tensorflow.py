"""Reads TensorFlow checkpoint bundles (`NAME.index`, `NAME.data-00000-of-00001`) without TensorFlow.

The index is a LevelDB table (see table_format.md in LevelDB's documentation): blocks of sorted, prefix-compressed keys, each block
followed by a compression byte and a masked CRC-32C, then a footer that locates the index of the blocks. The values are protocol
buffers from TensorFlow's tensor_bundle.proto: a header under the empty key, then type, shape, position in the data file and masked
CRC-32C of each variable.

The reader is strict: it verifies all checksums and requires blocks and tensors to cover their files without gaps. It does not
support what TensorFlow 1's Saver never writes: compressed blocks, several data files, partitioned variables, big-endian numbers,
and types that are not in `DTYPES`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from musicreclass.errors import WeightsError
from musicreclass.models.weights.crc32c import crc32c
from musicreclass.plurals import counted

DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 19: "<f2"}  # by TensorFlow's DataType
MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
FOOTER_SIZE = 48  # bytes: two handles, zero-padded to 40, and the magic number
TRAILER_SIZE = 5  # bytes after each block: compression and checksum
MAX_SIZE = 1 << 40  # limit of sizes and offsets; keeps damaged values from overflowing
VARINT, BYTES, FIXED32 = 0, 2, 5  # wire types of protocol buffers


class BundleError(ValueError):
    """Why a file of a bundle cannot be read.

    Attributes:
        kind: `damaged_file`, `wrong_checksum` or `unsupported_format`.
    """

    def __init__(self, message: str, kind: str = "damaged_file") -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class BundleEntry:
    """Type, shape and position of a variable in the data file."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    size: int
    checksum: int


def read_bundle(index: bytes, data: bytes, name: str) -> dict[str, np.ndarray]:
    """All variables of a checkpoint, by name, including those of the optimizer.

    Args:
        index: content of the `.index` file.
        data: content of the `.data-00000-of-00001` file.
        name: path of the checkpoint without these suffixes, for error messages.

    Returns:
        read-only views of `data`.

    Raises:
        WeightsError: if a file is damaged or uses an unsupported feature.
    """
    index_path, data_path = f"{name}.index", f"{name}.data-00000-of-00001"
    try:
        entries = _read_index(index)
    except ValueError as error:  # of damaged text or shapes, besides BundleError
        message = f"{index_path}: not a readable TensorFlow checkpoint: {error}"
        raise WeightsError(message, getattr(error, "kind", "damaged_file"), index_path) from error
    try:
        return _read_data(entries, data)
    except ValueError as error:
        message = f"{data_path}: damaged, or does not belong to its index: {error}"
        raise WeightsError(message, getattr(error, "kind", "damaged_file"), data_path) from error


def _read_data(entries: dict[str, BundleEntry], data: bytes) -> dict[str, np.ndarray]:
    variables, end = {}, 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].offset, item[1].size)):
        if entry.offset != end:
            raise BundleError(f"{name} starts at byte {entry.offset} instead of {end}")
        end += entry.size
        content = data[entry.offset : end]
        if len(content) != entry.size:
            raise BundleError(f"the file ends within {name}")
        if masked_crc32c(content) != entry.checksum:
            raise BundleError(f"the checksum of {name} is wrong", "wrong_checksum")
        variables[name] = np.frombuffer(content, entry.dtype).reshape(entry.shape)
    if end != len(data):
        raise BundleError(f"{counted(len(data) - end, 'extra byte')} at the end")
    return variables


def _read_index(index: bytes) -> dict[str, BundleEntry]:
    pairs = _read_table(index)
    if not pairs or pairs[0][0] != b"":
        raise BundleError("the header is missing")
    header = _parse_message(pairs[0][1], {1: VARINT, 2: VARINT, 3: BYTES})
    if header.get(1) != [1]:
        raise BundleError("several data files are not supported", "unsupported_format")
    if header.get(2, [0]) != [0]:
        raise BundleError("big-endian numbers are not supported", "unsupported_format")
    return {key.decode(): _parse_entry(key.decode(), value) for key, value in pairs[1:]}


def _parse_entry(name: str, value: bytes) -> BundleEntry:
    fields = _parse_message(value, {1: VARINT, 2: BYTES, 3: VARINT, 4: VARINT, 5: VARINT, 6: FIXED32, 7: BYTES})
    if 7 in fields:
        raise BundleError(f"the variable {name} is partitioned, which is not supported", "unsupported_format")
    if any(len(values) > 1 for values in fields.values()):
        raise BundleError(f"the entry of {name} repeats a field")
    (dtype,), (shape_message,), (data_file,), (offset,), (size,), (checksum,) = (
        fields.get(number, [default]) for number, default in ((1, 0), (2, b""), (3, 0), (4, 0), (5, 0), (6, 0))
    )
    dims = _parse_message(shape_message, {2: BYTES, 3: VARINT})
    shape = tuple(_parse_message(dim, {1: VARINT, 2: BYTES}).get(1, [0])[0] for dim in dims.get(2, []))
    if dtype not in DTYPES or data_file != 0 or dims.get(3, [0]) != [0]:
        message = f"the variable {name} has type {dtype} in data file {data_file}, which is not supported"
        raise BundleError(message, "unsupported_format")
    if len(shape) > 8 or max((*shape, offset, size)) > MAX_SIZE:
        raise BundleError(f"the shape or position of {name} is out of range")
    if size != math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize:
        raise BundleError(f"the size of {name}, {size} bytes, does not match its shape {shape}")
    return BundleEntry(DTYPES[dtype], shape, offset, size, checksum)


def _read_table(file: bytes) -> list[tuple[bytes, bytes]]:
    """The key-value pairs of a LevelDB table, in order."""
    if len(file) < FOOTER_SIZE or not file.endswith(MAGIC):
        raise BundleError("the magic number at the end is missing; the file may be truncated")
    footer = _Cursor(file[-FOOTER_SIZE : -len(MAGIC)])
    meta, blocks = footer.read_handle(), footer.read_handle()
    if any(footer.read_rest()):
        raise BundleError("the footer is damaged")
    handles = []
    for _, value in _read_block(file, blocks):
        cursor = _Cursor(value)
        handles.append(cursor.read_handle())
        if not cursor.at_end:
            raise BundleError("a handle is too long")
    end = 0
    for start, size in (*handles, meta, blocks):
        if start != end:
            raise BundleError(f"a gap at byte {end}")
        end = start + size + TRAILER_SIZE
    if end != len(file) - FOOTER_SIZE:
        raise BundleError(f"a gap at byte {end}")
    if _read_block(file, meta):
        raise BundleError("filters are not supported", "unsupported_format")
    pairs = [pair for handle in handles for pair in _read_block(file, handle)]
    if any(first[0] >= second[0] for first, second in pairwise(pairs)):
        raise BundleError("the keys are not in order")
    return pairs


def _read_block(file: bytes, handle: tuple[int, int]) -> list[tuple[bytes, bytes]]:
    """The key-value pairs of one block, after verifying its checksum."""
    start, size = handle
    end = start + size
    if end + TRAILER_SIZE + FOOTER_SIZE > len(file):
        raise BundleError("a block extends beyond the end of the file")
    if masked_crc32c(file[start : end + 1]) != int.from_bytes(file[end + 1 : end + TRAILER_SIZE], "little"):
        raise BundleError(f"the checksum of the block at byte {start} is wrong", "wrong_checksum")
    if file[end] != 0:
        raise BundleError("compressed blocks are not supported", "unsupported_format")
    restarts = int.from_bytes(file[max(start, end - 4) : end], "little")
    if size < 4 or 4 * (restarts + 1) > size:
        raise BundleError(f"the restart array of the block at byte {start} is damaged")
    cursor, pairs, key = _Cursor(file[start : end - 4 * (restarts + 1)]), [], b""
    while not cursor.at_end:
        shared, unshared, length = cursor.read_varint(), cursor.read_varint(), cursor.read_varint()
        if shared > len(key):
            raise BundleError(f"a key in the block at byte {start} shares more bytes than the previous key has")
        key = key[:shared] + cursor.read(unshared)
        pairs.append((key, cursor.read(length)))
    return pairs


def _parse_message(data: bytes, wire_types: dict[int, int]) -> dict[int, list[Any]]:
    """The fields of a protocol buffer, numbers or bytes, by field number; `wire_types` lists the supported fields."""
    cursor = _Cursor(data)
    fields: dict[int, list[Any]] = {}
    while not cursor.at_end:
        tag = cursor.read_varint()
        number, wire_type = tag >> 3, tag & 7
        if wire_types.get(number) != wire_type:
            message = f"field {number} with wire type {wire_type} is not supported"
            raise BundleError(message, "unsupported_format")
        if wire_type == VARINT:
            value: int | bytes = cursor.read_varint()
        elif wire_type == BYTES:
            value = cursor.read(cursor.read_varint())
        else:
            value = int.from_bytes(cursor.read(4), "little")
        fields.setdefault(number, []).append(value)
    return fields


class _Cursor:
    """Reads bytes in sequence; raises `BundleError` at their end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    @property
    def at_end(self) -> bool:
        return self.position == len(self.data)

    def read(self, count: int) -> bytes:
        if count > len(self.data) - self.position:
            raise BundleError("a value is truncated")
        self.position += count
        return self.data[self.position - count : self.position]

    def read_varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            (byte,) = self.read(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise BundleError("a number has more than 64 bits")

    def read_handle(self) -> tuple[int, int]:
        return self.read_varint(), self.read_varint()

    def read_rest(self) -> bytes:
        return self.read(len(self.data) - self.position)


def masked_crc32c(data: bytes) -> int:
    """The CRC-32C of bytes, masked as LevelDB and TensorFlow store it."""
    checksum = crc32c(data)
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
