"""Writing so that a reader, or a killed process, finds the old file or the new one and nothing between."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

POINTER = b"version https://git-lfs"  # what stands in place of a large file that git has not fetched


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A scratch path beside `path`, of a file or a folder, that takes its place when the block ends well.

    A file is replaced in one step. Of a folder that was there, there is an instant in which it is gone already.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
    remove(scratch)
    try:
        yield scratch
        if path.is_dir() and not scratch.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
        if path.is_dir():
            old = path.with_name(f".{path.name}.{os.getpid()}.old")
            path.rename(old)
            scratch.rename(path)
            remove(old)
        else:
            scratch.replace(path)
    finally:
        remove(scratch)


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace a file's text in one step."""
    with replacing(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file in one step; NaN and infinity, which JSON lacks, become null."""
    write_text(path, json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """A value with nothing in it that JSON cannot hold."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return str(value)
