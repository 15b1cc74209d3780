"""The genre tag of a recording, by mutagen, which the extra `tags` installs: ID3, Vorbis comments and MP4.

mutagen's licence is GPL-2.0-or-later. It is therefore no dependency of this package, which is MIT, and only imported here.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import soundfile

from musicreclass.data.audio.c_stderr import muted_c_stderr
from musicreclass.data.audio.content import id3_size
from musicreclass.data.audio.opening import open_file
from musicreclass.errors import UserError

INSTALL = "pip install 'musicreclass[tags]'"
ID3V1_SIZE = 128
DECODED_FRAMES = 1 << 18
FORMATS = {
    "mp3": ("MP3", "EasyMP3"), "wave": ("WAVE",), "aiff": ("AIFF",), "flac": ("FLAC",), "oggvorbis": ("OggVorbis",),
    "oggopus": ("OggOpus",), "mp4": ("MP4",),
}  # fmt: skip  # modules of mutagen and their classes
MP4_GENRE = "\xa9gen"


class TagError(Exception):
    """A file has tags that cannot be changed without a risk for others; the message says why."""


def require_mutagen() -> Any:
    """The package mutagen.

    Raises:
        UserError: if it is not installed.
    """
    try:
        import mutagen
    except ImportError as error:
        line = f"--tags: needs mutagen (GPL-2.0-or-later), which is not installed; run {INSTALL}"
        raise UserError(line, "missing_package", "mutagen") from error
    return mutagen


class Tags:
    """The tags of a file.

    Args:
        path: of the file.

    Raises:
        TagError: for a format or a tag that is not supported.
    """

    def __init__(self, path: Path) -> None:
        mutagen = require_mutagen()
        self.path = path
        self.options: dict[str, Any] = {}
        try:
            detected = mutagen.File(path, options=_classes())
            if detected is None:
                raise TagError("its format has no tags that this command writes")
            kind = type(detected)
            self.kind = kind.__name__
            if self.is_id3:
                self.file = self._open_id3(kind)
            else:
                self.file = detected
        except (mutagen.MutagenError, EOFError, ValueError, KeyError, IndexError) as error:
            raise TagError(f"its tags cannot be read ({error})") from error

    @property
    def is_id3(self) -> bool:
        """Whether the tags are ID3."""
        return self.kind in ("MP3", "WAVE", "AIFF")

    def _open_id3(self, kind: Any) -> Any:
        """Open tags without converting their frames; those of ID3v2.2 become v2.3."""
        tags = kind(self.path).tags
        version = (2, 3) if tags is None else tags.version[:2]
        self.options = {"v2_version": 4 if version == (2, 4) else 3}
        if self.kind == "MP3":
            self.options["v1"] = 1  # an ID3v1 tag is kept
        file = kind(self.path, translate=version not in ((2, 3), (2, 4)))
        if version < (2, 3) and file.tags is not None:
            file.tags.update_to_v23()
        return file

    def genre(self) -> list[str]:
        """The values of the genre tag."""
        tags = self.file.tags
        if tags is None:
            return []
        if self.is_id3:
            return [str(text) for frame in tags.getall("TCON") for text in frame.text]
        return [str(text) for text in tags.get(MP4_GENRE if self.kind == "MP4" else "genre", [])]

    def others(self) -> Any:
        """All tags but the genre, pictures included, as values that can be compared."""
        tags = self.file.tags
        if self.is_id3:
            frames = {
                key: [repr(getattr(frame, spec.name, None)) for spec in frame._framespec if spec.name != "encoding"]
                for key, frame in (tags or {}).items()
                if frame.FrameID not in ("TCON", "TCO")
            }
            return {**frames, "": [] if tags is None else sorted(map(bytes, tags.unknown_frames))}
        if self.kind == "MP4":
            return {key: repr(value) for key, value in (tags or {}).items() if key != MP4_GENRE}
        pictures = [picture.write() for picture in getattr(self.file, "pictures", [])]
        return [sorted((key.lower(), value) for key, value in tags or [] if key.lower() != "genre"), pictures]

    def write_genre(self, values: list[str]) -> None:
        """Write the genre tag into the file; no values remove it.

        Raises:
            TagError: if that fails. The file may be damaged.
            OSError: if the file cannot be written.
        """
        mutagen = require_mutagen()
        ending = _id3v1(self.path) if self.kind == "MP3" else b""
        if ending and not _has_id3v2(self.path) and not ending[3:125].isascii():
            raise TagError("it has only an ID3v1 tag, with text in an unknown encoding")
        try:
            self._set(values)
            self.file.save(**self.options)
        except mutagen.MutagenError as error:
            if isinstance(error.__cause__, OSError) or (error.args and isinstance(error.args[0], OSError)):
                cause = error.__cause__ if isinstance(error.__cause__, OSError) else error.args[0]
                raise cause from error
            raise TagError(f"its tags cannot be written ({error})") from error
        if ending:
            _keep_id3v1(self.path, ending, values)

    def _set(self, values: list[str]) -> None:
        if self.file.tags is None:
            if not values:
                return
            self.file.add_tags()
        tags = self.file.tags
        if self.is_id3:
            from mutagen.id3 import TCON

            tags.delall("TCON")
            if values:
                tags.add(TCON(encoding=3 if self.options["v2_version"] == 4 else 1, text=values))
        else:
            key = MP4_GENRE if self.kind == "MP4" else "genre"
            if values:
                tags[key] = values
            elif key in tags:
                del tags[key]


def _classes() -> list[Any]:
    """The file types of mutagen that are supported."""
    from importlib import import_module

    return [getattr(import_module(f"mutagen.{module}"), names[0]) for module, names in FORMATS.items()]


def _has_id3v2(path: Path) -> bool:
    with path.open("rb") as file:
        return id3_size(file.read(10)) > 0


def _id3v1(path: Path) -> bytes:
    """The ID3v1 tag at the end of a file."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - ID3V1_SIZE))
        ending = file.read()
    return ending if ending[:3] == b"TAG" else b""


def _keep_id3v1(path: Path, before: bytes, values: list[str]) -> None:
    """Restore the other fields of an ID3v1 tag, which mutagen writes from those of ID3v2 in another encoding."""
    from mutagen.id3 import TCON

    names = [name.casefold() for name in TCON.GENRES]
    number = names.index(values[0].casefold()) if values and values[0].casefold() in names else 255
    if _id3v1(path):
        with path.open("r+b") as file:
            file.seek(-ID3V1_SIZE, 2)
            file.write(before[:-1] + bytes([number]))


def samples_digest(path: Path) -> str:
    """A digest of the decoded samples of a recording.

    Raises:
        TagError: if it cannot be decoded.
    """
    with path.open("rb") as file:
        is_mp4 = file.read(12)[4:8] == b"ftyp"
    return _ffmpeg_digest(path) if is_mp4 else _soundfile_digest(path)


def _soundfile_digest(path: Path) -> str:
    content = hashlib.md5(usedforsecurity=False)
    try:
        with muted_c_stderr(), open_file(path) as reader:
            is_float = reader.subtype not in ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "ALAW", "ULAW")
            for block in reader.blocks(DECODED_FRAMES, dtype="float64" if is_float else "int32", always_2d=True):
                content.update(block.tobytes())
            return f"{reader.samplerate} {reader.channels} {reader.tell()} {content.hexdigest()}"
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise TagError("it cannot be decoded") from error


def _ffmpeg_digest(path: Path) -> str:
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise TagError("checking that its samples stay the same needs ffmpeg, which is not installed")
    command = [ffmpeg, "-v", "error", "-xerror", "-nostdin", "-i", f"file:{path}", "-map", "0:a", "-f", "md5", "-"]
    with suppress(OSError, subprocess.TimeoutExpired):
        result = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
        if result.returncode == 0 and result.stdout.startswith("MD5="):
            return result.stdout.strip()
    raise TagError("it cannot be decoded")
