"""Files that another person may have made: pipes, devices and folders are not read."""

from __future__ import annotations

import os

import pytest

from musicreclass.storage.regular import read_regular


def test_only_regular_files_are_read(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link", 3) == b"abc"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    for path in (tmp_path / "pipe", tmp_path / "device", tmp_path):
        with pytest.raises(OSError, match="not a regular file"):
            read_regular(path)
    with pytest.raises(OSError, match="larger than"):
        read_regular(tmp_path / "file", 2)
