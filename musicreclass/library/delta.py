"""The difference of two similar files, as parts to copy and bytes to insert: what a change of a tag did to a file, to undo it."""

from __future__ import annotations

import base64
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

PROBE = 64  # bytes that are searched for
WINDOW = 4 << 20  # bytes around the expected position in which they are searched
COMPARED = 1 << 20  # bytes compared at a time
MAX_INSERTED = 256 << 10  # bytes; larger differences are not recorded
Part = list[Any]  # [position, length] to copy, or [text] in base64 to insert


def difference(new: Path, old: Path) -> list[Part] | None:
    """How to build `old` from `new`.

    Returns:
        the parts, in order; None if they differ in more than `MAX_INSERTED` bytes, or one is empty.
    """
    with new.open("rb") as new_file, old.open("rb") as old_file:
        try:
            source = mmap.mmap(new_file.fileno(), 0, access=mmap.ACCESS_READ)
            target = mmap.mmap(old_file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # an empty file
            return None
        with source, target:
            return _parts(source, target)


def _parts(source: mmap.mmap, target: mmap.mmap) -> list[Part] | None:
    parts: list[Part] = []
    at, shift, inserted = 0, 0, bytearray()
    total = 0
    while at < len(target):
        position = _find(source, target[at : at + PROBE], at + shift)
        if position < 0:
            inserted += target[at : at + PROBE]
            at += PROBE
            if total + len(inserted) > MAX_INSERTED:
                return None
            continue
        while inserted and position and source[position - 1] == inserted[-1]:  # the match may begin earlier
            inserted.pop()
            position, at = position - 1, at - 1
        if inserted:
            total += len(inserted)
            parts.append([base64.b64encode(inserted).decode()])
            inserted = bytearray()
        length = _common(source, position, target, at)
        parts.append([position, length])
        at, shift = at + length, position - at
    if inserted:
        parts.append([base64.b64encode(inserted[: len(inserted)]).decode()])
    return parts


def _find(source: mmap.mmap, probe: bytes, expected: int) -> int:
    """Where a probe is in a file, near the expected position; -1 if it is not, or is too short."""
    if len(probe) < PROBE:
        return expected if probe and expected >= 0 and source[expected : expected + PROBE] == probe else -1
    if expected >= 0 and source[expected : expected + PROBE] == probe:
        return expected
    if probe.count(probe[0]) == PROBE:  # padding matches anywhere
        return -1
    return source.find(probe, max(0, expected - WINDOW), max(0, expected) + WINDOW)


def _common(source: mmap.mmap, position: int, target: mmap.mmap, at: int) -> int:
    """The length of the longest equal part of two files from two positions."""
    length, size = 0, COMPARED
    limit = min(len(source) - position, len(target) - at)
    while length < limit:
        size = min(size, limit - length)
        if source[position + length : position + length + size] == target[at + length : at + length + size]:
            length += size
        elif size == 1:
            break
        else:
            size //= 2
    return length


def rebuilt(new: BinaryIO, parts: list[Part], block: int = 1 << 20) -> Iterator[bytes]:
    """The content of `old`, in blocks.

    Args:
        new: the file to copy from.
        parts: from `difference`.
        block: bytes read at a time.
    """
    for part in parts:
        if len(part) == 1:
            yield base64.b64decode(part[0])
            continue
        position, length = part
        new.seek(position)
        while length > 0 and (content := new.read(min(block, length))):
            length -= len(content)
            yield content
