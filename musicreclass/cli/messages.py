"""What the command line prints: notices, and errors with the exit code that goes with them."""

from __future__ import annotations

import logging
import os
import signal
import traceback

from musicreclass.cli.terminal import say
from musicreclass.errors import ConfigError, RunFailedError, Stopped, UserError, VerificationError, notices

LONGEST = 2000  # characters of a message, which repeats what was typed


class NoticeHandler(logging.Handler):
    """Prints notices to stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        say(f"musicreclass: {record.getMessage()}", error=True)


def show_notices() -> None:
    """Print notices while this process runs."""
    if not notices.handlers:
        notices.addHandler(NoticeHandler())


def report_error(error: Exception) -> int:
    """Print what went wrong, in one line for each problem.

    Returns:
        the exit code: 2 for what the user can correct, 1 for anything else and for a verification that found problems.
    """
    if os.environ.get("MUSICRECLASS_DEBUG") == "1":
        traceback.print_exception(error)
    by_user = isinstance(error, (UserError, OSError)) or type(error).__module__.startswith(("hydra.", "omegaconf."))
    for line in error.problems if isinstance(error, ConfigError) else [error]:
        message = " ".join(str(line).split()) or type(error).__name__
        if isinstance(error, OSError):
            message = f"{error.filename or 'the system'}: {error.strerror or message}"
        elif not (by_user or isinstance(error, RunFailedError)):
            message = f"{type(error).__name__}: {message}"
        if len(message) > LONGEST:
            message = f"{message[:LONGEST]} ..."
        say(f"musicreclass: {message}", error=True)
    return 2 if by_user and not isinstance(error, VerificationError) else 1


def report_stop(error: KeyboardInterrupt) -> int:
    """Print that the task was stopped by Ctrl-C, SIGTERM or SIGHUP; return the exit code that shells expect."""
    outcome = error.outcome if isinstance(error, Stopped) else "starts again"
    say(f"musicreclass: stopped; the same command {outcome}", error=True)
    return 128 + (error.number if isinstance(error, Stopped) else signal.SIGINT)
