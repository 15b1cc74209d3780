"""A lock file, for processes on one host or over a shared folder. It does not need flock, which NFS may lack.

The file holds its owner's token, and a thread of the owner touches it every few seconds. A waiter takes the lock over once the
owner has ended: on the same host by checking the process, elsewhere when the file has not been touched for a while, measured
by the waiter's own clock. Clocks of different machines are never compared.

filelock's SoftFileLease does not replace this (4.2.11): an owner killed before it writes its record leaves an empty file that
blocks for ever, and an owner that runs on another machine of the same hostname loses its lock at once.
"""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from musicreclass.errors import RunError
from musicreclass.storage.atomic import NO_HARD_LINKS
from musicreclass.storage.regular import read_regular_text

HEARTBEAT = 5.0  # seconds between two touches
EXPIRY = 60.0  # seconds without one after which an owner counts as ended
POLL = 0.1  # seconds between two attempts of a waiter
MAX_PID = 2**31 - 1


class LockLostError(RunError):
    """Another process has taken the lock over because this one was suspended for too long."""


@cache
def host() -> str:
    """This hostname, boot and process namespace: the scope in which a pid is valid."""
    boot, namespace = "", ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:8]
        namespace = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    return "/".join(filter(None, (socket.gethostname(), boot, namespace)))


def start_time(pid: int) -> str:
    """When a process started, in the kernel's ticks; `ended` for a zombie, empty if unknown. Detects a reused pid."""
    with suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return "ended" if fields[0] in "ZX" else fields[19]
    return ""


def is_running(owner: dict[str, Any]) -> bool | None:
    """Whether the process that owns a lock is running; None if that cannot be determined, as for one on another host."""
    pid = owner.get("pid")
    if owner.get("host") != host() or not isinstance(pid, int) or not 0 < pid <= MAX_PID:
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it runs as another user
    started = start_time(pid)
    return not started or not owner.get("started") or started == owner["started"]


def describe_owner(owner: dict[str, Any]) -> str:
    """A lock's owner, for messages: `process 123 on rack7`."""
    return f"process {owner.get('pid', '?')} on {str(owner.get('host', '?')).partition('/')[0]}"


class Lock:
    """A lock that one process holds at a time.

    Args:
        path: the lock file; its folder must exist.

    Attributes:
        owner: what this process writes into the file: host, pid, start time, and a token unique to this lock object.
        lost: whether another process has taken the lock over.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.owner = {"host": host(), "pid": os.getpid(), "started": start_time(os.getpid()), "token": uuid.uuid4().hex}
        self.lost = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def try_acquire(self) -> bool:
        """Take the lock if it is free; return whether it was."""
        scratch = self.path.with_name(f"{self.path.name}.{self.owner['token']}")
        try:
            scratch.write_text(json.dumps(self.owner), encoding="utf-8")
            self._create(scratch)
        except FileExistsError:
            return False
        finally:
            scratch.unlink(missing_ok=True)
        self._remove_leftovers()
        self._stop.clear()
        self._thread = threading.Thread(target=self._beat, daemon=True, name=f"heartbeat of {self.path.name}")
        self._thread.start()
        return True

    def _create(self, scratch: Path) -> None:
        """Create the lock file with the content of a scratch file.

        Raises:
            FileExistsError: if it exists.
        """
        try:
            os.link(scratch, self.path)  # atomic over NFS too, and no reader sees a half-written file
        except OSError as error:
            if error.errno not in NO_HARD_LINKS:
                raise
            self.path.open("x").close()  # empty for a moment, which a waiter takes for an owner of unknown state
            scratch.replace(self.path)

    def acquire(self, on_wait: Callable[[dict[str, Any]], None] | None = None, wait: bool = True) -> bool:
        """Take the lock, from an owner that has ended too; wait for one that is running.

        Args:
            on_wait: called once with the owner, before waiting.
            wait: False gives up as soon as the owner is known to be running: on another host that takes a heartbeat.

        Returns:
            Whether the lock is held now.
        """
        last_beat: tuple[Any, ...] = ()
        since, beats, announced = time.monotonic(), False, False
        while not self.try_acquire():
            owner, touched = self._read()
            if owner is None:
                time.sleep(POLL)
                continue  # released in the meantime
            beat = (owner.get("token"), touched)
            if beat != last_beat:
                beats = beats or bool(last_beat)
                last_beat, since = beat, time.monotonic()
            running = is_running(owner)
            if running is False or time.monotonic() - since > EXPIRY:
                self._evict(owner)
                continue
            if not wait and (running or beats):
                return False
            if on_wait is not None and not announced:
                on_wait(owner)
                announced = True
            time.sleep(POLL)
        return True

    def holder(self) -> dict[str, Any] | None:
        """The owner recorded in the file; None if the lock is free or its owner has ended."""
        owner, _ = self._read()
        return None if owner is None or is_running(owner) is False else owner

    def check(self) -> None:
        """Check that this process still holds the lock, by the lock file.

        Raises:
            LockLostError: if another process took it over.
        """
        with suppress(OSError):  # a file that cannot be read now; `lost` is as of the last heartbeat
            self.lost = self.lost or not self._is_owner()
        if self.lost:
            message = "this process no longer holds the lock: it was suspended for too long, or the file was removed"
            raise LockLostError(f"{self.path}: {message}", "lock_lost", self.path)

    def release(self) -> None:
        """Give the lock back, unless another process has taken it over."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._is_owner():
            self.path.unlink(missing_ok=True)

    def _read(self) -> tuple[dict[str, Any] | None, int]:
        """The recorded owner and when the file was last touched; (None, 0) if there is no file.

        A link is a lock without an owner, whatever it points to: this class creates none.
        """
        try:
            status = self.path.lstat()
            touched = status.st_mtime_ns
            if stat.S_ISLNK(status.st_mode):
                return {}, touched
            owner = json.loads(read_regular_text(self.path))
        except FileNotFoundError:
            return None, 0
        except (ValueError, RecursionError):  # cut short by a crash of the system
            return {}, touched
        return (owner if isinstance(owner, dict) else {}), touched

    def _remove_leftovers(self) -> None:
        """Remove the scratch files of processes that were killed while they took this lock."""
        scratch = re.compile(rf"{re.escape(self.path.name)}\.[0-9a-f]{{32}}")
        with suppress(OSError):
            for path in [path for path in self.path.parent.iterdir() if scratch.fullmatch(path.name)]:
                with suppress(OSError, ValueError):
                    owner = json.loads(read_regular_text(path))
                    if isinstance(owner, dict) and is_running(owner) is False:
                        path.unlink()

    def _is_owner(self) -> bool:
        owner, _ = self._read()
        return owner is not None and owner.get("token") == self.owner["token"]

    def _evict(self, owner: dict[str, Any]) -> None:
        """Remove the lock of an owner that has ended, and no other's, even if several waiters try at once."""
        with locked(self.path.with_name(f"{self.path.name}.evict")):
            if (self._read()[0] or {}).get("token") == owner.get("token"):
                self.path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT):
            with suppress(OSError):
                if not self._is_owner():
                    self.lost = True
                    return
                os.utime(self.path)


@contextmanager
def locked(path: Path, on_wait: Callable[[dict[str, Any]], None] | None = None) -> Iterator[Lock]:
    """Hold a lock for the length of a block."""
    lock = Lock(path)
    lock.acquire(on_wait)
    try:
        yield lock
    finally:
        lock.release()
