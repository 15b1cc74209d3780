"""Unpacks a zip or tar.gz archive of a dataset. Archives are untrusted: nothing is written outside the folder, and nothing but files."""

from __future__ import annotations

import errno
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from musicreclass.data.parallel import show_progress
from musicreclass.errors import DataError

CHUNK = 1 << 20
EXCESS = 1.5  # an archive may hold at most this many times the expected bytes
MAX_FILES = 1_000_000  # in an archive
# zipfile raises NotImplementedError for unknown compression, RuntimeError for encryption, ValueError for names that are no text
DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, NotImplementedError, RuntimeError,
    ValueError, IndexError,
)  # fmt: skip
DAMAGE_NUMBERS = (None, errno.EINVAL)  # of an OSError: bz2 has none, and an impossible position is invalid


class Member(NamedTuple):
    """A file in an archive: its path inside, and its content."""

    path: PurePosixPath
    content: IO[bytes]


def unpack(archive: Path, folder: Path, size: int) -> None:
    """Unpack an archive into an empty folder; files that macOS adds (`__MACOSX`, `._x`, `.DS_Store`) are skipped.

    Args:
        archive: a `.zip` or `.tar.gz` file.
        folder: exists.
        size: the approximate number of bytes of all files.

    Raises:
        DataError: if the archive is damaged, has more bytes than expected, has a member that is no regular file or would be written
            outside the folder, or if the disk is full. What was unpacked before remains in the folder.
    """
    members = zip_members if zipfile.is_zipfile(archive) else tar_members
    written = 0
    try:
        with show_progress(f"unpacking {archive.name}", size, "B") as advance:
            for number, member in enumerate(members(archive)):
                if number >= MAX_FILES:
                    raise _rejected(archive, f"it has more than {MAX_FILES:,} files")
                if is_clutter(member.path):
                    continue
                target = folder / member.path
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as file:
                    while chunk := member.content.read(CHUNK):
                        written += len(chunk)
                        if written > EXCESS * size:
                            raise _rejected(archive, f"it has more than {EXCESS * size / 1e9:.2f} GB of content")
                        file.write(chunk)
                        advance(len(chunk))
    except DAMAGE as error:
        raise _damaged(archive, error) from error
    except (FileExistsError, NotADirectoryError) as error:
        raise _rejected(archive, f"it has {member.path} twice, or a file where a folder must be") from error
    except OSError as error:
        if error.errno in DAMAGE_NUMBERS:
            raise _damaged(archive, error) from error
        if error.errno == errno.ENOSPC:
            line = f"{folder}: the disk is full; unpacking {archive.name} takes {size / 1e9:.1f} GB"
            raise DataError(line, "no_space", folder) from error
        raise DataError(f"{archive}: cannot be unpacked into {folder} ({error})", "unwritable", archive) from error


def zip_members(archive: Path) -> Iterator[Member]:
    """The files of a zip archive."""
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.is_dir():
                continue
            if kind not in (0, stat.S_IFREG):
                raise _rejected(archive, f"{info.filename!r} is a link or a device")
            with opened.open(info) as content:
                yield Member(safe_path(archive, info.filename), content)


def tar_members(archive: Path) -> Iterator[Member]:
    """The files of a tar archive, compressed or not, read from start to end."""
    with tarfile.open(archive, "r|*") as opened:
        for info in opened:
            if info.isdir():
                continue
            content = opened.extractfile(info) if info.isreg() else None
            if content is None:
                raise _rejected(archive, f"{info.name!r} is a link or a device")
            with content:
                yield Member(safe_path(archive, info.name), content)


def safe_path(archive: Path, name: str) -> PurePosixPath:
    """The path of a member, relative and without `..`.

    Raises:
        DataError: if it could leave the folder that it is unpacked into.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or set(name) & {"\\", ":", "\0"}:
        raise _rejected(archive, f"{name!r} is no path below the archive's folder")
    return path


def is_clutter(path: PurePosixPath) -> bool:
    """Whether a file is one that macOS adds to archives."""
    return "__MACOSX" in path.parts or path.name.startswith("._") or path.name == ".DS_Store"


def _rejected(archive: Path, reason: str) -> DataError:
    return DataError(f"{archive}: rejected: {reason}; nothing was installed", "unsafe_archive", archive)


def _damaged(archive: Path, error: Exception) -> DataError:
    line = f"{archive}: damaged, or not a zip or tar.gz archive ({error}); delete it and download it again"
    return DataError(line, "damaged_file", archive)
