"""Commands in forked processes, with limits on time and memory: a hang or a crash fails one case and not the session.

The parent must not compute: OpenMP's threads do not survive a fork.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SECONDS = 60  # an idle machine needs less than 10; other tests may be running
MEMORY = 4 << 30  # bytes


@dataclass(frozen=True)
class Ended:
    """How a command ended; `code` is negative if a signal ended it."""

    code: int
    out: str
    err: str


def fork(work: Callable[[], int], folder: Path) -> Ended:
    """Call a function in a forked process, in a working directory.

    Raises:
        AssertionError: if it takes more time or memory than allowed.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pid = os.fork()
        if not pid:
            code = 99
            try:
                os.chdir(folder)
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
                code = work()
            except SystemExit as leaving:
                code = int(leaving.code or 0)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        status = watch(pid)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
        return Ended(os.waitstatus_to_exitcode(status), *texts)


def watch(pid: int) -> int:
    """Wait for a process; it is killed if it exceeds a limit."""
    end = time.monotonic() + SECONDS
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        if time.monotonic() > end or pages * os.sysconf("SC_PAGE_SIZE") > MEMORY:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise AssertionError("a hang" if time.monotonic() > end else "too much memory")
        time.sleep(0.02)
