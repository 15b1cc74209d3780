"""Disc images with CUE sheets next to them: the tracks of each as parts of the file."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from musicreclass.data.audio import decoding
from musicreclass.data.audio.cue import (
    FRAMES_PER_SECOND,
    MAX_BYTES,
    CueError,
    CueFile,
    CueSheet,
    decode_sheet,
    parse_sheet,
)
from musicreclass.data.audio.header import BadAudioError
from musicreclass.data.audio.suffixes import CONVERTED
from musicreclass.plurals import counted
from musicreclass.storage.file_parts import part_path
from musicreclass.storage.regular import read_regular

SUFFIX = ".cue"


@dataclass(frozen=True)
class DiscTrack:
    """A track of a disc.

    Attributes:
        path: the part of the image, or the file that is the track.
        number: of the track.
        title, artist, album: as the sheet states them; empty if it does not.
        start, end: in seconds; None for a file that is the track.
    """

    path: Path
    number: int
    title: str
    artist: str
    album: str
    start: float | None = None
    end: float | None = None

    def as_row(self) -> dict[str, Any]:
        """The columns of a table of labels."""
        names = ("title", "artist", "album", "start", "end")
        return {"track": self.number, **{name: getattr(self, name) for name in names}}


@dataclass
class Discs:
    """What CUE sheets say of recordings.

    Attributes:
        parts: the tracks of each image.
        tracks: what is known of a recording, by the path of a part or of a file that is one track.
        sheets: the sheets.
        named: the files of each sheet that can be used.
        folders: those whose sheets were read.
        notes: sheets that cannot be used, one line each.
    """

    parts: dict[Path, list[Path]] = field(default_factory=dict)
    tracks: dict[Path, DiscTrack] = field(default_factory=dict)
    sheets: list[Path] = field(default_factory=list)
    named: dict[Path, list[Path]] = field(default_factory=dict)
    folders: set[Path] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def add(self, folder: Path, files: Sequence[Path]) -> list[Path]:
        """Read the sheets in a folder.

        Args:
            folder: where the recordings are.
            files: the recordings in it; a sheet concerns no other file.

        Returns:
            the recordings, with the tracks of an image in its place.
        """
        sheets = sheets_in(folder) if files and folder not in self.folders else []
        self.folders.add(folder)
        for sheet in sheets:
            self.sheets.append(sheet)
            try:
                self._add_sheet(sheet, files)
            except CueError as error:
                self.notes.append(f"{sheet}: the CUE sheet was ignored ({error}); an image is one recording then")
        return [part for file in files for part in self.parts.get(file, [file])]

    def artists(self) -> dict[Path, str]:
        """The artists that sheets state, by recording."""
        return {path: track.artist for path, track in self.tracks.items() if track.artist}

    def albums(self, paths: Sequence[Path], root: Path) -> dict[str, list[str | None]]:
        """The column `album` of recordings below a folder: the image of a part; no column if there are no parts."""
        images = {part: image.relative_to(root).as_posix() for image, parts in self.parts.items() for part in parts}
        return {"album": [images.get(path) for path in paths]} if images else {}

    def summary(self) -> list[str]:
        """What the sheets gave, and which cannot be used, a line each."""
        n_parts = sum(map(len, self.parts.values()))
        line = f"{counted(n_parts, 'track')} of {counted(len(self.parts), 'disc image with a CUE sheet', 'disc images with CUE sheets')}"
        return [*([line] if self.parts else []), *self.notes]

    def _add_sheet(self, path: Path, files: Sequence[Path]) -> None:
        try:
            content = read_regular(path, MAX_BYTES)
        except (OSError, ValueError) as error:
            raise CueError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
        sheet = parse_sheet(decode_sheet(content))
        named = [(part, matching(part.name, files)) for part in sheet.files if part.tracks]
        tracks = {file: tracks_of(sheet, part, file) for part, file in named}
        self.named[path] = list(tracks)
        for file, several in tracks.items():
            if several and file not in self.parts and file not in self.tracks:
                if several[0].start is not None:
                    self.parts[file] = [track.path for track in several]
                self.tracks |= {track.path: track for track in several}


def sheets_in(folder: Path) -> list[Path]:
    """The CUE sheets in a folder, sorted."""
    try:
        return sorted(f for f in folder.iterdir() if f.suffix.lower() == SUFFIX and not f.name.startswith("."))
    except OSError:
        return []


def matching(name: str, files: Iterable[Path]) -> Path:
    """The recording that a FILE command names; it may have another suffix now, if it is the only one of this stem.

    Raises:
        CueError: if it names a path, or no recording, or several have its stem.
    """
    if "/" in name or "\\" in name or name in ("", ".", "..") or not name.isprintable():
        raise CueError(f"FILE {name!r:.80} is no name of a file in its folder")
    by_name = {normal(file.name): file for file in files}
    if (file := by_name.get(normal(name))) is not None:
        return file
    stem = normal(Path(name).stem)
    same_stem = [file for file in by_name.values() if normal(file.stem) == stem]
    if len(same_stem) != 1:
        reason = (
            f"{counted(len(same_stem), 'file has', 'files have')} this name with another ending"
            if same_stem
            else "does not exist"
        )
        raise CueError(f"FILE {name!r:.80}: {reason}")
    return same_stem[0]


def normal(name: str) -> str:
    """A file's name without case, in one Unicode form."""
    return unicodedata.normalize("NFC", name).casefold()


def tracks_of(sheet: CueSheet, part: CueFile, file: Path) -> list[DiscTrack]:
    """The audio tracks of a file; the file itself if it is a single track.

    Raises:
        CueError: if a track starts after its end, or ffmpeg must convert the image, which would be done for each track.
    """
    if len(part.tracks) == 1:
        (track,) = part.tracks
        return [DiscTrack(file, track.number, track.title, track.performer or sheet.performer, sheet.title)]
    if file.suffix.lower() in CONVERTED:
        raise CueError(f"{file.suffix} images are not supported; convert {file.name} to FLAC")
    try:
        length = decoding.probe(file, 1_000_000) / 1_000_000
    except BadAudioError:
        return []  # reported when the file is used
    starts = [(track.start or 0) / FRAMES_PER_SECOND for track in part.tracks]
    late = [track.number for track, start in zip(part.tracks, starts, strict=True) if start >= length]
    if late:
        raise CueError(f"track {late[0]} starts after the end of {file.name}, at {length:.1f} s")
    result = []
    for track, start, end in zip(part.tracks, starts, [*starts[1:], length], strict=True):
        if track.is_audio:
            path, artist = part_path(file, start, end), track.performer or sheet.performer
            result.append(
                DiscTrack(path, track.number, track.title, artist, sheet.title, round(start, 6), round(end, 6))
            )
    return result
