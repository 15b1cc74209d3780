"""One file over HTTP from a server on loopback, with the faults that servers and connections have."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musicreclass.data.download import transfer
from musicreclass.errors import DataError
from tests.conftest import wait_until
from tests.web_server import WebServer, serving

CONTENT = os.urandom(300_000)
CHECKSUM = f"sha1:{hashlib.sha1(CONTENT).hexdigest()}"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(transfer, "LONGEST_PAUSE", 0.01)
    with serving() as server:
        server.files["/x.zip"] = CONTENT
        yield server


def get(
    server: WebServer, path: Path, *urls: str, checksum: str = CHECKSUM, attempts: int = 3, timeout: float = 5
) -> None:
    transfer.download(urls or [server.url("/x.zip")], path, [checksum], len(CONTENT), attempts, timeout)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([None, "cut:0", "cut:70000", "cut:100", "status:503", "whole"]), max_size=4))
def test_faults_of_the_moment_do_not_change_the_file(server, tmp_path_factory, faults):
    folder = tmp_path_factory.mktemp("d")
    server.faults = list(faults)
    get(server, folder / "x.zip", attempts=6)
    assert contents(folder) == {"x.zip": CONTENT}


def test_a_cut_download_is_resumed(server, tmp_path):
    server.faults = ["cut:100000"]
    get(server, tmp_path / "x.zip")
    assert [header for _, header in server.requests] == [None, "bytes=100000-"]
    assert contents(tmp_path) == {"x.zip": CONTENT}


def test_a_later_call_resumes_from_another_mirror(server, tmp_path):
    server.faults = ["cut:1000"]
    with pytest.raises(DataError) as caught:
        get(server, tmp_path / "x.zip", attempts=1)
    assert (caught.value.kind, caught.value.key) == ("download_failed", "x.zip")
    assert contents(tmp_path) == {"x.zip.part": CONTENT[:1000]}
    server.files["/y.zip"] = CONTENT
    get(server, tmp_path / "x.zip", server.url("/nothing.zip"), server.url("/y.zip"))
    assert server.requests[-2:] == [("/nothing.zip", "bytes=1000-"), ("/y.zip", "bytes=1000-")]
    assert contents(tmp_path) == {"x.zip": CONTENT}


def test_a_complete_but_unverified_download_is_not_fetched_again(server, tmp_path):
    (tmp_path / "x.zip.part").write_bytes(CONTENT)
    get(server, tmp_path / "x.zip")
    assert [header for _, header in server.requests] == [f"bytes={len(CONTENT)}-"]
    assert contents(tmp_path) == {"x.zip": CONTENT}


@pytest.mark.parametrize("old", [b"another version", bytes(400_000)], ids=["shorter", "longer"])
def test_the_beginning_of_another_version_is_replaced(server, tmp_path, old):
    (tmp_path / "x.zip.part").write_bytes(old)
    get(server, tmp_path / "x.zip")
    assert contents(tmp_path) == {"x.zip": CONTENT}


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    with pytest.raises(DataError) as caught:
        get(server, tmp_path / "x.zip", checksum=f"sha256:{'0' * 64}")
    assert caught.value.kind == "wrong_checksum"
    assert contents(tmp_path) == {}
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("fault", "attempts"), [("status:404", 1), ("status:403", 1), ("status:500", 3), ("hang", 3), ("endless", 1)]
)
def test_a_mirror_that_fails_is_named(server, tmp_path, fault, attempts):
    server.faults = [fault] * 3
    with pytest.raises(DataError) as caught:
        get(server, tmp_path / "x.zip", timeout=0.2)
    assert caught.value.kind == "download_failed"
    assert f"127.0.0.1:{server.server_port}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(server.requests) == attempts
    assert not (tmp_path / "x.zip").exists()


@pytest.mark.parametrize(
    "fault", ["page", "range:7", "status:204", "to:http://nothing." + "a" * 80 + "/x", "to:ftp:///x", "to:/x.zip"]
)
@pytest.mark.parametrize("downloaded", [0, 200_000])
def test_an_answer_that_is_not_the_file_leaves_the_part_as_it_is(server, tmp_path, fault, downloaded):
    (tmp_path / "x.zip.part").write_bytes(CONTENT[:downloaded])
    server.faults = [fault] * 30
    with pytest.raises(DataError) as caught:
        get(server, tmp_path / "x.zip")
    assert (caught.value.kind, "\n" in str(caught.value)) == ("download_failed", False)
    assert contents(tmp_path) == {"x.zip.part": CONTENT[:downloaded]}
    server.faults = []
    get(server, tmp_path / "x.zip")
    assert contents(tmp_path) == {"x.zip": CONTENT}


def test_a_server_that_starts_over_and_never_ends_is_given_up(server, tmp_path):
    server.faults = ["begin:30000", "begin:50000"] * 20
    with pytest.raises(DataError) as caught:
        get(server, tmp_path / "x.zip")
    assert (caught.value.kind, len(server.requests)) == ("download_failed", 4)


@pytest.mark.parametrize("url", ["http://[::1/x.zip", "http://h/\u00e4.zip", "http://" + "a" * 80 + ".org/x.zip"])
def test_an_impossible_address_is_named(tmp_path, url):
    with pytest.raises(DataError) as caught:
        transfer.download([url], tmp_path / "x.zip", [CHECKSUM], 10, 2, 1)
    assert caught.value.kind == "download_failed"


def test_no_server_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "LONGEST_PAUSE", 0.01)
    with pytest.raises(DataError) as caught:
        transfer.download(["http://127.0.0.1:1/x.zip"], tmp_path / "x.zip", [CHECKSUM], 10, 2, 1)
    assert caught.value.kind == "download_failed"
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_named_and_the_download_resumed(server, tmp_path, monkeypatch):
    class Full:
        def __init__(self, file):
            self.file = file

        def __getattr__(self, name):
            return getattr(self.file, name)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def write(self, chunk):
            if self.file.tell() == 5000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(chunk[:5000])

    real = Path.open
    monkeypatch.setattr(
        Path,
        "open",
        lambda self, mode="r", *a, **k: Full(real(self, mode, *a, **k)) if mode == "wb" else real(self, mode, *a, **k),
    )
    with pytest.raises(DataError) as caught:
        get(server, tmp_path / "x.zip")
    assert (caught.value.kind, caught.value.key) == ("no_space", str(tmp_path))
    monkeypatch.undo()
    get(server, tmp_path / "x.zip")
    assert contents(tmp_path) == {"x.zip": CONTENT}
    assert server.requests[-1] == ("/x.zip", "bytes=5000-")


def test_a_killed_download_is_resumed(server, tmp_path):
    server.files["/x.zip"] = CONTENT[:200_000]
    server.faults = ["endless"]  # sends the beginning of the file, then zeros
    code = f"from pathlib import Path; from musicreclass.data.download.transfer import download; download([{server.url('/x.zip')!r}], Path({str(tmp_path / 'x.zip')!r}), [{CHECKSUM!r}], 10**12)"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    part = tmp_path / "x.zip.part"
    wait_until(lambda: part.exists() and part.stat().st_size > 0)
    process.send_signal(signal.SIGKILL)
    process.wait()
    server.files["/x.zip"] = CONTENT
    get(server, tmp_path / "x.zip")
    assert contents(tmp_path) == {"x.zip": CONTENT}
