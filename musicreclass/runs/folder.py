"""The run folder: everything about a run, and nothing about it anywhere else."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from musicreclass.errors import RunError, RunFailedError, Terminated, TrialPruned, UserError
from musicreclass.runs.code_version import code_version
from musicreclass.runs.signals import stoppable
from musicreclass.runs.signature import known_fingerprint, run_folder, signature
from musicreclass.storage.atomic import remove, replacing, write_json, write_text
from musicreclass.storage.locks import Lock

if TYPE_CHECKING:
    import pandas as pd

    from musicreclass.classifiers.base import Classifier
    from musicreclass.evaluation.predictions import Predictions

log = logging.getLogger("musicreclass")

TRACKS = "tracks.parquet"
MADE = ("metrics.json", "provenance.json", TRACKS, "predictions", "model", "figures")  # by a run that ends
KEPT = ("checkpoints", "history.csv", "tensorboard", "run.log")  # what an interrupted one goes on from
CONFIGURED = {"data": dict, "model": dict, "choices": dict, "seed": int}  # what every run's config.yaml holds


class Run:
    """A run folder, to write while training and to read ever after.

    Args:
        folder: where it is; it need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock: Lock | None = None

    @classmethod
    def open(cls, folder: Path) -> Run:
        """A run folder that exists.

        Raises:
            RunError: if there is no run in the folder.
        """
        if not folder.is_dir():
            raise RunError(f"{folder}: there is no such folder")
        if not (folder / "status.json").is_file():
            raise RunError(f"{folder}: not a run folder (it has no status.json)")
        return cls(folder)

    def _json(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            words = " ".join(str(error).split())[:120]
            raise RunError(
                f"{self.folder / name}: cannot be read ({words}); remove the folder, and train again"
            ) from error
        if not isinstance(found, dict):
            raise RunError(f"{self.folder / name}: not what a run writes there; remove the folder, and train again")
        return found

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration.

        Raises:
            RunError: if config.yaml cannot be read, or lacks what every run's holds.
        """
        try:
            found = yaml.safe_load((self.folder / "config.yaml").read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            raise RunError(
                f"{self.folder}/config.yaml: cannot be read ({' '.join(str(error).split())[:120]})"
            ) from error
        if not isinstance(found, dict):
            raise RunError(f"{self.folder}/config.yaml: not a configuration")
        wrong = [name for name, kind in CONFIGURED.items() if not isinstance(found.get(name), kind)]
        if wrong:
            raise RunError(f"{self.folder}/config.yaml: {wrong[0]} is missing, or not what a run writes there")
        return found

    @property
    def identity(self) -> dict[str, Any]:
        """Signature, fingerprint, package version."""
        return self._json("identity.json")

    @property
    def status(self) -> dict[str, Any]:
        """State, error, host, pid, heartbeat."""
        return self._json("status.json")

    @property
    def state(self) -> str:
        """`running`, `interrupted`, `pruned`, `done`, `failed`, or `absent`."""
        return str(self.status.get("state", "absent"))

    @property
    def metrics(self) -> dict[str, Any]:
        """The scores by split, the classes and the protocol."""
        return self._json("metrics.json")

    @property
    def provenance(self) -> dict[str, Any]:
        """Versions, hardware, command, seconds, memory."""
        return self._json("provenance.json")

    @property
    def is_stale(self) -> bool:
        """Whether the code that results depend on has changed since."""
        return self.identity.get("code") != code_version(self.config)

    def predictions(self, split: str) -> Predictions:
        """The table of one split.

        Raises:
            RunError: if the split was not scored.
        """
        from musicreclass.evaluation.predictions import Predictions

        return Predictions.load(self.folder / "predictions" / f"{split}.parquet")

    def classifier(self, trust: tuple[str, ...] = ()) -> Classifier:
        """The fitted model; nothing that the folder brings is executed.

        Args:
            trust: modules of your own that the model may be made from.

        Raises:
            RunError: if the model is missing, damaged, or needs code that is not trusted.
        """
        from musicreclass.classifiers.factory import load

        return load(self.folder / "model", trust)

    @contextmanager
    def claimed(self, if_locked: str = "wait") -> Iterator[None]:
        """Hold the run's lock: one process at a time works in a run folder.

        Args:
            if_locked: `wait` for the process that holds it, or `error`.

        Raises:
            RunError: if the folder cannot be made, holds something other than a run, or is busy and that is an error.
        """
        self._refuse_foreign()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = Lock(self.folder / ".lock")
            if if_locked == "error" and (owner := lock.holder()) is not None:
                raise RunError(
                    f"{self.folder}: busy: process {owner.get('pid')} on {owner.get('host')} is at work on it"
                )
            lock.acquire(self._announce)
        except OSError as error:
            raise RunError(f"{self.folder}: the run folder cannot be written ({error.strerror})") from error
        self.lock = lock
        try:
            yield
        finally:
            lock.release()

    def check_lock(self) -> None:
        """Make sure that the folder is still this process's to write.

        Raises:
            LockLostError: if another process took it over while this one was asleep.
        """
        if self.lock is not None:
            self.lock.check()

    def _announce(self, owner: dict[str, Any]) -> None:
        print(f"{self.folder}: waiting for process {owner.get('pid')} on {owner.get('host')}", file=sys.stderr)

    def _refuse_foreign(self) -> None:
        """A folder with anything in it that is not a run's is never written into."""
        if self.folder.is_dir() and not (self.folder / "identity.json").is_file():
            own = re.compile(r"\.lock.*|\..+\.part")  # what a kill in the first moment leaves
            strange = [p.name for p in self.folder.iterdir() if not own.fullmatch(p.name)]
            if strange:
                raise RunError(
                    f"run_dir={self.folder}: holds {strange[0]!r}, which is no run; name a new or an empty folder"
                )

    def begin(self, config: dict[str, Any], identity: dict[str, Any], resume: bool) -> None:
        """Write what is known ahead of training.

        Args:
            config: resolved.
            identity: signature, fingerprint, versions.
            resume: whether to go on from the checkpoints that are there; otherwise all of the run's files go.

        Raises:
            RunError: if the folder cannot be written.
        """
        try:
            if (
                not resume and (self.folder / "identity.json").exists()
            ):  # never another run's files under this one's name
                self.set_state("running")
                self.write("identity.json", {"cleared": True})
            for name in MADE if resume else (*MADE, *KEPT):
                remove(self.folder / name)
            self.write("identity.json", identity)
            self.set_state("running")
            for left_by_a_kill in (*self.folder.rglob(".*.part"), *self.folder.rglob(".*.old")):
                remove(left_by_a_kill)
            write_text(self.folder / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
        except OSError as error:
            raise RunError(f"{self.folder}: the run folder cannot be written ({error.strerror})") from error

    def write(self, name: str, value: dict[str, Any]) -> None:
        """Replace one of the folder's JSON files."""
        write_json(self.folder / name, value)

    def save_model(self, classifier: Classifier) -> None:
        """Put a fitted model in place, whole or not at all."""
        with replacing(self.folder / "model") as scratch:
            scratch.mkdir()
            classifier.save(scratch)

    def save_tracks(self, tracks: pd.DataFrame) -> None:
        """Note which tracks there were, in which split, by whom, with what content: for leaks into data that comes later."""
        with replacing(self.folder / TRACKS) as scratch:
            tracks.drop(columns=["path"]).to_parquet(scratch)

    def set_state(self, state: str, error: str | None = None) -> None:
        """Write status.json."""
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        here = {"state": state, "error": error, "host": socket.gethostname(), "pid": os.getpid(), "heartbeat": now}
        self.write("status.json", here)

    @contextmanager
    def session(self) -> Iterator[None]:
        """Training and scoring happen in here; how the block ends becomes the run's state.

        Raises:
            RunFailedError: for any error that the user did not cause, after its traceback is in run.log.
        """
        handler = logging.FileHandler(self.folder / "run.log", encoding="utf-8")
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
            by = signals[0] if signals else "the user"
            log.info("stopped by %s", by)
            self._end("interrupted", f"stopped by {by}")
            if signals:
                raise Terminated from None
            raise
        except TrialPruned as pruned:
            log.info("%s", pruned)
            self._end("pruned", str(pruned))
            pruned.folder = self.folder
            raise
        except (Exception, SystemExit) as error:
            words = " ".join(str(error).split()) or "no message"
            log.error("failed\n%s", traceback.format_exc())
            self._end("failed", f"{type(error).__name__}: {words}")
            if isinstance(error, UserError):
                raise
            raise RunFailedError(self.folder, error) from error
        finally:
            logging.captureWarnings(False)
            root.removeHandler(handler)
            handler.close()

    def _end(self, state: str, error: str) -> None:
        """Write how the run ended, unless another process has it by now; on a full disk it stays as after a kill."""
        if not (self.lock and self.lock.lost):
            with suppress(OSError):
                self.set_state(state, error)


def finished_run(config: dict[str, Any]) -> Run | None:
    """The finished run that a resolved configuration asks for, if there is one and nothing is left to do for it.

    Answers without reading data or importing what trains, if the data's fingerprint is known.
    """
    fingerprint = None if config["force"] else known_fingerprint(config)
    if fingerprint is None:
        return None
    run = Run(run_folder(config, fingerprint))
    if run.state != "done" or run.identity.get("signature") != signature(config, fingerprint):
        return None
    tracks = run.provenance.get("tracks", {})
    missing = [s for s in config["evaluate"] if s not in run.metrics and tracks.get(s, 1)]
    return None if missing else run
