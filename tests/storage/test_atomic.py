"""Removing a folder: completely, or with an error."""

from __future__ import annotations

import os
import shutil

import pytest

from musicreclass.storage.atomic import remove


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
