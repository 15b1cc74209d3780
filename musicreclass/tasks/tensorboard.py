"""TensorBoard over all runs, each under a name that a person can read.

TensorBoard names a run by its place below one folder. A run folder's name ends in a hash, which tells two runs apart but not
in what they differ; so TensorBoard is given a folder of links to the runs' event files, named by data, model,
seed and what differs.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from musicreclass.compare.differences import describe
from musicreclass.compare.entries import Entry, settings_of
from musicreclass.compare.rows import Row
from musicreclass.errors import RunError, UserError
from musicreclass.runs.find import find_runs
from musicreclass.runs.folder import Run
from musicreclass.runs.signals import stoppable

LOOK_AGAIN = 10.0  # seconds
LONGEST = 100  # characters of a name


class Links:
    """A folder of links, one for each run that has event files.

    Args:
        folder: holds the links, and nothing else.
        runs: where the runs are.
    """

    def __init__(self, folder: Path, runs: list[Path]) -> None:
        self.folder, self.runs = folder, runs
        self.known: dict[Path, str] = {}

    def refresh(self) -> None:
        """Link what is new. A run keeps the name it was first given, so that nothing is renamed under a reader's eyes."""
        found = {run.folder.resolve(): run for place in self.runs for run in find_runs(place)}
        shown = {folder: run for folder, run in found.items() if (folder / "tensorboard").is_dir()}
        for folder, name in names(shown).items():
            if folder not in self.known:
                taken = set(self.known.values())
                while name in taken:
                    name += f" {folder.name[-6:]}"
                (self.folder / name).symlink_to(folder / "tensorboard", target_is_directory=True)
                self.known[folder] = name

    def keep(self, stop: threading.Event) -> None:
        """Look for new runs until told to stop."""
        while not stop.wait(LOOK_AGAIN):
            with suppress(OSError, RunError):  # a run that comes or goes just now: the next time
                self.refresh()


def names(runs: dict[Path, Run]) -> dict[Path, str]:
    """A name for each run, no two alike: data, model, seed, the settings in which runs of that model differ."""
    rows: dict[Path, Row] = {}
    for folder, run in runs.items():
        with suppress(RunError, KeyError, TypeError, ValueError):  # it only begins, or is damaged: its folder's name
            rows[folder] = Row([described(run)], {})
    describe(list(rows.values()))
    found = {folder: readable(rows[folder]) if folder in rows else folder.name for folder in runs}
    alike = defaultdict(list)
    for folder, name in found.items():
        alike[name].append(folder)
    return {f: name if len(alike[name]) == 1 else f"{name} {f.name[-6:]}" for f, name in found.items()}


def described(run: Run) -> Entry:
    """A run as far as its settings describe it, whatever its state and without its scores.

    Raises:
        RunError, KeyError, TypeError, ValueError: if its files do not say what a run's files say.
    """
    config, identity = run.config, run.identity
    identity["choices"]["model"], identity["fingerprint"][:6]
    return Entry(
        folder=run.folder,
        config=config,
        identity=identity,
        provenance={},
        settings=settings_of(config),
        split="",
        leaky="unknown",
        overlap=[],
        stale=False,
        scored={},
    )


def readable(row: Row) -> str:
    """A row of one run in words that can be a folder's name."""
    run = row.runs[0]
    differs = [f"{name}={value}" for name, value in row.differs.items() if name not in ("data", "seed", "run")]
    told = " ".join([run.data, row.model, f"s{run.seed}", *differs])
    return re.sub(r"[^\w .,=+()\[\]-]", "_", told)[:LONGEST].strip(". ")


def serve(runs: list[Path], host: str, port: str) -> int:
    """Run TensorBoard over run folders until it is stopped.

    Args:
        runs: run folders, or folders that hold some.
        host, port: where it listens.

    Returns:
        the exit code of TensorBoard.

    Raises:
        UserError: if there are no runs with event files.
    """
    with stoppable(), tempfile.TemporaryDirectory(prefix="musicreclass-board-") as folder:
        links = Links(Path(folder), runs)
        links.refresh()
        if not links.known:
            raise UserError(f"no runs with event files under {', '.join(map(str, runs))}; train one first")
        words = ["--logdir", folder, "--port", port, "--host", host, "--reload_interval", "10"]
        server = subprocess.Popen([sys.executable, "-m", "tensorboard.main", *words])
        stop = threading.Event()
        watch = threading.Thread(target=links.keep, args=(stop,))
        watch.start()
        try:
            return server.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            server.terminate()
            server.wait()
            stop.set()
            watch.join()
