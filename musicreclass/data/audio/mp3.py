"""The frames of an MP3 file: how long it is where it does not tell, and whether anything is broken between them.

Most files begin with a frame that holds no sound but a count (`Xing`, `Info`). Without one libmpg123 guesses from the
size of the file and the first frame: too long where a cover picture stands ahead of the sound, too short where a
stream of varying bit rate begins loud, and libsndfile then never reads the rest. So the frames are counted here, by
their headers (ISO/IEC 11172-3, 13818-3).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

KBITS = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),  # MPEG 1
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),  # MPEG 2 and 2.5
}
RATES = {3: (44100, 48000, 32000, 0), 2: (22050, 24000, 16000, 0), 0: (11025, 12000, 8000, 0)}
TAGS = (b"TAG", b"APETAGEX", b"ID3", b"LYRICSBEGIN")  # what may stand behind the sound
LOST = 1024  # bytes of rubbish within which libmpg123 looks for the next frame
HEAD = 1 << 16  # bytes ahead of the first frame likewise


@cache
def frame(second: int, third: int) -> tuple[int, int]:
    """Bytes and samples of a Layer III frame, by the second and third byte of its header; 0, 0 if they are of none."""
    version, layer = second >> 3 & 3, second >> 1 & 3
    if second < 0xE0 or layer != 1 or version == 1:
        return 0, 0
    rate = RATES[version][third >> 2 & 3]
    bits = KBITS[version == 3][third >> 4] * 1000
    if not rate or not bits:
        return 0, 0
    size = 1152 if version == 3 else 576
    return size // 8 * bits // rate + (third >> 1 & 1), size


def begins(data: bytes, at: int) -> int:
    """Where, from here on, the first frame begins that another follows; -1 if nowhere near."""
    for place in range(at, min(at + HEAD, len(data) - 4)):
        if data[place] == 0xFF and (size := frame(data[place + 1], data[place + 2])[0]):
            after = data[place + size : place + size + 3]
            if len(after) < 3 or (after[0] == 0xFF and after[1] == data[place + 1] and frame(after[1], after[2])[0]):
                return place
    return -1


class Start(NamedTuple):
    """Where an MP3 stream begins, and what its first frame tells.

    Attributes:
        at: the place of the first frame.
        head: the first four bytes of it.
        told: whether it tells the length, and holds no sound.
    """

    at: int
    head: bytes
    told: bool


def start(path: Path) -> Start | None:
    """Find the first frame of a file; None if there is none of Layer III with a known bit rate."""
    with path.open("rb") as file:
        tags = 0
        while (head := file.read(10))[:3] == b"ID3" and len(head) == 10:
            a, b, c, d = head[6:]
            tags += 10 + (a << 21 | b << 14 | c << 7 | d)
            file.seek(tags)
        data = head + file.read(HEAD + 4096)
    at = begins(data, 0)
    if at < 0:
        return None
    mark = data[at + 4 : at + 64]
    return Start(tags + at, data[at : at + 4], b"Xing" in mark or b"Info" in mark)


class Stream(NamedTuple):
    """What a walk over the frames of an MP3 file finds.

    Attributes:
        samples: how many all the frames hold.
        whole: whether nothing but known tags lies between the frames and behind them.
        lost: the bytes behind the last frame that are no tag.
    """

    samples: int
    whole: bool
    lost: int


def walk(path: Path, begin: Start) -> Stream:
    """Go over all the frames of a file."""
    data = path.read_bytes()
    at, end, samples, whole = begin.at, len(data), 0, True
    kind = begin.head[1] | 1
    while at + 4 <= end:
        size, n = frame(data[at + 1], data[at + 2]) if data[at] == 0xFF and data[at + 1] | 1 == kind else (0, 0)
        if size:
            if at + size > end:
                break
            at, samples = at + size, samples + n
        elif data.startswith(TAGS, at):
            at = end
        else:
            whole = False
            ahead = begins(data[at : at + 2 * LOST], 1)
            if not 0 < ahead <= LOST:
                break
            at += ahead
    return Stream(samples, whole, end - at)


def counted(first: bytes, samples: int) -> bytes:
    """A frame without sound that tells a length, to stand ahead of a stream that begins with these four bytes."""
    second, third = first[1] | 1, 0x90 | (first[2] & 0x0C)  # without a checksum, of a rate at which it is long enough
    size, n = frame(second, third)
    version, mono = second >> 3 & 3, first[3] >> 6 == 3
    side = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    head = bytes([0xFF, second, third, first[3]]) + bytes(side) + b"Xing" + (1).to_bytes(4, "big")
    return (head + (samples // n).to_bytes(4, "big")).ljust(size, b"\0")
