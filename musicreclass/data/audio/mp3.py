"""Parses the frames of an MP3 file: its true length if no frame states it, and whether the frames are contiguous.

Most files begin with a length frame (`Xing`, `Info`), which contains a frame count and no audio. Without it libmpg123
estimates the length from the file size and the first frame: too long if a cover picture precedes the audio, too short
if a stream of variable bit rate begins loud, and libsndfile then never reads the rest. The frames are therefore
counted here, from their headers (ISO/IEC 11172-3, 13818-3).
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

KBITS = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),  # MPEG 1
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),  # MPEG 2 and 2.5
}
RATES = {3: (44100, 48000, 32000, 0), 2: (22050, 24000, 16000, 0), 0: (11025, 12000, 8000, 0)}
TRAILING_TAGS = (b"TAG", b"APETAGEX", b"ID3", b"LYRICSBEGIN")
LENGTH_MARK = re.compile(rb"(Xing|Info)(?=.{8})", re.DOTALL)  # of a length frame
RESYNC_LIMIT = 1024  # bytes within which libmpg123 searches for the next frame after invalid data
FIRST_FRAME_LIMIT = 1 << 16  # bytes within which it searches for the first frame


@cache
def frame_size(second: int, third: int) -> tuple[int, int]:
    """Bytes and samples of a Layer III frame, from the second and third byte of its header; (0, 0) if invalid."""
    version, layer = second >> 3 & 3, second >> 1 & 3
    if second < 0xE0 or layer != 1 or version == 1:
        return 0, 0
    rate = RATES[version][third >> 2 & 3]
    bits = KBITS[version == 3][third >> 4] * 1000
    if not rate or not bits:
        return 0, 0
    samples = 1152 if version == 3 else 576
    return samples // 8 * bits // rate + (third >> 1 & 1), samples


def find_frame(data: bytes, start: int) -> int:
    """Position of the first frame from `start` on that is followed by another frame; -1 if there is none nearby."""
    for at in range(start, min(start + FIRST_FRAME_LIMIT, len(data) - 4)):
        if data[at] == 0xFF and (size := frame_size(data[at + 1], data[at + 2])[0]):
            after = data[at + size : at + size + 3]
            if len(after) < 3 or (after[0] == 0xFF and after[1] == data[at + 1] and frame_size(after[1], after[2])[0]):
                return at
    return -1


class FirstFrame(NamedTuple):
    """The first frame of an MP3 stream.

    Attributes:
        at: its position in the file, in bytes.
        header: its first four bytes.
        states_length: whether it is a length frame, without audio.
    """

    at: int
    header: bytes
    states_length: bool


def find_first_frame(path: Path) -> FirstFrame | None:
    """The first frame of a file; None if there is no Layer III frame with a known bit rate."""
    with path.open("rb") as file:
        tags = 0
        while (start := file.read(10))[:3] == b"ID3" and len(start) == 10:
            a, b, c, d = start[6:]
            tags += 10 + (a << 21 | b << 14 | c << 7 | d)
            file.seek(tags)
        data = start + file.read(FIRST_FRAME_LIMIT + 4096)
    at = find_frame(data, 0)
    if at < 0:
        return None
    mark = LENGTH_MARK.search(data, at + 4, at + 64)
    if mark is None:
        return FirstFrame(tags + at, data[at : at + 4], False)
    has_count, count = data[mark.end() + 3] & 1, data[mark.end() + 4 : mark.end() + 8]
    if has_count and any(count):
        return FirstFrame(tags + at, data[at : at + 4], True)
    at += frame_size(data[at + 1], data[at + 2])[0]  # neither audio nor a length
    return FirstFrame(tags + at, data[at : at + 4], False) if len(data) >= at + 4 else None


class Stream(NamedTuple):
    """All frames of an MP3 file.

    Attributes:
        samples: total over the frames.
        contiguous: whether nothing but known tags is between the frames and after them.
        unparsed: bytes after the last frame that are not a tag.
    """

    samples: int
    contiguous: bool
    unparsed: int


def scan_frames(path: Path, first: FirstFrame) -> Stream:
    """Parse the headers of all frames of a file."""
    data = path.read_bytes()
    at, end, total, contiguous = first.at, len(data), 0, True
    version_layer = first.header[1] | 1  # without the checksum bit
    while at + 4 <= end:
        same_kind = data[at] == 0xFF and data[at + 1] | 1 == version_layer
        size, samples = frame_size(data[at + 1], data[at + 2]) if same_kind else (0, 0)
        if size:
            if at + size > end:
                break
            at, total = at + size, total + samples
        elif data.startswith(TRAILING_TAGS, at):
            at = end
        else:
            contiguous = False
            ahead = find_frame(data[at : at + 2 * RESYNC_LIMIT], 1)
            if not 0 < ahead <= RESYNC_LIMIT:
                break
            at += ahead
    return Stream(total, contiguous, end - at)


def length_frame(first_header: bytes, samples: int) -> bytes:
    """A length frame to put before a stream whose first frame has this header (4 bytes)."""
    # without a checksum, at a bit rate at which the frame is long enough
    second, third = first_header[1] | 1, 0x90 | (first_header[2] & 0x0C)
    size, samples_per_frame = frame_size(second, third)
    version, mono = second >> 3 & 3, first_header[3] >> 6 == 3
    side_info = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    start = bytes([0xFF, second, third, first_header[3]]) + bytes(side_info) + b"Xing" + (1).to_bytes(4, "big")
    return (start + (samples // samples_per_frame).to_bytes(4, "big")).ljust(size, b"\0")
