"""Where the samples of an uncompressed file end according to its header, and how much of that the file has.

libsndfile corrects a size that exceeds the file and decodes what there is, so a truncated file would pass as a shorter one.
Each reader here follows the layout of one container, as libsndfile's sources document it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

UNKNOWN = (0xFFFFF000, 0x7FFFF000)  # programs that write to a pipe state a size just below 2^32 or 2^31, or 2^31
W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0O\x8e\xdb\x8a"
VOC_SOUND = (1, 2, 9)  # types of blocks: sound, its continuation, sound with a longer header
MAX_CHUNKS = 10_000
UNVERIFIABLE = ("PAF", "PVF", "IRCAM", "MAT4", "MAT5", "MPC2K", "XI", "SDS", "SD2", "HTK", "AVR", "WVE", "RAW")


def available_fraction(file: Path) -> float:
    """The fraction of the stated samples that a file has; 1 if all, or if its header states no length.

    Raises:
        OSError: if it cannot be read.
    """
    start, stated = stated_span(file)
    return 1.0 if stated <= 0 else min(1.0, max(0, file.stat().st_size - start) / stated)


def stated_span(file: Path) -> tuple[int, int]:
    """The position of the first byte of samples, and their number of bytes; 0 if unknown.

    Raises:
        OSError: if it cannot be read.
    """
    with file.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(0)
        try:
            return _stated_span(stream, size)
        except (struct.error, ValueError, OverflowError):  # a damaged header: libsndfile reports it
            return 0, 0


def _stated_span(stream: BinaryIO, size: int) -> tuple[int, int]:
    """As `stated_span`, of an open file."""
    magic = stream.read(12)
    if magic[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and magic[8:] == b"WAVE":
        return _riff(stream, big_endian=magic[:4] == b"RIFX")
    if magic[:4] == b"FORM" and magic[8:] in (b"AIFF", b"AIFC", b"8SVX", b"16SV"):
        return _iff(stream)
    if magic[:4] in (b".snd", b"dns."):
        start, stated = struct.unpack(">II" if magic[:4] == b".snd" else "<II", magic[4:])
        return start, _known(stated)
    if magic[:4] == b"riff":
        return _w64(stream)
    if magic[:7] == b"NIST_1A":
        return _nist(stream)
    if magic == b"Creative Voi":
        return _voc(stream, size)
    return 0, 0


def _known(size: int) -> int:
    """A 32-bit size, or 0 if it is one that programs write when they do not know it."""
    return 0 if size >= UNKNOWN[0] or UNKNOWN[1] <= size <= 0x80000000 else size


def _chunks(stream: BinaryIO, header: str) -> Iterator[tuple[bytes, int]]:
    """Name and size of each chunk; the stream is at its content."""
    for _ in range(MAX_CHUNKS):
        name, size = struct.unpack(header, stream.read(8))
        at = stream.tell()
        yield name, size
        stream.seek(at + size + size % 2)


def _riff(stream: BinaryIO, big_endian: bool) -> tuple[int, int]:
    long_size = 0  # of RF64
    for name, size in _chunks(stream, ">4sI" if big_endian else "<4sI"):
        if name == b"data":
            return stream.tell(), long_size or _known(size)
        if name == b"ds64":
            _, long_size = struct.unpack("<QQ", stream.read(16))
    return 0, 0


def _iff(stream: BinaryIO) -> tuple[int, int]:
    for name, size in _chunks(stream, ">4sI"):
        if name in (b"SSND", b"BODY"):
            return stream.tell(), _known(size)
    return 0, 0


def _w64(stream: BinaryIO) -> tuple[int, int]:
    at = 40  # after the identifiers of the file and its size
    for _ in range(MAX_CHUNKS):
        stream.seek(at)
        name, (size,) = stream.read(16), struct.unpack("<Q", stream.read(8))
        if name == W64_DATA:
            return at + 24, size - 24
        at += max(24, size + -size % 8)
    return 0, 0


def _nist(stream: BinaryIO) -> tuple[int, int]:
    stream.seek(8)
    start = int(stream.read(8))
    fields = {"sample_n_bytes": 1}
    for line in stream.read(max(0, start - 16)).decode("latin-1").splitlines():
        name, _, value = line.partition(" -i ")
        if value:
            fields[name] = int(value)
    stated = fields.get("sample_count", 0) * fields.get("channel_count", 1) * fields["sample_n_bytes"]
    return start, stated


def _voc(stream: BinaryIO, size: int) -> tuple[int, int]:
    stream.seek(20)
    start = at = int.from_bytes(stream.read(2), "little")
    end = start
    for _ in range(MAX_CHUNKS):
        stream.seek(at)
        head = stream.read(4)
        if len(head) < 4 or head[0] == 0 or at >= size:
            break
        at += 4 + int.from_bytes(head[1:], "little")
        end = at if head[0] in VOC_SOUND else end
    return start, end - start
