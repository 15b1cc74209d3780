"""Locks: held by one process, taken over from one that has ended, and from no other."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from musicreclass.storage import locks
from musicreclass.storage.locks import Lock, LockLostError, host, locked

ELSEWHERE = {"host": "elsewhere", "pid": 1, "token": "t"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


@contextmanager
def touched(path: Path, every: float = 0.1) -> Iterator[None]:
    """Another host's heartbeat."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(every):
            with suppress(FileNotFoundError):
                os.utime(path)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_one_process_holds_the_lock(path):
    first, second = Lock(path), Lock(path)
    assert first.try_acquire()
    assert not second.try_acquire()
    assert second.holder()["pid"] == os.getpid()
    first.release()
    assert second.try_acquire()
    second.release()
    assert list(path.parent.iterdir()) == []


def test_a_process_that_ended_loses_its_lock_at_once(path):
    code = f"import os; from musicreclass.storage.locks import Lock; from pathlib import Path; Lock(Path({str(path)!r})).try_acquire(); os._exit(1)"
    subprocess.run([sys.executable, "-c", code], check=False)
    assert path.exists()
    assert Lock(path).holder() is None
    start = time.monotonic()
    with locked(path):
        assert time.monotonic() - start < 5


def test_a_zombie_loses_its_lock_at_once(path):
    child = os.fork()
    if child == 0:
        Lock(path).try_acquire()
        os._exit(0)
    while locks.start_time(child) != "ended":
        time.sleep(0.01)
    start = time.monotonic()
    with locked(path):
        assert time.monotonic() - start < 5
    os.waitpid(child, 0)


def test_a_reused_pid_is_not_taken_for_the_owner(path):
    path.write_text(json.dumps({"host": host(), "pid": os.getpid(), "started": "1", "token": "t"}))
    with locked(path):
        pass


@pytest.mark.parametrize(
    "content",
    [
        "",  # the machine crashed before the content was on disk
        "{",
        "[1]",
        "[" * 100_000,
        json.dumps({"host": host(), "pid": 10**30, "token": "t"}),
        json.dumps({"host": host(), "pid": -1, "token": "t"}),
        json.dumps({"host": host(), "pid": "1", "token": "t"}),
        json.dumps(ELSEWHERE),
        json.dumps({**ELSEWHERE, "host": f"{host().partition('/')[0]}/before the reboot/4026531836"}),
    ],
)
@pytest.mark.parametrize("wait", [True, False])
def test_an_owner_of_unknown_state_loses_the_lock_once_it_is_silent(path, monkeypatch, content, wait):
    monkeypatch.setattr(locks, "EXPIRY", 0.5)
    path.write_text(content)
    os.utime(path, (2e9, 2e9))  # its clock is years ahead
    owners: list[dict[str, Any]] = []
    start = time.monotonic()
    lock = Lock(path)
    assert lock.acquire(owners.append, wait)
    assert 0.4 < time.monotonic() - start < 10
    assert len(owners) == 1
    lock.release()


def test_a_running_owner_keeps_its_lock(path, monkeypatch):
    """Whether it runs here, on another host, or on another machine of the same name."""
    monkeypatch.setattr(locks, "EXPIRY", 0.5)
    monkeypatch.setattr(locks, "HEARTBEAT", 0.1)
    name = host().partition("/")[0]
    for owner in (ELSEWHERE, {**ELSEWHERE, "host": f"{name}/another boot/4026531836"}):
        path.write_text(json.dumps(owner))
        with touched(path):
            assert not Lock(path).acquire(wait=False)
            owners: list[dict[str, Any]] = []
            lock = Lock(path)
            waiter = threading.Thread(target=lock.acquire, args=(owners.append,))
            waiter.start()
            time.sleep(1.5)
            assert waiter.is_alive()
            assert json.loads(path.read_text()) == owner
            path.unlink()
            waiter.join(10)
        assert owners == [owner]
        lock.release()
    with locked(path):
        start = time.monotonic()
        assert not Lock(path).acquire(pytest.fail, wait=False)
        assert time.monotonic() - start < 0.3


def test_an_owner_that_lost_its_lock_notices(path, monkeypatch):
    monkeypatch.setattr(locks, "HEARTBEAT", 0.05)
    lock = Lock(path)
    lock.try_acquire()
    lock.check()
    path.write_text(json.dumps({**ELSEWHERE, "token": "other"}))
    time.sleep(0.3)
    with pytest.raises(LockLostError) as caught:
        lock.check()
    assert (caught.value.kind, caught.value.key) == ("lock_lost", str(path))
    lock.release()
    assert path.exists()  # the other's


def test_a_lock_is_checked_in_its_file_and_not_only_at_each_heartbeat(path):
    lock = Lock(path)
    lock.try_acquire()
    lock.check()
    path.write_text(json.dumps(ELSEWHERE))
    with pytest.raises(LockLostError):
        lock.check()
    lock.release()


def test_a_full_disk_leaves_nothing(path, monkeypatch):
    def full(self: Path, *_: Any, **__: Any) -> None:
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space"):
            Lock(path).try_acquire()
    assert list(path.parent.iterdir()) == []
