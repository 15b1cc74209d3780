"""Replaced files: what is remembered of a file is not used once its content may have changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from musicreclass.storage import store as store_module
from musicreclass.storage.store import Store, file_digest, file_digests, rereading, sha256
from tests.conftest import settle


def digest(file: Path, store: Store, several: bool) -> str | None:
    return file_digests([file], store)[0] if several else file_digest(file, store)


def in_place(file: Path, times: tuple[int, int]) -> None:
    file.write_bytes(file.read_bytes().replace(b"1", b"2"))
    os.utime(file, ns=times)


def by_rename(file: Path, times: tuple[int, int]) -> None:
    other = file.with_suffix(".new")
    other.write_bytes(file.read_bytes().replace(b"1", b"2"))
    os.utime(other, ns=times)
    other.replace(file)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("replace", [in_place, by_rename])
def test_a_replacement_of_equal_size_and_time_has_another_digest(tmp_path, replace, several):
    store, file = Store(tmp_path / "s"), tmp_path / "a.csv"
    file.write_bytes(b"id,x\n1,1\n")
    settle(file)
    first, stat = digest(file, store, several), file.stat()
    replace(file, (stat.st_atime_ns, stat.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    assert digest(file, store, several) == sha256(file) != first


@pytest.mark.parametrize("several", [False, True])
def test_a_copy_of_equal_content_has_the_same_digest(tmp_path, several):
    store, file = Store(tmp_path / "s"), tmp_path / "a.csv"
    file.write_bytes(b"id,x\n1,1\n")
    first = digest(file, store, several)
    other = tmp_path / "b.csv"
    other.write_bytes(file.read_bytes())
    other.replace(file)
    file.chmod(0o600)
    assert digest(file, store, several) == first


@pytest.mark.parametrize("several", [False, True])
def test_remembered_digests_are_not_used_while_rereading(tmp_path, several, monkeypatch):
    store, file = Store(tmp_path / "s"), tmp_path / "a.csv"
    file.write_bytes(b"id,x\n1,1\n")
    settle(file)
    digest(file, store, several)
    reads = []
    monkeypatch.setattr(store_module, "sha256", lambda path: reads.append(path) or sha256(path))
    digest(file, store, several)
    assert reads == []
    with rereading():
        digest(file, store, several)
    assert reads == [file]
    digest(file, store, several)
    assert reads == [file]


@pytest.mark.parametrize("several", [False, True])
def test_digests_of_files_that_have_just_changed_are_not_remembered(tmp_path, several):
    """A second change within the same step of the clock would not be seen."""
    store, file = Store(tmp_path / "s"), tmp_path / "a.csv"
    file.write_bytes(b"id,x\n1,1\n")
    os.utime(file)
    digest(file, store, several)
    memos = [memo for memo in (tmp_path / "s").rglob("*.json") if "a.csv" in memo.read_text()]
    assert memos == []
