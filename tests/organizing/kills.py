"""Runs a task in forked processes and fails one of its changes of files each time: a kill, or an error such as a full disk."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.failpoints import run_in_fork

CHANGES = {"open", "os.mkdir", "os.rename", "os.link", "os.symlink", "os.remove", "os.rmdir", "os.truncate", "os.utime", "os.chmod"}  # fmt: skip
KILLED = 9


class Failpoint:
    """An audit hook that counts changes below a folder, and fails one of them.

    Args:
        below: the folder.
        at: the number of the change; none if negative.
        how: `kill`, or the number of an error.
    """

    def __init__(self, below: Path, at: int, how: str | int) -> None:
        self.below, self.at, self.how, self.count = f"{below}/", at, how, 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        path = arguments[1 if event == "os.symlink" else 0] if event in CHANGES else None
        if not isinstance(path, (str, os.PathLike)):
            return
        if event == "open" and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        if not os.path.abspath(path).startswith(self.below):
            return
        self.count += 1
        if self.count - 1 == self.at:
            if self.how == "kill":
                os._exit(KILLED)
            raise OSError(self.how, os.strerror(int(self.how)), os.fspath(path))


def number_of_changes(work: Callable[[], object], below: Path) -> int:
    """How many changes a task makes."""
    output = below.parent / "count"

    def count() -> int:
        failpoint = Failpoint(below, -1, "kill")
        sys.addaudithook(failpoint)
        work()
        output.write_text(str(failpoint.count))
        return 0

    assert run_in_fork(count, below.parent / "output") == 0, (below.parent / "output").read_text()
    return int(output.read_text())


def interrupted(work: Callable[[], object], below: Path, at: int, how: str | int) -> int:
    """Run a task whose change number `at` fails; returns the exit code."""

    def fail() -> int:
        sys.addaudithook(Failpoint(below, at, how))
        try:
            work()
        except Exception as error:
            print(repr(error))
            return 2
        return 0

    return run_in_fork(fail, below.parent / "output")


FULL = errno.ENOSPC
