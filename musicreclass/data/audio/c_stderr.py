"""Suppresses what C libraries print to stderr."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


def _find_c_stderr() -> tuple[ctypes.c_void_p, int | None] | None:
    """C's variable `stderr` and a stream to /dev/null; None if the C library has no such variable."""
    try:
        libc = ctypes.CDLL(None)
        libc.fopen.restype = ctypes.c_void_p
        return ctypes.c_void_p.in_dll(libc, "stderr"), libc.fopen(b"/dev/null", b"w")
    except (OSError, ValueError, AttributeError):
        return None


_mute_lock, _mute_depth, _c_stderr = threading.Lock(), 0, _find_c_stderr()
_original_stream = _c_stderr[0].value if _c_stderr else None


@contextmanager
def muted_c_stderr() -> Iterator[None]:
    """Silence libmpg123, which reports missing bits after seeks, in valid files too.

    C's `stderr` points to /dev/null while any thread is inside. The file descriptor is unchanged, so Python and
    child processes still print.
    """
    global _mute_depth
    with _mute_lock:
        _mute_depth += 1
        if _c_stderr and _mute_depth == 1:
            _c_stderr[0].value = _c_stderr[1]
    try:
        yield
    finally:
        with _mute_lock:
            _mute_depth -= 1
            if _c_stderr and not _mute_depth:
                _c_stderr[0].value = _original_stream


def _after_fork() -> None:
    global _mute_lock, _mute_depth
    _mute_lock, _mute_depth = threading.Lock(), 0
    if _c_stderr:
        _c_stderr[0].value = _original_stream


os.register_at_fork(after_in_child=_after_fork)
