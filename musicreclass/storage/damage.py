"""Tells a damaged file from one that could not be read: for lack of memory, or because the drive failed."""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path

CHUNK = 1 << 20  # bytes read at once
MESSAGES = (  # of errors of torch, CUDA and XGBoost that are no MemoryError
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "alloc_failed",  # cuBLAS and cuDNN
    "nvmapmemalloc",  # Jetson
    "bad_alloc",  # C++
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory did not suffice."""
    name = type(error).__name__  # torch and XGBoost are not imported for this
    if isinstance(error, MemoryError) or name == "OutOfMemoryError":
        return True
    has_message = any(message in str(error).lower() for message in MESSAGES)
    return has_message and (isinstance(error, RuntimeError) or name == "XGBoostError")


def raise_if_not_damage(path: Path, error: Exception) -> None:
    """Raise an error of loading a file again, unless it is due to the content of the file.

    Loaders may report a failing drive as damage, so the file is read from start to end.

    Raises:
        OSError: if the file cannot be read.
        Exception: `error`, if memory did not suffice.
    """
    # EINVAL: a damaged file states an offset that does not exist
    if is_out_of_memory(error) or (isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)):
        raise error
    with suppress(FileNotFoundError), path.open("rb") as file:
        while file.read(CHUNK):
            pass


def set_aside(path: Path) -> Path:
    """Rename a damaged file, so that it is neither read again nor overwritten; returns its new path."""
    renamed = path.with_name(f"{path.name}.damaged")
    with suppress(FileNotFoundError):  # another process of this run renamed it
        path.replace(renamed)
    return renamed
