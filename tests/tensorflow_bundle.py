"""Writes TensorFlow checkpoint bundles for the tests, after the format's description and not after the reader."""

from __future__ import annotations

import struct

import numpy as np

TYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "float16": 19}


def crc32c(data: bytes) -> int:
    """Bit by bit below 4 KiB, as RFC 3720 has it; the reader's own above, which a test compares with this one."""
    if len(data) > 4096:
        from musicreclass.models.weights.crc32c import crc32c as fast

        return fast(data)
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


def signed(data: bytes) -> bytes:
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


def entry(array: np.ndarray, offset: int, **change: int) -> bytes:
    """A BundleEntryProto."""
    kind = change.get("dtype", TYPES[array.dtype.name])
    shape = b"".join(field(2, field(1, size)) for size in array.shape)
    place = (field(4, offset) if offset else b"") + field(5, array.nbytes)
    return field(1, kind) + field(2, shape) + place + varint(6 << 3 | 5) + signed(array.tobytes())


def block(pairs: list[tuple[bytes, bytes]], restart_every: int = 3) -> bytes:
    """A block of a LevelDB table, without its trailer."""
    out, restarts, last = b"", [], b""
    for i, (key, value) in enumerate(pairs):
        shared = 0
        if i % restart_every:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        else:
            restarts.append(len(out))
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    restarts = restarts or [0]
    return out + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def table(blocks: list[bytes], last_keys: list[bytes], compression: int = 0, meta: bytes | None = None) -> bytes:
    """A LevelDB table of blocks."""
    out, handles = b"", []

    def add(content: bytes) -> bytes:
        nonlocal out
        handle = varint(len(out)) + varint(len(content))
        out += content + bytes([compression]) + signed(content + bytes([compression]))
        return handle

    handles = [add(content) for content in blocks]
    footer = add(block([]) if meta is None else meta)
    footer += add(block(list(zip(last_keys, handles, strict=True)), 1))
    return out + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def bundle(
    variables: dict[str, np.ndarray],
    per_block: int = 4,
    header: bytes = field(1, 1) + field(3, field(1, 1)),
    **change: int,
) -> tuple[list[bytes], list[bytes], bytes]:
    """Blocks and their last keys, for `table`, and the data file."""
    pairs, data = [(b"", header)], b""
    for name, array in sorted(variables.items()):
        pairs.append((name.encode(), entry(array, len(data), **change)))
        data += array.tobytes()
    groups = [pairs[i : i + per_block] for i in range(0, len(pairs), per_block)]
    return [block(group) for group in groups], [group[-1][0] for group in groups], data
