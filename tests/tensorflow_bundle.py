"""Writes TensorFlow checkpoint bundles for the tests, independently of the reader."""

from __future__ import annotations

import struct

import numpy as np

DTYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "float16": 19}


def crc32c(data: bytes) -> int:
    """CRC-32C bit by bit (RFC 3720) up to 4 KiB; above, the reader's fast version, which a test compares with this one."""
    if len(data) > 4096:
        from musicreclass.models.weights.crc32c import crc32c as fast_crc32c

        return fast_crc32c(data)
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


def masked_checksum(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | bytes) -> bytes:
    """One field of a protocol buffer: a number or bytes."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def entry(array: np.ndarray, offset: int, **overrides: int) -> bytes:
    """A BundleEntryProto."""
    dtype = overrides.get("dtype", DTYPES[array.dtype.name])
    shape = b"".join(field(2, field(1, size)) for size in array.shape)
    position = (field(4, offset) if offset else b"") + field(5, array.nbytes)
    return field(1, dtype) + field(2, shape) + position + varint(6 << 3 | 5) + masked_checksum(array.tobytes())


def block(pairs: list[tuple[bytes, bytes]], restart_every: int = 3) -> bytes:
    """A block of a LevelDB table, without its trailer."""
    out, restarts, previous = b"", [], b""
    for i, (key, value) in enumerate(pairs):
        shared = 0
        if i % restart_every:
            while shared < min(len(key), len(previous)) and key[shared] == previous[shared]:
                shared += 1
        else:
            restarts.append(len(out))
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        previous = key
    restarts = restarts or [0]
    return out + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def table(blocks: list[bytes], last_keys: list[bytes], compression: int = 0, meta: bytes | None = None) -> bytes:
    """A LevelDB table of blocks."""
    out, handles = b"", []

    def append_block(content: bytes) -> bytes:
        nonlocal out
        handle = varint(len(out)) + varint(len(content))
        out += content + bytes([compression]) + masked_checksum(content + bytes([compression]))
        return handle

    handles = [append_block(content) for content in blocks]
    footer = append_block(block([]) if meta is None else meta)
    footer += append_block(block(list(zip(last_keys, handles, strict=True)), 1))
    return out + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def bundle(
    variables: dict[str, np.ndarray],
    per_block: int = 4,
    header: bytes = field(1, 1) + field(3, field(1, 1)),
    **overrides: int,
) -> tuple[list[bytes], list[bytes], bytes]:
    """Blocks and their last keys, for `table`, and the data file."""
    pairs, data = [(b"", header)], b""
    for name, array in sorted(variables.items()):
        pairs.append((name.encode(), entry(array, len(data), **overrides)))
        data += array.tobytes()
    groups = [pairs[i : i + per_block] for i in range(0, len(pairs), per_block)]
    return [block(group) for group in groups], [group[-1][0] for group in groups], data
