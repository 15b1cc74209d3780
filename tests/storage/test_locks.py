"""Locks: held by one process, taken over from one that has ended, and from no other."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from musicreclass.storage import locks
from musicreclass.storage.locks import Lock, LockLostError, host, locked
from tests.conftest import wait_until

ELSEWHERE = {"host": "elsewhere", "pid": 1, "token": "t"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


class Clock:
    """Replaces the module `time`: it advances only while a waiter sleeps, however busy the machine is.

    Args:
        on_sleep: called with the time after each sleep.
    """

    def __init__(self, on_sleep: Callable[[float], None] = lambda now: None) -> None:
        self.now, self.on_sleep = 0.0, on_sleep

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.on_sleep(self.now)


@pytest.fixture(params=[None, errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One with hard links, and others on which they fail, as FAT and exFAT."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(request.param, os.strerror(request.param))

    if request.param is not None:
        monkeypatch.setattr(os, "link", fail)


def test_one_process_holds_the_lock(path, file_system):
    first, second = Lock(path), Lock(path)
    assert first.try_acquire()
    assert not second.try_acquire()
    assert second.holder()["pid"] == os.getpid()
    first.release()
    assert second.try_acquire()
    second.release()
    assert list(path.parent.iterdir()) == []


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A waiter that sleeps fails."""
    monkeypatch.setattr(locks, "time", Clock(lambda now: pytest.fail(f"waited for {now} s")))


def test_a_process_that_ended_loses_its_lock_at_once(path, no_waiting):
    code = f"import os; from musicreclass.storage.locks import Lock; from pathlib import Path; Lock(Path({str(path)!r})).try_acquire(); os._exit(1)"
    subprocess.run([sys.executable, "-c", code], check=False)
    assert path.exists()
    assert Lock(path).holder() is None
    with locked(path):
        pass


def test_a_zombie_loses_its_lock_at_once(path, no_waiting):
    child = os.fork()
    if child == 0:
        Lock(path).try_acquire()
        os._exit(0)
    while locks.start_time(child) != "ended":
        time.sleep(0.01)
    with locked(path):
        pass
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
    clock = Clock()
    monkeypatch.setattr(locks, "time", clock)
    path.write_text(content)
    os.utime(path, (2e9, 2e9))  # its clock is years ahead
    owners: list[dict[str, Any]] = []
    lock = Lock(path)
    assert lock.acquire(owners.append, wait)
    assert locks.EXPIRY < clock.now < locks.EXPIRY + 1
    assert len(owners) == 1
    lock.release()


@pytest.mark.parametrize("target", ["nowhere", "lock", "held"])
@pytest.mark.parametrize("wait", [True, False])
def test_a_link_is_not_followed_and_no_owner(path, monkeypatch, target, wait, file_system):
    """Also if it leads to a lock that is held, or to itself."""
    held = Lock(path.with_name("held"))
    held.try_acquire()
    monkeypatch.setattr(locks, "time", clock := Clock())
    path.symlink_to(target)
    lock = Lock(path)
    assert lock.acquire(wait=wait)
    assert locks.EXPIRY < clock.now < locks.EXPIRY + 1
    lock.check()
    held.check()
    assert not path.is_symlink()
    for each in (lock, held):
        each.release()
    assert list(path.parent.iterdir()) == []


def test_one_of_several_processes_at_a_time_holds_the_lock(path, file_system):
    holders: list[int] = []

    def hold(number: int) -> None:
        for _ in range(5):
            with locked(path):
                holders.append(number)
                assert holders == [number]
                holders.clear()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(hold, range(4)))
    assert list(path.parent.iterdir()) == []


def test_a_running_owner_keeps_its_lock(path, monkeypatch):
    """Whether it runs here, on another host, or on another machine of the same name."""
    name = host().partition("/")[0]
    released = 3 * locks.EXPIRY

    def beat_or_release(now: float) -> None:
        if now < released:
            assert json.loads(path.read_text()) == owner
            os.utime(path, (now, now))
        else:
            path.unlink(missing_ok=True)

    for owner in (ELSEWHERE, {**ELSEWHERE, "host": f"{name}/another boot/4026531836"}):
        path.write_text(json.dumps(owner))
        clock = Clock(beat_or_release)
        monkeypatch.setattr(locks, "time", clock)
        assert not Lock(path).acquire(wait=False)
        assert clock.now < locks.EXPIRY
        owners: list[dict[str, Any]] = []
        lock = Lock(path)
        assert lock.acquire(owners.append)
        assert clock.now >= released
        assert owners == [owner]
        lock.release()


def test_an_owner_on_this_machine_is_known_without_waiting(path, no_waiting):
    with locked(path):
        assert not Lock(path).acquire(pytest.fail, wait=False)


def test_an_owner_that_lost_its_lock_notices(path, monkeypatch):
    monkeypatch.setattr(locks, "HEARTBEAT", 0.05)
    lock = Lock(path)
    lock.try_acquire()
    lock.check()
    path.write_text(json.dumps({**ELSEWHERE, "token": "other"}))
    wait_until(lambda: lock.lost)
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


def test_the_scratch_file_of_a_killed_process_is_removed(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    ended = {**Lock(tmp_path / "x").owner, "pid": child.pid, "started": "1"}
    leftover, foreign = tmp_path / f"x.{'a' * 32}", tmp_path / f"x.{'b' * 32}"
    leftover.write_text(json.dumps(ended))
    foreign.write_text(json.dumps({**ended, "host": "elsewhere"}))
    (tmp_path / "x.notes").write_text("")
    with locked(tmp_path / "x"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [foreign.name, "x.notes"]
