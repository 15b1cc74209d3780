"""Reads TensorFlow's checkpoint bundle (`NAME.index`, `NAME.data-00000-of-00001`) without TensorFlow.

The index is a table as LevelDB writes it (table_format.md in LevelDB's documentation): blocks of sorted keys, each key without
what it shares with the one before, each block followed by a byte that tells its compression and by a masked CRC-32C; at the end
a footer that says where the index of the blocks is. The values are the protocol buffers of TensorFlow's tensor_bundle.proto: a
header under the empty key, and for each variable its type, shape, place in the data file and masked CRC-32C.

Nothing is guessed: all checksums are verified, blocks and tensors have to cover their files without a gap, and whatever
TensorFlow 1's Saver does not write (compressed blocks, several data files, partitioned variables, big-endian numbers, types
that are not in `TYPES`) is an error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from musicreclass.errors import WeightsError
from musicreclass.models.weights.crc32c import crc32c

TYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 19: "<f2"}  # of TensorFlow's DataType
MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
FOOTER = 48  # bytes: two handles, filled up with zeros to 40, and the magic number
TRAILER = 5  # bytes behind each block: compression and checksum
LONGEST = 1 << 40  # more than any size or offset here
VARINT, BYTES, FIXED32 = 0, 2, 5  # wire types of protocol buffers


@dataclass(frozen=True)
class Entry:
    """Where a variable lies in the data file."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    size: int
    checksum: int


def tensors(index: bytes, data: bytes, name: str) -> dict[str, np.ndarray]:
    """All variables of a checkpoint, by name, those of the optimiser too.

    Args:
        index: content of the `.index` file.
        data: content of the `.data-00000-of-00001` file.
        name: the checkpoint's path without these endings; errors call the files by it.

    Returns:
        arrays, read-only views of `data`.

    Raises:
        WeightsError: if a file is damaged, or holds what is not read here.
    """
    try:
        entries = _entries(index)
    except ValueError as error:
        raise WeightsError(f"{name}.index: not a TensorFlow checkpoint that can be read: {error}") from error
    try:
        return _arrays(entries, data)
    except ValueError as error:
        raise WeightsError(f"{name}.data-00000-of-00001: damaged, or of another index: {error}") from error


def _arrays(entries: dict[str, Entry], data: bytes) -> dict[str, np.ndarray]:
    found, end = {}, 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].offset, item[1].size)):
        if entry.offset != end:
            raise ValueError(f"{name} begins at byte {entry.offset}, where {end} was expected")
        end += entry.size
        piece = data[entry.offset : end]
        if len(piece) != entry.size:
            raise ValueError(f"it ends within {name}")
        if masked(crc32c(piece)) != entry.checksum:
            raise ValueError(f"the checksum of {name} is wrong")
        found[name] = np.frombuffer(piece, entry.dtype).reshape(entry.shape)
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes too many")
    return found


def _entries(index: bytes) -> dict[str, Entry]:
    pairs = _table(index)
    if not pairs or pairs[0][0] != b"":
        raise ValueError("it has no header")
    head = _message(pairs[0][1], {1: VARINT, 2: VARINT, 3: BYTES})
    if head.get(1) != [1]:
        raise ValueError("its data are not in one file")
    if head.get(2, [0]) != [0]:
        raise ValueError("its numbers are big-endian")
    return {key.decode(): _entry(key.decode(), value) for key, value in pairs[1:]}


def _entry(name: str, value: bytes) -> Entry:
    fields = _message(value, {1: VARINT, 2: BYTES, 3: VARINT, 4: VARINT, 5: VARINT, 6: FIXED32, 7: BYTES})
    if 7 in fields:
        raise ValueError(f"{name} is partitioned")
    if any(len(values) > 1 for values in fields.values()):
        raise ValueError(f"{name} is described twice")
    (kind,), (outline,), (shard,), (offset,), (size,), (checksum,) = (
        fields.get(number, [default]) for number, default in ((1, 0), (2, b""), (3, 0), (4, 0), (5, 0), (6, 0))
    )
    dims = _message(outline, {2: BYTES, 3: VARINT})
    shape = tuple(_message(dim, {1: VARINT, 2: BYTES}).get(1, [0])[0] for dim in dims.get(2, []))
    if kind not in TYPES or shard != 0 or dims.get(3, [0]) != [0]:
        raise ValueError(f"{name} is of type {kind}, in file {shard}: not one that is read here")
    if len(shape) > 8 or max((*shape, offset, size)) > LONGEST:
        raise ValueError(f"the shape or place of {name} is impossible")
    if size != math.prod(shape) * np.dtype(TYPES[kind]).itemsize:
        raise ValueError(f"the size of {name} does not fit its shape {shape}")
    return Entry(TYPES[kind], shape, offset, size, checksum)


def _table(file: bytes) -> list[tuple[bytes, bytes]]:
    """The pairs of a LevelDB table, in order."""
    if len(file) < FOOTER or not file.endswith(MAGIC):
        raise ValueError("it does not end as one does; it may be cut short")
    footer = _Cursor(file[-FOOTER : -len(MAGIC)])
    meta, blocks = footer.handle(), footer.handle()
    if any(footer.rest()):
        raise ValueError("its footer is damaged")
    handles = []
    for _, value in _block(file, blocks):
        cursor = _Cursor(value)
        handles.append(cursor.handle())
        cursor.finish()
    end = 0
    for at, size in (*handles, meta, blocks):
        if at != end:
            raise ValueError(f"there is a gap at byte {end}")
        end = at + size + TRAILER
    if end != len(file) - FOOTER:
        raise ValueError(f"there is a gap at byte {end}")
    if _block(file, meta):
        raise ValueError("it has a filter")
    pairs = [pair for handle in handles for pair in _block(file, handle)]
    if any(first[0] >= second[0] for first, second in pairwise(pairs)):
        raise ValueError("its keys are not in order")
    return pairs


def _block(file: bytes, handle: tuple[int, int]) -> list[tuple[bytes, bytes]]:
    """The pairs of one block, checksum verified."""
    at, size = handle
    end = at + size
    if end + TRAILER + FOOTER > len(file):
        raise ValueError("a block lies outside of it")
    if masked(crc32c(file[at : end + 1])) != int.from_bytes(file[end + 1 : end + TRAILER], "little"):
        raise ValueError(f"the checksum of the block at byte {at} is wrong")
    if file[end] != 0:
        raise ValueError("it is compressed")
    restarts = int.from_bytes(file[max(at, end - 4) : end], "little")
    if size < 4 or 4 * (restarts + 1) > size:
        raise ValueError(f"the block at byte {at} has no proper end")
    cursor, pairs, key = _Cursor(file[at : end - 4 * (restarts + 1)]), [], b""
    while not cursor.done:
        shared, more, length = cursor.varint(), cursor.varint(), cursor.varint()
        if shared > len(key):
            raise ValueError(f"a key in the block at byte {at} shares more than there is")
        key = key[:shared] + cursor.take(more)
        pairs.append((key, cursor.take(length)))
    return pairs


def _message(data: bytes, known: dict[int, int]) -> dict[int, list[Any]]:
    """The fields of a protocol buffer: numbers and bytes, by field number; `known` has the wire type of each."""
    cursor = _Cursor(data)
    fields: dict[int, list[Any]] = {}
    while not cursor.done:
        tag = cursor.varint()
        number, wire = tag >> 3, tag & 7
        if known.get(number) != wire:
            raise ValueError(f"it has a field {number} of wire type {wire}, which is not known here")
        if wire == VARINT:
            value: int | bytes = cursor.varint()
        elif wire == BYTES:
            value = cursor.take(cursor.varint())
        else:
            value = int.from_bytes(cursor.take(4), "little")
        fields.setdefault(number, []).append(value)
    return fields


class _Cursor:
    """Reads on in bytes, never beyond their end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    @property
    def done(self) -> bool:
        return self.at == len(self.data)

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise ValueError("a part of it is cut short")
        self.at += count
        return self.data[self.at - count : self.at]

    def varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            (byte,) = self.take(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("it holds a number of more than 64 bits")

    def handle(self) -> tuple[int, int]:
        return self.varint(), self.varint()

    def rest(self) -> bytes:
        return self.take(len(self.data) - self.at)

    def finish(self) -> None:
        if not self.done:
            raise ValueError("a part of it is too long")


def masked(checksum: int) -> int:
    """A checksum as LevelDB and TensorFlow store it."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
