"""The run folder: everything about a run is in it. Here it is claimed and written; `files` reads it."""

from __future__ import annotations

import csv
import logging
import os
import socket
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from musicreclass.errors import RunError, RunFailedError, Stopped, TrialPruned, UserError, notices
from musicreclass.runs.files import COST, FORMAT, MEMBERS, STATES, RunFiles
from musicreclass.runs.identity import Identity
from musicreclass.runs.signals import stoppable
from musicreclass.storage.atomic import DISK_FULL, SCRATCH, remove, replacing, sync, write_json, write_text
from musicreclass.storage.locks import Lock, LockLostError, describe_owner
from musicreclass.storage.store import room

if TYPE_CHECKING:
    import pandas as pd

    from musicreclass.classifiers.base import Classifier
    from musicreclass.data.near_copies import Sketches

log = logging.getLogger("musicreclass")

TRACKS = "tracks.parquet"
SKETCHES = "sketches.npz"
BAD_FILES = "bad_files.csv"
RESULTS = (
    BAD_FILES,
    "metrics.json",
    "provenance.json",
    TRACKS,
    SKETCHES,
    "predictions",
    "model",
    "figures",
    MEMBERS,
)  # written when training ends
PROGRESS = (
    "checkpoints",
    "history.csv",
    "tensorboard",
    "csv",
    "trackers.json",
    "profile",
    COST,
    "run.log",
)  # what an interrupted run resumes from
FULL = 1.0  # MiB of free space
RECORDS = ("identity.json", "status.json", "config.yaml")
NEVER_LOST = ("identity.json", "status.json")  # without which the folder is not that of a run


class RunLog(logging.FileHandler):
    """run.log; what cannot be written, on a full disk, is lost."""

    def handleError(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""


def is_disk_full(error: BaseException, folder: Path) -> bool:
    """Whether an error is due to a full disk. PyTorch's errors do not contain the cause, so the free space is checked."""
    if isinstance(error, RuntimeError) and room(folder) < FULL:
        return True
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in DISK_FULL:
            return True
        cause = cause.__cause__ or cause.__context__
    return False


class Run(RunFiles):
    """A run folder, to write while training and to read afterwards.

    Args:
        folder: the run folder; it need not exist yet.

    Attributes:
        lock: the folder's lock, once this process has claimed it.
        is_begun: whether a session has begun and is not done. All files but `NEVER_LOST` are then written to the disk at its end.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.lock: Lock | None = None
        self.is_begun = False

    @contextmanager
    def claimed(self, if_locked: str = "wait") -> Iterator[None]:
        """Hold the run's lock, so that one process at a time works in the folder.

        Args:
            if_locked: `wait` for the process that holds the lock, or `error`.

        Raises:
            RunError: if the folder cannot be created, contains something other than a run, or is locked under `error`.
        """
        self._refuse_foreign_files()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = Lock(self.folder / ".lock")
            if not lock.acquire(self._announce_wait, wait=if_locked != "error"):
                owner = lock.holder() or {}
                message = f"locked by {describe_owner(owner)}, which is running it; if_locked=wait waits for it"
                raise RunError(f"{self.folder}: {message}", "locked", self.folder, owner.get("pid"))
        except OSError as error:
            raise self._write_error(error) from error
        self.lock = lock
        try:
            yield
        finally:
            self.lock = None
            lock.release()

    def check_lock(self) -> None:
        """Check that this process may still write into the folder.

        Raises:
            LockLostError: if another process took the folder over while this one was suspended.
        """
        if self.lock is not None:
            self.lock.check()

    def begin(self, config: dict[str, Any], identity: Identity, resume: bool) -> None:
        """Write what is known before training.

        Args:
            config: resolved.
            identity: of the run.
            resume: whether to continue from the existing checkpoints; otherwise all of the run's files are removed.

        Raises:
            RunError: if the folder cannot be written.
        """
        self.is_begun = True
        try:
            if not resume and (self.folder / "identity.json").exists():
                # If the process is killed now, no file of the old run may be taken for one of the new run.
                self.set_state("running")
                self.write("identity.json", {"format": FORMAT, "cleared": True})
            for name in RESULTS if resume else (*RESULTS, *PROGRESS):
                remove(self.folder / name)
            self.write_identity(identity)
            self.set_state("running")
            self._remove_leftovers()
            write_text(self.folder / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
        except OSError as error:
            raise self._write_error(error) from error

    def subfolder(self, name: str) -> Path:
        """A folder inside the run folder, to write into; created if it does not exist.

        Raises:
            RunError: if it is a link, which could lead out of the run folder.
        """
        path = self.folder / name
        if path.is_symlink():
            line = f"{path}: is a link; a run is written into folders of its own: remove the link"
            raise RunError(line, "link_in_run", path)
        path.mkdir(exist_ok=True)
        return path

    def write(self, name: str, value: dict[str, Any]) -> None:
        """Replace one of the folder's JSON files.

        Raises:
            LockLostError: if another process took the folder over.
        """
        self.check_lock()
        write_json(self.folder / name, value, durable=name in NEVER_LOST or not self.is_begun)

    def write_identity(self, identity: Identity) -> None:
        """Replace identity.json."""
        self.write("identity.json", {**identity.as_json(), "format": FORMAT})

    def save_model(self, classifier: Classifier) -> None:
        """Save a fitted model, completely or not at all."""
        with replacing(self.folder / "model") as scratch:
            scratch.mkdir()
            classifier.save(scratch)

    def save_tracks(self, tracks: pd.DataFrame) -> None:
        """Record the tracks with split, group and checksum, to detect leaks into data that is scored later."""
        from musicreclass.evaluation.tag_sets import target_text

        with replacing(self.folder / TRACKS) as scratch:
            tracks.drop(columns=["path"]).assign(target=tracks.target.map(target_text)).to_parquet(scratch)

    def save_sketches(self, sketches: Sketches) -> None:
        """Record sketches of the training rows, to detect near-copies of them in data that is scored later."""
        with replacing(self.folder / SKETCHES) as scratch:
            sketches.save(scratch)

    def save_bad_files(self, reasons: dict[str, str]) -> None:
        """List the files that could not be used, with the reasons; no file if there are none."""
        if reasons:
            write_bad_files(self.folder, reasons)

    def set_state(self, state: str, error: str | None = None) -> None:
        """Write status.json; of `done` after everything else is on the disk."""
        if state == "done" and self.is_begun:
            sync(self.folder)
            self.is_begun = False
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        process = {"host": socket.gethostname(), "pid": os.getpid(), "heartbeat": now}
        self.write("status.json", {"state": state, "error": error, **process})

    @contextmanager
    def session(self) -> Iterator[None]:
        """Train and score inside this block; how it ends becomes the run's state, and logging goes to run.log.

        Raises:
            RunError: if the disk is full.
            RunFailedError: for any other error that is not a `UserError`, after its traceback was written to run.log.
        """
        handler = RunLog(self.folder / "run.log", encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root = logging.getLogger()
        root.addHandler(handler)
        log.setLevel(logging.INFO)
        logging.captureWarnings(True)
        log.info("command: %s", " ".join(sys.argv))
        try:
            with stoppable() as signals:
                yield
                self.set_state("done")
        except KeyboardInterrupt:
            sender = signals[0] if signals else "the user"
            log.info("stopped by %s", sender)
            self._end("interrupted", f"stopped by {sender}")
            outcome = {"outcome": "resumes from the last checkpoint"} if self.has_checkpoint else {}
            raise Stopped(**outcome, signals=signals) from None
        except TrialPruned as pruned:
            log.info("%s", pruned)
            self._end("pruned", str(pruned))
            pruned.folder = self.folder
            raise
        except (Exception, SystemExit) as error:
            message = " ".join(str(error).split()) or "no message"
            log.error("failed\n%s", traceback.format_exc())
            self._end("failed", f"{type(error).__name__}: {message}")
            if isinstance(error, UserError):
                raise
            if is_disk_full(error, self.folder):
                line = f"{self.folder}: the disk is full; free some space, and the same command resumes the run"
                raise RunError(line, "no_space", self.folder) from error
            raise RunFailedError(self.folder, error) from error
        finally:
            logging.captureWarnings(False)
            root.removeHandler(handler)
            with suppress(OSError):  # what it could not write
                handler.close()

    def _end(self, state: str, error: str) -> None:
        """Write how the run ended, unless another process has taken it over or the disk is full."""
        with suppress(OSError, LockLostError):
            self.set_state(state, error)

    def _announce_wait(self, owner: dict[str, Any]) -> None:
        notices.warning("%s: waiting for %s", self.folder, describe_owner(owner))

    def _refuse_foreign_files(self) -> None:
        """Raise if the folder contains anything but a run: it is never written into.

        What makes it a run is an identity and a status that a run has written. Until a run has written both, the folder contains
        at most the lock, the identity, and scratch files of the two.
        """
        if not self.folder.is_dir():
            return
        names = sorted(path.name for path in self.folder.iterdir())  # before another process may write the identity
        if self.has_identity and self.state in STATES:
            return
        begun = ("identity.json",) if self.has_identity else ()
        foreign = [name for name in names if name not in begun and not is_leftover(name)]
        if foreign:
            message = f"contains {foreign[0]!r} and is not the folder of a run; choose a new or an empty folder"
            raise RunError(f"run_dir={self.folder}: {message}", "foreign_files", self.folder, foreign[0])

    def _remove_leftovers(self) -> None:
        """Remove the scratch files of a killed process, of the names that a run writes."""
        names = (*RESULTS, *PROGRESS, *RECORDS)
        scratch = [(path, SCRATCH.fullmatch(path.name)) for path in self.folder.iterdir()]
        leftovers = [path for path, match in scratch if match and match["name"] in names]
        checkpoints = self.folder / "checkpoints"
        if checkpoints.is_dir() and not checkpoints.is_symlink():
            leftovers += [path for path in checkpoints.iterdir() if SCRATCH.fullmatch(path.name)]
        for path in leftovers:
            remove(path)

    def _write_error(self, error: OSError) -> RunError:
        message = f"{self.folder}: the run folder cannot be written ({error.strerror})"
        return RunError(message, "unwritable", self.folder)


def is_leftover(name: str) -> bool:
    """Whether a file is the lock, or one that a process killed before it wrote status.json leaves."""
    scratch = SCRATCH.fullmatch(name)
    return name.startswith(".lock") or (scratch is not None and scratch["name"] in NEVER_LOST)


def write_bad_files(folder: Path, reasons: dict[str, str]) -> None:
    """Write bad_files.csv: the files that could not be used, with the reasons."""
    with replacing(folder / BAD_FILES) as scratch, scratch.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("path", "reason"), *reasons.items()])
