"""Runs the command in a process of its own and checks what every outcome must have in common."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

START = 300  # seconds for importing the libraries on a busy machine; a case may take 10 more


@dataclass
class Outcome:
    """The exit code and the text of a command, which has no control characters and no traceback."""

    code: int
    text: str


def run_process(folder: Path, *arguments: str, seconds: float = START + 10) -> Outcome:
    """Run the command in a folder, with its cache in `cache` below it; fails on a hang, a traceback or control characters."""
    environment = {
        **os.environ,
        "MUSICRECLASS_CACHE": str(folder / "cache"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    process = subprocess.run(
        [sys.executable, "-m", "musicreclass", *arguments], cwd=folder, env=environment, timeout=seconds,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    text = process.stdout.decode()
    check_text(text)
    return Outcome(process.returncode, text)


def check_text(text: str) -> None:
    """Fail if a text contains a traceback or a control character."""
    assert "Traceback" not in text, text
    assert all(c.isprintable() or c == "\n" for c in text), ascii(text)


def tree(folder: Path, but: tuple[str, ...] = ("cache", "outputs")) -> dict[str, tuple[int, int]]:
    """Size and modification time of everything below a folder, except for some of its entries."""
    entries: Iterator[Path] = (p for top in folder.iterdir() if top.name not in but for p in (top, *top.rglob("*")))
    return {str(p): (p.lstat().st_size, p.lstat().st_mtime_ns) for p in entries}
