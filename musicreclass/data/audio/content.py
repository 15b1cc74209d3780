"""Recognises what a file contains by its bytes, whatever its name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

HEAD = 512  # bytes
FFMPEG_FORMATS = (  # position, bytes, name; libsndfile reads none of them
    (4, b"ftyp", "MP4"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
    (0, b"wvpk", "WavPack"),
    (0, b"MAC ", "Monkey's Audio"),
    (28, b"\x7fFLAC", "FLAC in Ogg"),
    (28, b"Speex   ", "Speex"),
)
STARTS = (b"RIFF", b"RIFX", b"RF64", b"FORM", b".snd", b"riff", b"fLaC")  # of files
FLAC_START = b"fLaC\0\0\0\x22"
WEB_PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head|\?xml)", re.IGNORECASE)


def id3_size(head: bytes) -> int:
    """The size of the ID3v2 tag that begins with these 10 bytes; 0 if none does."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    a, b, c, d = (byte & 0x7F for byte in head[6:10])
    return 10 + (a << 21 | b << 14 | c << 7 | d)


def _head(stream: BinaryIO) -> bytes:
    """The first bytes after an ID3 tag."""
    head = stream.read(HEAD)
    if tag := id3_size(head):
        stream.seek(tag)
        head = stream.read(HEAD)
    return head


def ffmpeg_format(file: Path) -> str:
    """The name of the format of a file that libsndfile does not read and ffmpeg does; empty for others."""
    with file.open("rb") as stream:
        head = _head(stream)
    for at, magic, name in FFMPEG_FORMATS:
        if head.startswith(magic, at):
            return name
    return "AAC" if _is_adts(head) else ""


def _is_adts(head: bytes) -> bool:
    """Whether bytes are frames of AAC: a frame header, whose layer is 0, and a second frame where the first one ends."""
    if len(head) < 8 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return False
    size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return size >= 7 and (size + 2 > len(head) or head[size : size + 2] == head[:2])


def has_id3_tag(file: Path) -> bool:
    """Whether a file begins with an ID3v2 tag, as MP3 files do."""
    with file.open("rb") as stream:
        return id3_size(stream.read(10)) > 0


def substitute(file: Path) -> str:
    """What is stored in place of a recording: `git lfs pointer` or `web page`; empty for anything else."""
    with file.open("rb") as stream:
        head = stream.read(HEAD)
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        return "git lfs pointer"
    return "web page" if WEB_PAGE.match(head) else ""


def has_second_file(file: Path, end: int) -> bool:
    """Whether another recording follows the first, as when files were joined with `cat`.

    Args:
        file: an uncompressed or FLAC file.
        end: where the samples of the first end, 0 if unknown.
    """
    with file.open("rb") as stream:
        if stream.read(4) != b"fLaC":
            stream.seek(end + end % 2)
            return end > 0 and stream.read(4) in STARTS
        overlap = stream.read(4)
        while block := stream.read(1 << 20):
            if FLAC_START in overlap + block:
                return True
            overlap = block[-len(FLAC_START) :]
    return False
