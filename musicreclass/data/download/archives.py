"""Installs the archives of a published dataset: downloads what is missing, verifies, unpacks, and puts the folder in place."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from musicreclass.config.settings.download import ArchiveSettings, DownloadSettings
from musicreclass.data.download.transfer import download, has_checksum
from musicreclass.data.download.unpack import unpack
from musicreclass.errors import DataError
from musicreclass.storage.atomic import remove
from musicreclass.storage.locks import locked

GB = 10**9


def install(
    name: str, base: Path, settings: DownloadSettings, is_missing: Callable[[], bool] = lambda: True
) -> Iterator[str]:
    """Install one archive of a dataset; an archive that was downloaded by hand is used.

    Args:
        name: a key of `download.archives`.
        base: the dataset's folder, which is created.
        settings: where archives come from.
        is_missing: whether the dataset does not exist; called when no other process is installing it.

    Yields:
        a line about each step.

    Raises:
        DataError: if it cannot be downloaded, is damaged or unsafe, or if there is not enough space. What exists is not changed.
    """
    archive = settings.archives.by_name()[name]
    folder = base / archive.folder
    target = folder / archive.contains
    if not settings.enabled and local_archive(archive, base) is None and is_missing():
        line = f"{target}: does not exist, and download.enabled=false; get {archive.file} from {archive.page}"
        raise DataError(f"{line} and put it into {folder}", "download_disabled", name, archive.page)
    with _writing(folder), locked(folder / ".download.lock"):
        if not is_missing():
            return
        if target.exists() and any(target.iterdir()):
            line = f"{target}: exists but is not usable as {name}; move it away to download {name} again"
            raise DataError(line, "incomplete_dataset", target)
        local = local_archive(archive, base)
        path = local or folder / archive.file
        check_space(folder, name, archive, path)
        if local is None:
            download(archive.urls, path, archive.checksums, archive.bytes, settings.attempts, settings.timeout)
            yield f"downloaded: {path}"
        elif not has_checksum(path, archive.checksums):
            line = f"{path}: does not have the checksum {archive.checksums[0]}; it is incomplete or damaged: download it again"
            raise DataError(line, "wrong_checksum", path, archive.checksums)
        unpack_into_place(path, target, archive)
        yield f"unpacked: {target}"
        if local is None and not settings.keep_archives:
            path.unlink()


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Make a folder to write into.

    Raises:
        DataError: if it, or a file in it, cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        line = f"{error.filename or folder}: cannot be written ({error.strerror}); set data.root to a folder that can"
        raise DataError(line, "unwritable", folder) from error


def local_archive(archive: ArchiveSettings, base: Path) -> Path | None:
    """The archive's file where a person may have put it, or None."""
    places = (base / archive.folder, base, base / archive.folder / archive.contains)
    return next((path for folder in places if (path := folder / archive.file).is_file()), None)


def check_space(folder: Path, name: str, archive: ArchiveSettings, path: Path) -> None:
    """Make sure that the disk has room for what is still to be downloaded and unpacked.

    Raises:
        DataError: if it has not.
    """
    part = path.with_name(f"{path.name}.part")
    downloaded = sum(file.stat().st_size for file in (path, part) if file.exists())
    needed = max(archive.bytes - downloaded, 0) + archive.unpacked_bytes
    free = shutil.disk_usage(folder).free
    if free < needed:
        line = f"{folder}: {name} needs {needed / GB:.1f} GB (archive and content), and {free / GB:.1f} GB are free"
        raise DataError(f"{line}; set data.root to a folder on another disk", "no_space", folder, needed)


def unpack_into_place(path: Path, target: Path, archive: ArchiveSettings) -> None:
    """Unpack beside the target and rename, so that an interrupted call leaves no incomplete dataset.

    Raises:
        DataError: if the archive cannot be unpacked, or lacks the folder.
    """
    scratch = target.with_name(f".{target.name}.unpacking")
    remove(scratch)
    scratch.mkdir()
    try:
        unpack(path, scratch, archive.unpacked_bytes)
        inside = scratch / (archive.inside or archive.contains)
        if not inside.is_dir():
            line = f"{path}: contains no folder {inside.name}; it is not the expected archive"
            raise DataError(line, "unknown_layout", path)
        remove(target)  # empty
        inside.rename(target)
    finally:
        remove(scratch)
