"""Trains a run repeatedly and fails another of its writes each time; test_resume.py runs it in a separate process.

    python -m tests.failpoints kill|full EVERY OVERRIDES ...

`kill` ends the process at the write, as SIGKILL does; `full` fails the write, as a full disk does. Every EVERYth write is tried,
then the same command again. Prints one JSON line per failure: the exit codes of both commands, and the errors of the first.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

WRITES = {"open", "os.mkdir", "os.rename", "os.link", "os.truncate"}  # audit events; they include the removal of files


class Failpoint:
    """An audit hook that counts writes below a folder, by this process and its forks, and fails one of them.

    Args:
        below: the folder.
        at: the number of the write that fails; none if negative.
        how: `kill` or `full`.
    """

    def __init__(self, below: Path, at: int, how: str) -> None:
        self.below, self.at, self.how = f"{below}/", at, how
        self.shared = memoryview(mmap.mmap(-1, 8)).cast("q")  # with forks

    @property
    def count(self) -> int:
        """How many writes there were."""
        return int(self.shared[0])

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in WRITES or not isinstance(arguments[0], (str, os.PathLike)):
            return
        if event == "open" and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        if not os.path.abspath(arguments[0]).startswith(self.below):
            return
        self.shared[0] += 1
        if self.count - 1 == self.at:
            if self.how == "kill":
                os._exit(9)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(arguments[0]))


def run_in_fork(work: Callable[[], int], output: Path) -> int:
    """Run a function in a forked process, with its output in a file; returns the exit code."""
    child = os.fork()
    if child == 0:
        out = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        code = 99
        try:
            code = work()
        finally:
            sys.stdout.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def train(overrides: list[str], at: int, how: str, count: Path | None = None) -> int:
    from musicreclass.cli import main as cli

    failpoint = Failpoint(Path.cwd(), at, how)
    sys.addaudithook(failpoint)
    try:
        code = cli.main(["train", *overrides])
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    if count is not None:
        count.write_text(str(failpoint.count))
    return code


def main(how: str, every: int, overrides: list[str]) -> None:
    import matplotlib.pyplot
    import pytorch_lightning
    import skops.io
    import xgboost

    import musicreclass.tasks.train  # noqa: F401  (imported once, before the forks)

    del matplotlib, pytorch_lightning, skops, xgboost
    run_in_fork(lambda: train([*overrides, "run_dir=whole"], -1, how, Path("count")), Path("output"))
    writes = int(Path("count").read_text())
    for at in range(every // 2, writes, every):
        folders = [f"run_dir=r{at}", f"paths.cache=cache{at}"]
        first = run_in_fork(lambda at=at, folders=folders: train([*overrides, *folders], at, how), Path("output"))
        errors = [
            line
            for line in Path("output").read_text().splitlines()
            if line.startswith("musicreclass:") or "Traceback" in line or "Logging error" in line
        ]
        second = run_in_fork(lambda folders=folders: train([*overrides, *folders], -1, how), Path("output"))
        print(json.dumps({"at": at, "first": first, "errors": errors, "second": second, "run": f"r{at}",
                          "output": Path("output").read_text()[-600:] if second else ""}), flush=True)  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
