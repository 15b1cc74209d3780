"""Reports a file or folder that the user asked for and that cannot be written, in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from musicreclass.errors import UserError
from musicreclass.storage.atomic import DISK_FULL


@contextmanager
def writing(
    target: Path, option: str = "", remedy: str = "choose another file", error: type[UserError] = UserError
) -> Iterator[None]:
    """Write a file or folder in a block; errors of the system name it, and not a scratch file.

    Args:
        target: what is written.
        option: that names it, as `--output`.
        remedy: what helps, unless the disk is full.
        error: what is raised.

    Raises:
        UserError: if it cannot be written.
    """
    try:
        yield
    except OSError as failure:
        is_full = failure.errno in DISK_FULL
        reason = failure.strerror or " ".join(str(failure).split())
        line = f"{option} {target}: cannot be written ({reason}); {'free some space' if is_full else remedy}"
        raise error(line.lstrip(), "no_space" if is_full else "unwritable", option or target, str(target)) from failure
