"""Kills, full disks and targets that vanish: no file is lost or damaged, and the next start completes or undoes."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from musicreclass.errors import DataError
from musicreclass.library import transfer
from musicreclass.library.journal import Journal
from musicreclass.library.journal_rules import NAME
from musicreclass.tasks.organize import undo_organize
from tests.conftest import powerless, wait_until
from tests.organizing.kills import FULL, KILLED, interrupted, number_of_changes
from tests.organizing.tree import contents, names, snapshot, sort_into, write_table

MODES = ["link", "copy", "move", "move between file systems"]
REAL_LINK = os.link


def link_within_a_folder(source: Path, target: Path, **options: bool) -> None:
    """`os.link`, as if every folder were a file system."""
    if Path(source).parent != Path(target).parent:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    REAL_LINK(source, target, **options)


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A mode; moves are tried within a file system and between two."""
    if request.param == MODES[-1]:
        monkeypatch.setattr(transfer.os, "link", link_within_a_folder)
    return request.param.partition(" ")[0]


def library(base: Path) -> Path:
    """A new library with a table next to it."""
    shutil.rmtree(base, ignore_errors=True)
    genres = {}
    for i, name in enumerate(["a/song.wav", "b/song.wav", "b/晴天.flac"]):
        path = base / "music" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % i * 5000)
        path.chmod(0o640)
        os.utime(path, ns=(10**18, 10**18 + i))
        genres[path] = ["Rock", "Rock", "Jazz"][i]
    (base / "music/a/song.lrc").write_text("la la")
    os.utime(base / "music/a/song.lrc", ns=(10**18, 10**18))
    return write_table(base / "g.csv", genres)


def check_every(base: Path, mode: str, how: str | int, stride: int) -> None:
    """Fail every `stride`th change of a run; then the same command completes it, or an undo restores the library."""
    table = library(base)
    music, root = base / "music", base / "out"

    def work() -> None:
        sort_into(table, mode, root)

    before, original = contents(base), snapshot(music)
    changes = number_of_changes(work, base)
    assert changes > 8
    complete = (snapshot(music), without_journal(root))
    assert names(root) == ["Jazz/晴天.flac", "Rock/song (2).wav", "Rock/song.lrc", "Rock/song.wav"]
    for at in range(0, changes, stride):
        for recover in ("run", "undo"):
            library(base)
            code = interrupted(work, base, at, how)
            assert code == (KILLED if how == "kill" else code)
            after = contents(base)
            if mode != "copy":
                assert after.keys() == before.keys(), at
            assert not before - after, at
            if recover == "run":
                work()
                assert (snapshot(music), without_journal(root)) == complete, at
            if (root / NAME).exists():
                assert undo_organize(root=root).left == [], at
            assert snapshot(music) == original, at
            assert not root.exists() or list(root.iterdir()) == [], at


def without_journal(root: Path) -> dict[str, object]:
    return {name: value for name, value in snapshot(root).items() if name != NAME}


@pytest.mark.parametrize("how", ["kill", FULL])
def test_some_steps_may_fail(tmp_path, mode, how):
    check_every(tmp_path / "base", mode, how, stride=9)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill", FULL, errno.EIO])
def test_every_step_may_fail(tmp_path, mode, how):
    check_every(tmp_path / "base", mode, how, stride=1)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill", FULL])
def test_every_step_of_an_undo_may_fail(tmp_path, mode, how):
    base = tmp_path / "base"
    table = library(base)
    original = snapshot(base / "music")
    sort_into(table, mode, base / "out")
    changes = number_of_changes(lambda: undo_organize(root=base / "out"), base)
    for at in range(changes):
        library(base)
        before = contents(base)
        sort_into(table, mode, base / "out")
        interrupted(lambda: undo_organize(root=base / "out"), base, at, how)
        assert not before - contents(base), at
        if (base / "out" / NAME).exists():
            assert undo_organize(root=base / "out").left == [], at
        assert snapshot(base / "music") == original, at
        assert not (base / "out").exists() or list((base / "out").iterdir()) == [], at


def test_a_line_of_the_journal_may_be_cut_short(tmp_path, mode):
    base = tmp_path / "base"
    table = library(base)
    sort_into(table, mode, base / "out")
    complete = snapshot(base / "out")
    content = (base / "out" / NAME).read_bytes()
    last = content.rindex(b"\n", 0, -1) + 1
    for end in (last + 1, last + 10, len(content) - 1):
        (base / "out" / NAME).write_bytes(content[:end])
        assert sort_into(table, mode, base / "out").changed == 0
        assert without_journal(base / "out") == {k: v for k, v in complete.items() if k != NAME}
    assert undo_organize(root=base / "out").left == []


def test_a_damaged_journal_is_an_error(tmp_path):
    table = library(tmp_path / "base")
    root = tmp_path / "base/out"
    sort_into(table, "move", root)
    tree = without_journal(root)
    content = (root / NAME).read_bytes()
    for damaged in (content.replace(b'"action"', b'"axtion"', 1), b"[]\n" + content, b"\0" * 40 + b"\n" + content):
        (root / NAME).write_bytes(damaged)
        for work in (lambda: sort_into(table, "move", root), lambda: undo_organize(root=root)):
            with pytest.raises(DataError) as caught:
                work()
            assert caught.value.kind == "damaged_file"
        assert without_journal(root) == tree


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=False)


@pytest.mark.parametrize("mode", ["copy", "move"])
def test_a_full_disk(tmp_path, small_disk, mode, monkeypatch):
    songs = {}
    for i in range(4):
        path = tmp_path / "music" / f"{i}.wav"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.urandom(400_000))
        songs[path] = "Rock"
    before, original = contents(tmp_path), snapshot(tmp_path / "music")
    table, root = write_table(tmp_path / "g.csv", songs), small_disk / "out"
    before += contents(tmp_path) - before
    with pytest.raises(DataError) as caught:
        sort_into(table, mode, root)
    assert caught.value.kind == "no_space"
    assert names(root) == []  # it was known before the first file
    monkeypatch.setattr("musicreclass.tasks.organize.raise_if_no_room", lambda plan, root: None)
    with pytest.raises(DataError) as caught:
        sort_into(table, mode, root)
    assert caught.value.kind == "no_space"
    assert names(root) == ["Rock/0.wav", "Rock/1.wav"]
    assert not before - contents(tmp_path)
    subprocess.run(["mount", "-o", "remount,size=9m", str(small_disk)], check=True)
    assert sort_into(table, mode, root).changed == 2
    assert len(names(root)) == 4
    assert undo_organize(root=root).left == []
    assert snapshot(tmp_path / "music") == original


@pytest.mark.parametrize("mode", ["link", "copy", "move"])
def test_a_target_that_vanishes(tmp_path, mode, monkeypatch):
    """After the first file the target folder is moved away, and an empty one is at its path, as when a disk is pulled out."""
    base = tmp_path / "base"
    table = library(base)
    root, before = base / "out", contents(base)
    real = Journal.record

    def record(journal, step, state, *arguments, **options):
        real(journal, step, state, *arguments, **options)
        if step.action == mode and root.exists() and state == "done":
            root.rename(base / "pulled")
            root.mkdir()

    monkeypatch.setattr(Journal, "record", record)
    with pytest.raises(DataError) as caught:
        sort_into(table, mode, root)
    assert caught.value.kind == "unwritable"
    assert not before - contents(base)
    monkeypatch.undo()
    assert list(root.iterdir()) == []
    root.rmdir()
    (base / "pulled").rename(root)
    sort_into(table, mode, root)
    assert len(names(root)) == 4
    assert undo_organize(root=root).left == []


def test_a_file_that_vanishes_or_changes_meanwhile_is_skipped(tmp_path, monkeypatch):
    base = tmp_path / "base"
    table = library(base)
    from musicreclass.library import carry_out

    real = carry_out.perform

    def perform(step, journal, plan):
        if step.source.name == "song.wav" and step.source.parent.name == "a":
            (base / "music/b/song.wav").unlink()
            (base / "music/b/晴天.flac").write_bytes(b"another")
        return real(step, journal, plan)

    monkeypatch.setattr(carry_out, "perform", perform)
    result = sort_into(table, "move", base / "out")
    assert {path.name for path, _ in result.plan.skipped} == {"song.wav", "晴天.flac"}
    assert (base / "music/b/晴天.flac").read_bytes() == b"another"
    assert names(base / "out") == ["Rock/song.lrc", "Rock/song.wav"]


def test_a_source_that_changes_while_it_is_copied_is_kept(tmp_path, monkeypatch):
    base = tmp_path / "base"
    table = library(base)
    monkeypatch.setattr(transfer.os, "link", link_within_a_folder)

    def copy(source, scratch):
        sha256 = original(source, scratch)
        if source.name == "晴天.flac":
            source.write_bytes(b"written meanwhile")
        return sha256

    original = transfer.copy_verified
    monkeypatch.setattr(transfer, "copy_verified", copy)
    result = sort_into(table, "move", base / "out")
    assert (base / "music/b/晴天.flac").read_bytes() == b"written meanwhile"
    assert [path.name for path, _ in result.plan.skipped] == ["晴天.flac"]
    assert names(base / "out") == ["Rock/song (2).wav", "Rock/song.lrc", "Rock/song.wav"]


@pytest.mark.parametrize("mode", ["copy", "move"])
def test_a_copy_that_the_disk_damages_is_not_used(tmp_path, mode, monkeypatch):
    base = tmp_path / "base"
    table = library(base)
    before = snapshot(base / "music")
    monkeypatch.setattr(transfer.os, "link", link_within_a_folder)
    real = transfer.digest
    monkeypatch.setattr(transfer, "digest", lambda path, fresh=False: "damaged" if fresh else real(path))
    result = sort_into(table, mode, base / "out")
    assert result.changed == 0
    assert len(result.plan.skipped) == 4
    assert snapshot(base / "music") == before
    assert names(base / "out") == []


def test_read_only_folders(tmp_path):
    base = tmp_path / "base"
    table = library(base)
    original = snapshot(base / "music")
    for path in (base / "music/a", base / "music/b"):
        path.chmod(0o555)
    result = powerless(lambda: sort_into(table, "move", base / "out"))
    assert result.changed == 0
    assert len(result.plan.skipped) == 3
    assert powerless(lambda: sort_into(table, "copy", base / "copies")).changed == 4
    assert {k: v for k, v in snapshot(base / "music").items() if "/" in k} == {
        k: v for k, v in original.items() if "/" in k
    }
    (base / "closed").mkdir(mode=0o555)
    with pytest.raises(DataError) as caught:
        powerless(lambda: sort_into(table, "copy", base / "closed"))
    assert caught.value.kind == "unwritable"


COMMAND = [sys.executable, "-m", "musicreclass", "organize"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 8, 25])
@pytest.mark.parametrize("mode", ["copy", "move"])
def test_a_killed_process_loses_nothing(tmp_path, number, mode):
    """Three kills at different times; the target is on another file system if there is one."""
    shared = Path("/dev/shm")
    apart = shared.is_dir() and shared.stat().st_dev != tmp_path.stat().st_dev and os.access(shared, os.W_OK)
    root = shared / f"organize-{os.getpid()}-{number}-{mode}" if apart else tmp_path / "out"
    songs = {}
    for i in range(40):
        path = tmp_path / "music" / f"{i:02}.wav"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.urandom(3_000_000))
        songs[path] = "Rock" if i % 2 else "Jazz"
    table = write_table(tmp_path / "g.csv", songs)
    before, original = contents(tmp_path / "music"), snapshot(tmp_path / "music")
    arguments = [*COMMAND, str(table), "--mode", mode, "--to", str(root), "--yes"]
    try:
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        journal = root / NAME
        wait_until(
            lambda: process.poll() is not None or (journal.exists() and journal.read_bytes().count(b"\n") > 2 * number)
        )
        time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not before - contents(tmp_path / "music", root)
        subprocess.run(arguments, check=True, capture_output=True)
        assert len(names(root)) == 40
        assert contents(root) == before
        subprocess.run([*COMMAND, "--undo", "--to", str(root)], check=True, capture_output=True)
        assert snapshot(tmp_path / "music") == original
        assert not root.exists()
    finally:
        shutil.rmtree(root, ignore_errors=True)
