"""Output that cannot be written, or that contains control characters, does not disturb the work that reports it."""

from __future__ import annotations

import errno
import io
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from musicreclass.data.parallel import show_progress
from musicreclass.output import SafeConsole
from musicreclass.report.progress import progress_bar
from musicreclass.storage.store import Store

ESCAPE = "\x1b[2J\x07"


class LostTerminal(io.StringIO):
    """A terminal whose other end is gone."""

    def write(self, text: str) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def flush(self) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


class ClosedPipe(LostTerminal):
    def write(self, text: str) -> int:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


@pytest.fixture(params=["file", "terminal"])
def terminal(request, monkeypatch) -> Iterator[None]:
    monkeypatch.setenv("TTY_COMPATIBLE", "1" if request.param == "terminal" else "0")


@pytest.mark.parametrize("stream", [LostTerminal(), ClosedPipe(), None])
def test_progress_that_cannot_be_written_raises_nothing(stream, terminal, monkeypatch):
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    epochs: list[int] = []
    with progress_bar(3, "epoch", lambda epoch, values: epochs.append(epoch)) as log_epoch:
        for epoch in range(3):
            log_epoch(epoch, {"valid/loss": 1.0})
            with show_progress("decoding", 3) as advance:
                advance(1)
    assert epochs == [0, 1, 2]


def test_a_full_disk_below_stderr_is_no_error_of_the_store(terminal, tmp_path, monkeypatch):
    def build(folder: Path) -> None:
        with show_progress("building", 2) as advance:
            (folder / "a").write_text("complete")
            advance(2)

    with open("/dev/full", "w") as full, monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", full)
        entry = Store(tmp_path).entry("k", {"a": 1}, build)
        assert SafeConsole(stderr=True).failure is None
        console = SafeConsole(stderr=True)
        console.print_line("text")
        assert isinstance(console.failure, OSError)
        patched.undo()
        with pytest.raises(OSError, match="No space"):
            full.close()
    assert (entry / "a").read_text() == "complete"


def test_progress_shows_no_control_characters(terminal, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with show_progress(f"decoding {ESCAPE} [red] :x:", 1):
        pass
    first = stream.getvalue().splitlines()[0]
    assert first.isprintable()
    assert first.endswith("[red] :x:")


@pytest.mark.parametrize("width", [80, 140])
def test_the_progress_bar_fits_the_terminal(width, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys, "stdout", stream)
    values = dict.fromkeys(("valid/loss", "valid/accuracy", "valid/macro_f1"), 0.1234)
    with progress_bar(1000, "epoch", lambda epoch, values: None, lambda: "CPU 30 %") as log_epoch:
        log_epoch(899, values)
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in re.split(r"[\r\n]", stream.getvalue())]
    (line,) = {line.rstrip() for line in lines if "macro-F1" in line}
    assert "900/1000" in line
    assert all(f"{name} 0.123" in line for name in ("loss", "accuracy", "macro-F1"))
    assert re.search(r"(\d|-):(\d\d|--)( |$)", line)
    assert ("CPU" in line) == (width > 100)
    assert len(line) <= width
