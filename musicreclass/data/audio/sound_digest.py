"""A digest of the sound in a file, without decoding: of its samples or coded frames, but not of its tags.

Files with the same digest decode to the same samples. WAV, FLAC, AIFF and AU files with the same integer samples have the same
digest: FLAC stores the MD5 of the samples, which is computed here for the others. For coded formats, it is of the coded frames,
so that a copy in another encoding has another digest.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from musicreclass.data.audio import mp3
from musicreclass.data.audio.content import id3_size

BLOCK = 3 << 20  # bytes; a multiple of every sample width
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE  # formats of WAV files
AU_WIDTHS = {2: 1, 3: 2, 4: 3, 5: 4}  # bytes per sample of the integer encodings
MAX_CHUNKS = 10_000


def content_digest(path: Path) -> str | None:
    """The digest of the sound in a file; None for a format or a header that this module does not read.

    Raises:
        OSError: if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return _digest(file, path)
    except (struct.error, ValueError, IndexError, OverflowError):  # a damaged header: examining the file will report it
        return None


def _digest(file: BinaryIO, path: Path) -> str | None:
    tags = _skip_id3(file)
    start = file.read(12)
    if start[:4] == b"fLaC":
        file.seek(tags + 4)
        return _flac(file)
    if start[:4] == b"OggS":
        file.seek(tags)
        return _ogg(file)
    if start[:4] in (b"RIFF", b"RF64", b"BW64") and start[8:] == b"WAVE":
        return _wav(file)
    if start[:4] == b"FORM" and start[8:] in (b"AIFF", b"AIFC"):
        return _aiff(file)
    if start[:4] == b".snd":
        return _au(file, start)
    if start[4:8] == b"ftyp":
        file.seek(tags)
        return _mp4(file)
    return _mp3(file, path)


def _skip_id3(file: BinaryIO) -> int:
    """The position after the ID3v2 tags at the start of a file, where the file is put."""
    position = 0
    while size := id3_size(head := file.read(10)):
        position += size + (10 if head[5] & 0x10 else 0)  # a footer
        file.seek(position)
    file.seek(position)
    return position


def _blocks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The next bytes of a file, up to `size`."""
    while size > 0 and (block := file.read(min(size, BLOCK))):
        size -= len(block)
        yield block


def _hashed(name: str, blocks: Iterator[bytes]) -> str | None:
    """A digest of coded frames; None if there are none."""
    digest, total = hashlib.md5(usedforsecurity=False), 0
    for block in blocks:
        digest.update(block)
        total += len(block)
    return f"{name}:{digest.hexdigest()}" if total else None


def _samples(
    rate: int, channels: int, width: int, blocks: Iterator[bytes], big_endian: bool, unsigned: bool
) -> str | None:
    """The digest of integer samples, which FLAC states too: of interleaved little-endian signed samples."""

    def little_endian() -> Iterator[bytes]:
        for block in blocks:
            values = np.frombuffer(block, np.uint8)
            if unsigned:
                yield (values ^ 0x80).tobytes()
            elif big_endian and width > 1:
                yield values[: len(values) // width * width].reshape(-1, width)[:, ::-1].tobytes()
            else:
                yield block

    return _hashed(f"pcm {rate} {channels} {8 * width}", little_endian())


def _chunks(file: BinaryIO, order: str) -> Iterator[tuple[bytes, int]]:
    """Name and size of each chunk; the file is at its content."""
    for _ in range(MAX_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            return
        name, size = struct.unpack(f"{order}4sI", head)
        position = file.tell()
        yield name, size
        file.seek(position + size + size % 2)


def _wav(file: BinaryIO) -> str | None:
    form, form_chunk, long_size = 0, b"", None
    channels = rate = bits = 0
    for name, size in _chunks(file, "<"):
        if name == b"ds64":
            _, long_size = struct.unpack("<QQ", file.read(16))
        elif name == b"fmt ":
            form_chunk = file.read(size)
            form, channels, rate, _, _, bits = struct.unpack("<HHIIHH", form_chunk[:16])
            if form == EXTENSIBLE and len(form_chunk) >= 26:
                (form,) = struct.unpack("<H", form_chunk[24:26])
        elif name == b"data":
            size = long_size if size == 0xFFFFFFFF and long_size is not None else size
            if form == PCM and bits in (8, 16, 24, 32):
                return _samples(rate, channels, bits // 8, _blocks(file, size), big_endian=False, unsigned=bits == 8)
            return _hashed(f"wav {form} {rate} {channels} {bits}", _blocks(file, size))
    return None


def _aiff(file: BinaryIO) -> str | None:
    channels = bits = rate = 0
    coding = b"NONE"
    for name, size in _chunks(file, ">"):
        if name == b"COMM":
            comm = file.read(size)
            channels, _, bits = struct.unpack(">hIh", comm[:8])
            exponent, mantissa = struct.unpack(">HQ", comm[8:18])
            rate = mantissa >> (16383 + 63 - exponent)
            coding = comm[18:22] or coding
        elif name == b"SSND":
            (offset,) = struct.unpack(">I4x", file.read(8))
            file.seek(offset, 1)
            blocks = _blocks(file, size - 8 - offset)
            if coding in (b"NONE", b"twos", b"sowt") and bits in (8, 16, 24, 32):
                return _samples(rate, channels, bits // 8, blocks, big_endian=coding != b"sowt", unsigned=False)
            return _hashed(f"aiff {coding!r} {rate} {channels} {bits}", blocks)
    return None


def _au(file: BinaryIO, start: bytes) -> str | None:
    (position,) = struct.unpack(">I", start[4:8])
    size, coding, rate, channels = struct.unpack(">IIII", start[8:12] + file.read(12))
    file.seek(position)
    blocks = _blocks(file, 1 << 62 if size == 0xFFFFFFFF else size)
    if coding in AU_WIDTHS:
        return _samples(rate, channels, AU_WIDTHS[coding], blocks, big_endian=True, unsigned=False)
    return _hashed(f"au {coding} {rate} {channels}", blocks)


def _flac(file: BinaryIO) -> str | None:
    stated = None
    for _ in range(MAX_CHUNKS):
        head = file.read(4)
        size = int.from_bytes(head[1:], "big")
        if head[0] & 0x7F == 0:
            info = file.read(size)
            packed = int.from_bytes(info[10:18], "big")  # rate 20 bits, channels 3, bits 5, samples 36
            rate, channels, bits = packed >> 44, (packed >> 41 & 7) + 1, (packed >> 36 & 31) + 1
            md5 = info[18:34]
            if any(md5) and bits in (8, 16, 24, 32):
                stated = f"pcm {rate} {channels} {bits}:{md5.hex()}"
        else:
            file.seek(size, 1)
        if head[0] & 0x80:
            return stated or _hashed("flac", _blocks(file, 1 << 62))
    return None


def _ogg(file: BinaryIO) -> str | None:
    """Of the packets without those of the header, which have tags; page headers change with these."""

    def packets() -> Iterator[bytes]:
        while len(head := file.read(27)) == 27 and head[:4] == b"OggS":
            size = sum(file.read(head[26]))
            granule = int.from_bytes(head[6:14], "little")
            content = file.read(size)
            if granule:
                yield content

    return _hashed("ogg", packets())


def _mp4(file: BinaryIO) -> str | None:
    """Of the atoms of media data; tags are in others."""

    def media() -> Iterator[bytes]:
        for _ in range(MAX_CHUNKS):
            head = file.read(8)
            if len(head) < 8:
                return
            size, header = int.from_bytes(head[:4], "big"), 8
            if size == 1:
                size, header = int.from_bytes(file.read(8), "big"), 16
            size = size - header if size else 1 << 62
            position = file.tell()
            if head[4:] == b"mdat":
                yield from _blocks(file, size)
            file.seek(position + size)

    return _hashed("mp4", media())


def _mp3(file: BinaryIO, path: Path) -> str | None:
    """Of the frames, without the length frame, which programs write anew, and without tags at either end."""
    first = mp3.find_first_frame(path)
    if first is None:
        return None
    start = first.at
    if first.states_length:
        start += mp3.frame_size(first.header[1], first.header[2])[0]
    end = _end_without_tags(file)
    return _hashed("mp3", _blocks(_at(file, start), end - start))


def _at(file: BinaryIO, position: int) -> BinaryIO:
    file.seek(position)
    return file


def _end_without_tags(file: BinaryIO) -> int:
    """Where the tags at the end of a file begin: ID3v1, APE and Lyrics3, in any order."""
    end = file.seek(0, 2)
    while True:
        previous = end
        if end >= 128 and _at(file, end - 128).read(3) == b"TAG":
            end -= 128
        if end >= 32 and (footer := _at(file, end - 32).read(32))[:8] == b"APETAGEX":
            size, _, flags = struct.unpack("<III", footer[12:24])
            end = max(0, end - size - (32 if flags & 0x80000000 else 0))
        if end >= 15 and (mark := _at(file, end - 15).read(15))[6:] == b"LYRICS200" and mark[:6].isdigit():
            end = max(0, end - 15 - int(mark[:6]))
        if end == previous:
            return end
