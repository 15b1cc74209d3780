"""Trains a run again and again, each time brought down at another of its writes; run by test_resume.py in a process of its own.

    python -m tests.failpoints kill|full EVERY WORDS ...

`kill` ends the process at the write, as SIGKILL does; `full` fails the write, as a full disk does. Every EVERYth write is tried,
then the same command again. Prints one JSON line per point: what the first command answered, what the second did.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

WRITES = {"open", "os.mkdir", "os.rename", "os.link", "os.truncate"}  # audit events; also the removal of what is there


class Failpoint:
    """An audit hook that counts writes below a folder, and fails one of them.

    Args:
        below: the folder.
        at: the number of the write that fails; none if negative.
        how: `kill` or `full`.
    """

    def __init__(self, below: Path, at: int, how: str) -> None:
        self.below, self.at, self.how, self.count = f"{below}/", at, how, 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in WRITES or not isinstance(arguments[0], (str, os.PathLike)):
            return
        if event == "open" and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        if not os.path.abspath(arguments[0]).startswith(self.below):
            return
        self.count += 1
        if self.count - 1 == self.at:
            if self.how == "kill":
                os._exit(9)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(arguments[0]))


def in_a_fork(work: Callable[[], int], told: Path) -> int:
    """Do it in a forked process, what it prints going to a file; returns its exit code."""
    child = os.fork()
    if child == 0:
        out = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        code = 99
        try:
            code = work()
        finally:
            sys.stdout.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def train(words: list[str], at: int, how: str, count: Path | None = None) -> int:
    from musicreclass.cli import main as cli

    failpoint = Failpoint(Path.cwd(), at, how)
    sys.addaudithook(failpoint)
    try:
        code = cli.main(["train", *words])
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    if count is not None:
        count.write_text(str(failpoint.count))
    return code


def main(how: str, every: int, words: list[str]) -> None:
    import matplotlib.pyplot
    import pytorch_lightning
    import skops.io
    import xgboost

    import musicreclass.tasks.train  # noqa: F401  (all this once, ahead of the forks)

    del matplotlib, pytorch_lightning, skops, xgboost
    in_a_fork(lambda: train([*words, "run_dir=whole"], -1, how, Path("count")), Path("told"))
    whole = int(Path("count").read_text())
    for at in range(every // 2, whole, every):
        place = [f"run_dir=r{at}", f"paths.cache=cache{at}"]
        first = in_a_fork(lambda at=at, place=place: train([*words, *place], at, how), Path("told"))
        said = [
            line
            for line in Path("told").read_text().splitlines()
            if line.startswith("musicreclass:") or "Traceback" in line
        ]
        second = in_a_fork(lambda place=place: train([*words, *place], -1, how), Path("told"))
        print(json.dumps({"at": at, "first": first, "said": said, "second": second, "run": f"r{at}",
                          "told": Path("told").read_text()[-600:] if second else ""}), flush=True)  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
