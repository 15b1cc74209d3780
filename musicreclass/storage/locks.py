"""A lock that is a file: for processes on one host and over a shared folder, without flock, which NFS does not keep.

The owner's token stands in the file, and a thread of the owner's touches it every few seconds. Whoever waits takes the lock
over once the owner is known to be dead: on the same host by its process, elsewhere because the file has not been touched for
a while, as the waiter's own clock counts. No two clocks are compared, so clocks that jump or differ do no harm.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from musicreclass.errors import RunError

BEAT = 5.0  # seconds between two touches
SILENCE = 60.0  # seconds without one, after which an owner on another host is taken for dead
PAUSE = 0.1  # seconds between two looks of a waiter


class LockLostError(RunError):
    """Another process took the lock over, since this one was asleep for too long; what it holds is no longer its own."""


@cache
def host() -> str:
    """This host, boot and process namespace: where a pid means what it means here."""
    boot, space = "", ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:8]
        space = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    return "/".join(filter(None, (socket.gethostname(), boot, space)))


def started(pid: int) -> str:
    """When a process began, in the kernel's ticks: tells it from a later one of the same pid. Empty where that is not told."""
    with suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return "ended" if fields[0] in "ZX" else fields[19]
    return ""


class Lock:
    """Held by one process at a time.

    Args:
        path: the lock file; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.owner = {"host": host(), "pid": os.getpid(), "started": started(os.getpid()), "token": uuid.uuid4().hex}
        self.lost = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def try_acquire(self) -> bool:
        """Take the lock if it is free."""
        mine = self.path.with_name(f"{self.path.name}.{self.owner['token']}")
        mine.write_text(json.dumps(self.owner), encoding="utf-8")
        try:
            os.link(mine, self.path)  # atomic over NFS too, and the file is never seen half-written
        except FileExistsError:
            return False
        finally:
            mine.unlink(missing_ok=True)
        self._stop.clear()
        self._thread = threading.Thread(target=self._beat, daemon=True, name=f"heartbeat of {self.path.name}")
        self._thread.start()
        return True

    def acquire(
        self, on_wait: Callable[[dict[str, Any]], None] | None = None, until: Callable[[], bool] = bool
    ) -> bool:
        """Wait for the lock, and take it over from a dead owner.

        Args:
            on_wait: called once with the owner that is waited for.
            until: called between looks; once true, waiting ends without the lock.

        Returns:
            whether the lock is held now.
        """
        seen: tuple[Any, ...] = ()
        since, told = time.monotonic(), False
        while not until():
            if self.try_acquire():
                return True
            owner, mark = self._look()
            if owner is None:
                continue  # it was released between the two looks
            if (owner.get("token"), mark) != seen:
                seen, since = (owner.get("token"), mark), time.monotonic()
            if dead(owner) or time.monotonic() - since > SILENCE:
                self._evict(owner)
                continue
            if on_wait is not None and not told:
                on_wait(owner)
                told = True
            time.sleep(PAUSE)
        return False

    def holder(self) -> dict[str, Any] | None:
        """The owner, if the lock is held and the owner is not known to be dead."""
        owner, _ = self._look()
        return None if owner is None or dead(owner) else owner

    def check(self) -> None:
        """Make sure that the lock is still this process's.

        Raises:
            LockLostError: if it was taken over.
        """
        if self.lost:
            raise LockLostError(f"{self.path}: taken over by another process, since this one was silent for too long")

    def release(self) -> None:
        """Give the lock back."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        owner, _ = self._look()
        if owner is not None and owner.get("token") == self.owner["token"]:
            self.path.unlink(missing_ok=True)

    def _look(self) -> tuple[dict[str, Any] | None, int]:
        """Who holds the lock and when it was last touched; (None, 0) if nobody does."""
        try:
            mark = self.path.stat().st_mtime_ns
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None, 0
        except ValueError:
            return {}, mark
        return (found if isinstance(found, dict) else {}), mark

    def _evict(self, owner: dict[str, Any]) -> None:
        """Remove a dead owner's lock, and nobody else's, though several waiters may try at once."""
        with locked(self.path.with_name(f"{self.path.name}.evict")):
            if (self._look()[0] or {}).get("token") == owner.get("token"):
                self.path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._stop.wait(BEAT):
            with suppress(OSError):
                owner, _ = self._look()
                if owner is None or owner.get("token") != self.owner["token"]:
                    self.lost = True
                    return
                os.utime(self.path)


def dead(owner: dict[str, Any]) -> bool:
    """Whether an owner is known not to run any more; False for one on another host, of which nothing is known."""
    pid = owner.get("pid")
    if owner.get("host") != host() or not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # it runs, as another user
    now = started(pid)
    return bool(now and owner.get("started")) and now != owner["started"]


@contextmanager
def locked(path: Path, on_wait: Callable[[dict[str, Any]], None] | None = None) -> Iterator[Lock]:
    """Hold a lock for the length of a block."""
    lock = Lock(path)
    lock.acquire(on_wait)
    try:
        yield lock
    finally:
        lock.release()
