"""Replacing files atomically and durably, and removing folders completely."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from musicreclass.storage import atomic
from musicreclass.storage.atomic import SCRATCH, SyncBudget, remove, replacing, sync


def test_what_cannot_be_removed_is_an_error(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    for name in ("a", "deep/b", "c"):
        (folder / name).touch()
    unlink = os.unlink

    def refuse_b(path: str, **options: int) -> None:
        if os.path.basename(path) == "b":
            raise PermissionError(1, "Operation not permitted", path)
        unlink(path, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", refuse_b)
        with pytest.raises(PermissionError):
            remove(folder)
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["b"]
    remove(folder)
    assert not folder.exists()
    remove(folder)


def test_a_folder_that_another_process_removes_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    rmtree = shutil.rmtree

    def remove_first(path: str, **options: bool) -> None:
        if os.path.exists(path):
            rmtree(path)
        rmtree(path, **options)

    monkeypatch.setattr(shutil, "rmtree", remove_first)
    remove(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_writers_of_one_file_do_not_disturb_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 7)  # as of processes on two hosts, and of threads
    path = tmp_path / "file"
    with replacing(path) as first:
        first.write_text("first")
        with replacing(path) as second:
            assert second != first
            second.write_text("second")
        assert path.read_text() == "second"
        assert first.read_text() == "first"
    assert path.read_text() == "first"
    assert os.listdir(tmp_path) == ["file"]


def test_scratch_names_are_recognised(tmp_path):
    with replacing(tmp_path / "a.b.json") as scratch:
        scratch.touch()
        match = SCRATCH.fullmatch(scratch.name)
    assert match is not None
    assert match["name"] == "a.b.json"
    assert SCRATCH.fullmatch(".model.4711.old")["name"] == "model"  # of version 0.2
    assert SCRATCH.fullmatch(".notes.draft.part") is None


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_durable_write_reaches_the_disk_before_it_replaces_the_old_content(kind, tmp_path, monkeypatch):
    events: list[str] = []
    fsync, replace, rename = os.fsync, Path.replace, Path.rename

    def record_fsync(descriptor: int) -> None:
        events.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(Path, "replace", lambda *paths: events.append("replaced") or replace(*paths))
    monkeypatch.setattr(Path, "rename", lambda *paths: events.append("replaced") or rename(*paths))
    with replacing(tmp_path / "x", durable=True) as scratch:
        if kind == "file":
            scratch.write_text("content")
        else:
            (scratch / "deep").mkdir(parents=True)
            (scratch / "deep" / "content").touch()
            (scratch / "link").symlink_to("nowhere")
    inside = [] if kind == "file" else ["deep", "content"]
    assert sorted(events[: events.index("replaced")]) == sorted([scratch.name, *inside])
    assert events[events.index("replaced") :] == ["replaced", tmp_path.name]


def test_files_that_vanish_while_a_folder_is_flushed_are_left_out(tmp_path, monkeypatch):
    for name in ("a", "b", "c"):
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "pipe")
    open_file = os.open

    def vanish(path: Path, flags: int) -> int:
        if path.name == "b":
            path.unlink()
        return open_file(path, flags)

    monkeypatch.setattr(os, "open", vanish)
    sync(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["a", "c", "pipe"]


def test_frequent_writes_wait_for_the_disk_for_a_small_part_of_the_time(tmp_path, monkeypatch):
    clock = [0.0]
    synced: list[float] = []

    def slow_sync(path: Path) -> None:
        synced.append(clock[0])
        clock[0] += 0.02

    monkeypatch.setattr(atomic.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(atomic, "sync", slow_sync)
    for pause, expected in ((0.1, 1 / 20), (10.0, 1.0)):
        budget = SyncBudget()
        synced.clear()
        for _ in range(100):
            clock[0] += pause
            budget.sync(tmp_path)
        assert len(synced) == pytest.approx(100 * expected, abs=2)
