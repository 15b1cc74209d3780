"""The artist tag of a recording: by libsndfile, and from MP4 files and ID3 tags, which it does not read."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from musicreclass.data.audio.c_stderr import muted_c_stderr
from musicreclass.data.audio.content import id3_size
from musicreclass.data.audio.opening import open_file

MAX_ATOMS = 10_000
MAX_TAG = 1 << 24  # bytes read of one tag; pictures may precede the artist
ENCODINGS = ("latin-1", "utf-16", "utf-16-be", "utf-8")  # of ID3 text, by their number
MP4_PATH = (b"moov", b"udta", b"meta", b"ilst", b"\xa9ART", b"data")


def read_artist(file: Path) -> str:
    """The artist tag of a regular file; empty if it has none.

    Raises:
        OSError, ValueError, soundfile.LibsndfileError: if its tags cannot be read.
    """
    with file.open("rb") as stream:
        head = stream.read(12)
        if head[4:8] == b"ftyp":
            return _mp4_artist(stream)
        if id3_size(head):
            stream.seek(0)
            if artist := _id3_artist(stream.read(MAX_TAG)):
                return artist
        chunked = head[:4] in (b"RIFF", b"RF64", b"FORM")
        artist = _chunk_artist(stream, ">" if head[:4] == b"FORM" else "<") if chunked else ""
    if artist:
        return artist
    with muted_c_stderr(), open_file(file) as reader:
        return str(reader.artist).strip()


def _mp4_artist(stream: BinaryIO) -> str:
    """The text of the atom that `MP4_PATH` leads to."""
    end = stream.seek(0, 2)
    at = 0
    for name in MP4_PATH:
        inside = _atom(stream, name, at, end)
        if inside is None:
            return ""
        at, end = inside
        at += 4 if name == b"meta" else 0  # version and flags
    stream.seek(at + 8)  # type and locale
    return stream.read(min(MAX_TAG, max(0, end - at - 8))).decode("utf-8", "replace").strip(" \0")


def _atom(stream: BinaryIO, name: bytes, at: int, end: int) -> tuple[int, int] | None:
    """Start and end of the content of the first atom of this name between two positions."""
    for _ in range(MAX_ATOMS):
        stream.seek(at)
        header = stream.read(16)
        if at + 8 > end or len(header) < 8:
            return None
        size, kind = struct.unpack(">I4s", header[:8])
        content = at + 8
        if size == 1 and len(header) == 16:
            (size,) = struct.unpack(">Q", header[8:])
            content = at + 16
        stop = end if size == 0 else min(end, at + size)
        if stop < content:
            return None
        if kind == name:
            return content, stop
        at = stop
    return None


def _chunk_artist(stream: BinaryIO, order: str) -> str:
    """The artist of an ID3 chunk of a WAV or AIFF file; empty if there is none."""
    for name, content in _chunks(stream, order):
        if name in (b"id3 ", b"ID3 "):
            return _id3_artist(stream.read(min(content, MAX_TAG)))
    return ""


def _chunks(stream: BinaryIO, order: str) -> Iterator[tuple[bytes, int]]:
    """Name and size of each chunk; the stream is at its content."""
    at = 12
    for _ in range(MAX_ATOMS):
        stream.seek(at)
        header = stream.read(8)
        if len(header) < 8:
            return
        name, size = struct.unpack(f"{order}4sI", header)
        yield name, size
        at += 8 + size + size % 2


def _id3_artist(tag: bytes) -> str:
    """The artist of an ID3v2 tag: its frame TPE1, or TP1 in version 2.2."""
    end, version = min(id3_size(tag), len(tag)), tag[3] if len(tag) > 3 else 0
    layout, frame = (6, b"TP1") if version == 2 else (10, b"TPE1")
    at = 10
    if version in (3, 4) and tag[5] & 0x40:  # an extended header
        at += _synchsafe(tag[10:14]) if version == 4 else 4 + int.from_bytes(tag[10:14], "big")
    while at + layout < end:
        name = tag[at : at + len(frame)]
        raw = tag[at + len(frame) : at + len(frame) + (3 if version == 2 else 4)]
        size = _synchsafe(raw) if version == 4 else int.from_bytes(raw, "big")
        if not name.strip(b"\0") or size == 0:
            return ""
        if name == frame:
            text = tag[at + layout : min(end, at + layout + size)]
            if not text or text[0] >= len(ENCODINGS):
                return ""
            return text[1:].decode(ENCODINGS[text[0]], "replace").replace("\0", "/").strip(" /")
        at += layout + size
    return ""


def _synchsafe(four: bytes) -> int:
    size = 0
    for byte in four:
        size = size << 7 | byte & 0x7F
    return size
