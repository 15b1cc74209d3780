"""Reads CUE sheets: which tracks a disc image contains. Pure: it opens no file."""

from __future__ import annotations

import codecs
import re
from contextlib import suppress
from dataclasses import dataclass, field

from charset_normalizer import from_bytes

FRAMES_PER_SECOND = 75  # of a CD; the unit of INDEX
MAX_BYTES = 1 << 20  # of a sheet
MAX_TRACKS = 999
MAX_TEXT = 500  # characters of a title
BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
ENCODINGS = [
    "gb18030",
    "cp932",
    "big5",
    "cp949",
    "cp1251",
    "cp1252",
]  # of sheets that are not UTF-8; the first of equals
SINGLE_BYTE = ["cp1252", "cp1251"]  # come first where bytes above 127 stand alone, as accented letters do
TIE = 0.05  # of charset-normalizer's measure of chaos, 0 to 1
ALONE = 0.8  # share of the runs of such bytes
COMMAND = re.compile(r"\s*(?P<name>[A-Za-z]+)(?:\s+(?P<rest>.*?))?\s*")
QUOTED = re.compile(r'"(?P<text>.*)"(?:\s+(?P<kind>\S+))?')
TIME = re.compile(r"(\d{1,4}):(\d{1,2}):(\d{1,2})")


class CueError(ValueError):
    """Why a sheet cannot be used."""


@dataclass
class CueTrack:
    """A track of a sheet.

    Attributes:
        number: as stated.
        start: its INDEX 01, in frames of 1/75 s from the start of its file; None if it has none.
        title, performer: empty if not stated.
        is_audio: whether it is no data track.
    """

    number: int
    start: int | None = None
    title: str = ""
    performer: str = ""
    is_audio: bool = True


@dataclass
class CueFile:
    """A file that a sheet names, with the tracks that start in it.

    Attributes:
        name: as written.
        tracks: in order.
    """

    name: str
    tracks: list[CueTrack] = field(default_factory=list)


@dataclass
class CueSheet:
    """A sheet.

    Attributes:
        files: in order.
        title, performer: of the disc; empty if not stated.
    """

    files: list[CueFile] = field(default_factory=list)
    title: str = ""
    performer: str = ""


def decode_sheet(content: bytes) -> str:
    """The text of a sheet: by its byte order mark, else UTF-8 if it is valid, else in the encoding that charset-normalizer detects."""
    for mark, encoding in BOMS:
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, "replace")
    with suppress(UnicodeDecodeError):
        return content.decode("utf-8")
    return content.decode(detected_encoding(content), "replace")


def detected_encoding(content: bytes) -> str:
    """The encoding of a sheet that is not UTF-8, of those that charset-normalizer finds (nearly) equally plausible the likeliest."""
    lines = [
        line for line in content.splitlines() if not line.isascii()
    ]  # the others only dilute what there is to detect
    chaos = {m.encoding: m.chaos for m in from_bytes(b"\n".join(dict.fromkeys(lines)), cp_isolation=ENCODINGS)}
    runs = re.findall(rb"[\x80-\xff]+", content)
    is_single = sum(len(run) == 1 for run in runs) >= ALONE * len(runs)
    order = list(dict.fromkeys([*SINGLE_BYTE, *ENCODINGS])) if is_single else ENCODINGS
    return next((e for e in order if e in chaos and chaos[e] <= min(chaos.values()) + TIE), "latin-1")


def parse_sheet(content: str) -> CueSheet:
    """The files and tracks of a sheet. A pregap (INDEX 00) belongs to the previous track.

    Args:
        content: of the sheet, as `decode_sheet` returns it.

    Raises:
        CueError: if it names no file or track, a track has no start, or starts do not increase.
    """
    sheet, track = CueSheet(), None
    pending: CueTrack | None = None  # without an INDEX 01 so far: it belongs to the file in which that is
    count = 0
    for line in content.splitlines():
        match = COMMAND.fullmatch(line)
        if match is None:
            continue
        name, rest = match["name"].upper(), match["rest"] or ""
        if name == "FILE":
            sheet.files.append(CueFile(unquoted(rest, with_kind=True)))
        elif name == "TRACK":
            if not sheet.files:
                raise CueError("a TRACK before the first FILE")
            if pending is not None:
                raise CueError(f"track {pending.number} has no INDEX 01")
            track = pending = new_track(rest)
            count += 1
            if count > MAX_TRACKS:
                raise CueError(f"more than {MAX_TRACKS} tracks")
        elif name in ("TITLE", "PERFORMER"):
            text = "".join(c for c in unquoted(rest)[:MAX_TEXT] if c.isprintable())  # no escape sequences
            setattr(sheet if track is None else track, name.lower(), text.strip())
        elif name == "INDEX" and track is not None:
            start = index_one(rest, track)
            if start is not None and pending is not None:
                track.start, pending = start, None
                sheet.files[-1].tracks.append(track)
    if pending is not None:
        raise CueError(f"track {pending.number} has no INDEX 01")
    check(sheet)
    return sheet


def new_track(rest: str) -> CueTrack:
    """The track of `01 AUDIO`."""
    number, _, kind = rest.partition(" ")
    if not re.fullmatch(r"\d{1,3}", number, re.ASCII):
        raise CueError(f"TRACK {rest!r:.40}: no number")
    return CueTrack(int(number), is_audio=kind.strip().upper() in ("AUDIO", ""))


def index_one(rest: str, track: CueTrack) -> int | None:
    """The time of `01 mm:ss:ff` in frames; None for another index."""
    number, _, text = rest.partition(" ")
    if not number.isdecimal() or int(number) != 1:
        return None
    match = TIME.fullmatch(text.strip())
    if match is None or int(match[2]) >= 60 or int(match[3]) >= FRAMES_PER_SECOND:
        raise CueError(f"track {track.number}: INDEX 01 {text!r:.40} is no time mm:ss:ff")
    return (60 * int(match[1]) + int(match[2])) * FRAMES_PER_SECOND + int(match[3])


def unquoted(rest: str, with_kind: bool = False) -> str:
    """The text of an argument with or without quotation marks.

    Args:
        rest: of the line.
        with_kind: whether a type, as WAVE, follows.
    """
    if match := QUOTED.fullmatch(rest):
        return match["text"]
    return rest.rpartition(" ")[0] if with_kind and " " in rest else rest.strip('"')


def check(sheet: CueSheet) -> None:
    """Make sure that a sheet has tracks, and that their starts increase within each file.

    Raises:
        CueError: if not.
    """
    if not sheet.files:
        raise CueError("it names no FILE")
    if not any(file.tracks for file in sheet.files):
        raise CueError("it has no TRACK")
    for file in sheet.files:
        starts = [track.start or 0 for track in file.tracks]
        for track, start, after in zip(file.tracks, starts, starts[1:], strict=False):
            if after <= start:
                raise CueError(f"the times do not increase after track {track.number}")
