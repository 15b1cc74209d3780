"""The store: one build for any number of processes, and never half an entry, whenever a build is killed."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from musicreclass.errors import DataError
from musicreclass.storage.store import Store, file_digest
from tests.conftest import settle, wait_until

KEY = {"content": "abc", "version": 1}


def write_pieces(folder: Path, pieces: int = 5, stop_at: int | None = None, log: list[int] | None = None) -> None:
    """A build in pieces, each written atomically, that continues from the pieces that exist."""
    for i in range(pieces):
        if i == stop_at:
            raise KeyboardInterrupt
        piece = folder / f"{i}.npy"
        if not piece.exists():
            if log is not None:
                log.append(i)
            np.save(folder / "scratch.npy", np.full(1000, i))
            (folder / "scratch.npy").rename(piece)


def test_an_entry_is_built_once(tmp_path):
    store, built = Store(tmp_path / "cache"), []
    for _ in range(3):
        entry = store.entry("pieces", KEY, lambda f: write_pieces(f, log=built))
    assert built == [0, 1, 2, 3, 4]
    assert sorted(p.name for p in entry.iterdir()) == ["0.npy", "1.npy", "2.npy", "3.npy", "4.npy", "entry.json"]
    other = store.entry("pieces", {**KEY, "version": 2}, write_pieces)
    assert other != entry
    assert [p.name for p in entry.parent.iterdir() if p.name.endswith((".lock", ".part"))] == []


@pytest.mark.parametrize("stop_at", range(5))
def test_an_interrupted_build_continues_where_it_stopped(tmp_path, stop_at):
    store, built = Store(tmp_path), []
    with pytest.raises(KeyboardInterrupt):
        store.entry("pieces", KEY, lambda f: write_pieces(f, stop_at=stop_at, log=built))
    assert built == list(range(stop_at))
    assert not [p for p in (tmp_path / "pieces").iterdir() if p.is_dir() and not p.name.endswith(".part")]
    entry = store.entry("pieces", KEY, lambda f: write_pieces(f, log=built))
    assert built == [0, 1, 2, 3, 4]
    assert [int(np.load(entry / f"{i}.npy")[0]) for i in range(5)] == [0, 1, 2, 3, 4]


def test_a_resumed_build_removes_the_scratch_files_of_a_killed_one(tmp_path):
    def killed(folder):
        (folder / "clips").mkdir()
        (folder / "clips" / ".0.wav.4711.part").write_bytes(b"half")
        raise KeyboardInterrupt

    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        store.entry("pieces", KEY, killed)
    entry = store.entry("pieces", KEY, write_pieces)
    assert not list(entry.rglob(".*"))


@pytest.mark.parametrize("point", ["write", "rename", "entry.json"])
def test_a_crash_at_any_step_leaves_all_or_nothing(tmp_path, monkeypatch, point):
    store = Store(tmp_path)

    class Crash(BaseException):
        pass

    def crash(*args, **kwargs):
        raise Crash

    build = crash if point == "write" else lambda f: (f / "a").write_text("whole")
    with monkeypatch.context() as broken:
        if point == "rename":
            broken.setattr(Path, "rename", crash)
        if point == "entry.json":
            broken.setattr("musicreclass.storage.store.write_json", crash)
        with pytest.raises(Crash):
            store.entry("k", KEY, build)
    entry = store.entry("k", KEY, lambda f: (f / "a").write_text("whole"))
    assert (entry / "a").read_text() == "whole"


def test_a_damaged_entry_is_built_again(tmp_path):
    store = Store(tmp_path)
    entry = store.entry("pieces", KEY, write_pieces)
    (entry / "3.npy").write_bytes(b"cut")
    assert store.entry("pieces", KEY, write_pieces) == entry
    assert int(np.load(entry / "3.npy")[0]) == 3
    (entry / "entry.json").write_text("{")
    store.entry("pieces", KEY, write_pieces)
    assert json.loads((entry / "entry.json").read_text())["key"] == KEY


def test_a_full_disk_is_reported_and_leaves_nothing(tmp_path):
    def full(folder: Path) -> None:
        (folder / "a").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DataError, match=r"30 MiB.*paths\.cache=DIR") as caught:
        Store(tmp_path).entry("tables", KEY, full, mib=30)
    assert (caught.value.kind, caught.value.key) == ("no_space", str(tmp_path))
    assert list((tmp_path / "tables").iterdir()) == []


def test_a_store_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"paths\.cache=DIR") as caught:
        Store(tmp_path / "file").entry("k", KEY, write_pieces)
    assert caught.value.kind == "unwritable"
    assert caught.value.key.startswith(str(tmp_path / "file"))


BUILD = """
    import sys, time
    from pathlib import Path
    import numpy as np
    from musicreclass.storage.store import Store

    def build(folder):
        with (Path(sys.argv[1]) / "builds.txt").open("a") as f:
            f.write("x")
        for i in range(20):
            part = folder / f"{i}.npy"
            if not part.exists():
                np.save(folder / "scratch.npy", np.full((1 << 20) * 10 // 4 // int(sys.argv[2]), i, np.float32))
                (folder / "scratch.npy").rename(part)

    entry = Store(Path(sys.argv[1])).entry("big", {"k": 1}, build)
    print(sum(float(np.load(entry / f"{i}.npy").mean()) for i in range(20)))
"""


def start(folder: Path, shrink: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(BUILD), str(folder), str(shrink)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_eight_processes_at_once_make_one_build_of_200_mib(tmp_path):
    processes = [start(tmp_path, 1) for _ in range(8)]
    outputs = [p.communicate(timeout=600) for p in processes]
    assert [float(out) for out, _ in outputs] == [190.0] * 8, [err for _, err in outputs]
    assert (tmp_path / "builds.txt").read_text() == "x"
    (entry,) = [p for p in (tmp_path / "big").iterdir() if p.is_dir()]
    assert sum(f.stat().st_size for f in entry.glob("*.npy")) > 200 * 2**20


def test_a_killed_builder_is_replaced(tmp_path):
    """Three builders are killed while building; the fourth continues, and the content is right."""
    for delay in (0.0, 0.05, 0.15):
        process = start(tmp_path, 8)
        wait_until((tmp_path / "builds.txt").exists)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
    out, err = start(tmp_path, 8).communicate(timeout=600)
    assert float(out) == 190.0, err


def test_a_digest_is_remembered_until_the_file_changes(tmp_path, monkeypatch):
    store, file = Store(tmp_path / "s"), tmp_path / "a.csv"
    file.write_text("1,2")
    settle(file)
    first = file_digest(file, store)
    opened = []
    original = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *a, **k: opened.append(self) or original(self, *a, **k))
    assert file_digest(file, store) == first
    assert file not in opened
    file.write_text("1,3")
    os.utime(file, ns=(1, 1))
    assert file_digest(file, store) != first
