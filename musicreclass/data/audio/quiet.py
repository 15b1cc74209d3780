"""A C library that is kept from printing."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


def _c_stderr() -> tuple[ctypes.c_void_p, int | None] | None:
    """C's variable `stderr` and a stream that leads nowhere, where the C library has such a variable."""
    try:
        libc = ctypes.CDLL(None)
        libc.fopen.restype = ctypes.c_void_p
        return ctypes.c_void_p.in_dll(libc, "stderr"), libc.fopen(b"/dev/null", b"w")
    except (OSError, ValueError, AttributeError):
        return None


_quiet_lock, _quiet_depth, _c = threading.Lock(), 0, _c_stderr()
_loud = _c[0].value if _c else None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep libmpg123 from printing: to sought-out places of good files, too, it says that bits are missing.

    C's `stderr` points elsewhere while any thread is inside. The file descriptor stays as it is, and with it all that
    Python prints.
    """
    global _quiet_depth
    with _quiet_lock:
        _quiet_depth += 1
        if _c and _quiet_depth == 1:
            _c[0].value = _c[1]
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _c and not _quiet_depth:
                _c[0].value = _loud


def _after_fork() -> None:
    global _quiet_lock, _quiet_depth
    _quiet_lock, _quiet_depth = threading.Lock(), 0
    if _c:
        _c[0].value = _loud


os.register_at_fork(after_in_child=_after_fork)
