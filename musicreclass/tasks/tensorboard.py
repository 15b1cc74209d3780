"""TensorBoard over all runs, under readable names.

TensorBoard names a run by its path below one folder, and the names of run folders end in a hash. TensorBoard is therefore
given a folder of links to the event files, named by model and by what differs: data, seed, settings. An event file of that folder
lists the columns of the HParams tab: the model, the settings that differ and the final scores, those on validation first.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

from musicreclass.comparison.differences import label_rows
from musicreclass.comparison.entries import Entry
from musicreclass.comparison.rows import Row
from musicreclass.errors import RunError
from musicreclass.report.summary import final_results, hyperparameters
from musicreclass.runs.find import find_runs
from musicreclass.runs.folder import Run
from musicreclass.runs.signals import stoppable
from musicreclass.runs.signature import experiment_settings

REFRESH_SECONDS = 10
# with -c and -m Python searches the working directory first, where TensorBoard's optional imports must not be found
START = "import sys; sys.path[:] = [p for p in sys.path if p]; from tensorboard.main import run_main; run_main()"
MAX_LINK_NAME = 200  # bytes; file systems allow 255


class Links:
    """A folder of links, one for each run with event files.

    Args:
        folder: for the links; must be empty.
        paths: run folders, or folders that contain run folders.
    """

    def __init__(self, folder: Path, paths: list[Path]) -> None:
        self.folder, self.paths = folder, paths
        self.names: dict[Path, str] = {}  # by run folder

    def refresh(self) -> None:
        """Link new runs. A link is never renamed, so that names are stable while TensorBoard is open."""
        runs = {run.folder.resolve(): run for path in self.paths for run in find_runs(path)}
        with_events = {folder: run for folder, run in runs.items() if (folder / "tensorboard").is_dir()}
        for folder, name in unique_names(with_events).items():
            if folder not in self.names:
                taken = set(self.names.values())
                while name in taken:
                    name += f" {folder.name[-6:]}"
                (self.folder / name).symlink_to(folder / "tensorboard", target_is_directory=True)
                self.names[folder] = name

    def write_columns(self) -> None:
        """Write the columns of the HParams tab for the runs that are linked now."""
        from torch.utils.tensorboard import FileWriter
        from torch.utils.tensorboard.summary import hparams

        settings: list[dict[str, Any]] = []
        scores: dict[str, float] = {}
        for folder in self.names:
            with suppress(RunError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
                run = Run(folder)
                settings.append(hyperparameters(run.settings))
                scores |= final_results(run.metrics) if run.state == "done" else {}
        columns: dict[str, Any] = {}
        for name in differing_settings(settings):
            of_runs = [values[name] for values in settings if name in values]
            columns[name] = 0.0 if all(isinstance(value, (int, float)) for value in of_runs) else ""  # the type counts
        order = sorted(scores, key=lambda name: (not name.startswith("final/valid"), not name.startswith("final/")))
        writer = FileWriter(str(self.folder))
        writer.add_summary(hparams(columns, {name: scores[name] for name in order})[0])
        writer.close()

    def refresh_until(self, stop: threading.Event) -> None:
        """Link new runs every `REFRESH_SECONDS` until an event is set."""
        while not stop.wait(REFRESH_SECONDS):
            with suppress(OSError, RunError):  # a run is being created or removed; retried at the next refresh
                self.refresh()


def unique_names(runs: dict[Path, Run]) -> dict[Path, str]:
    """A unique name for each run: the model, data and seed if there are several, and the settings in which runs of that model differ."""
    rows: dict[Path, Row] = {}
    for folder, run in runs.items():
        # damaged or just created: named by its folder
        with suppress(RunError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
            rows[folder] = Row([read_settings(run)], {})
    label_rows(list(rows.values()))
    several = {
        "data": len({row.runs[0].data for row in rows.values()}) > 1,
        "seed": len({row.runs[0].seed for row in rows.values()}) > 1,
    }
    names = {folder: link_name(rows[folder], **several) if folder in rows else shorten(folder.name) for folder in runs}
    folders = defaultdict(list)
    for folder, name in names.items():
        folders[name].append(folder)
    return {f: name if len(folders[name]) == 1 else f"{name} {f.name[-6:]}" for f, name in names.items()}


def read_settings(run: Run) -> Entry:
    """Read the settings of a run in any state, without its scores.

    Raises:
        RunError, KeyError, TypeError, ValueError: if a file is damaged or incomplete.
    """
    settings, identity = run.settings, run.identity
    if identity.fingerprint is None or "model" not in identity.choices:
        raise ValueError("identity.json is incomplete")
    return Entry(
        folder=run.folder,
        settings=settings,
        identity=identity,
        provenance={},
        experiment=experiment_settings(settings),
        split="",
        leaky="unknown",
        cautions={},
        overlap=[],
        selected=False,
        stale=False,
        lacks_code=False,
        predictions={},
    )


def differing_settings(settings: list[dict[str, Any]]) -> list[str]:
    """The model, and the other hyperparameters in which runs of one model differ, each copy of another one left out.

    More would hide the scores: TensorBoard sorts the names and shows the columns of the first five.
    """
    by_model = defaultdict(list)
    for values in settings:
        by_model[str(values.get("model"))].append(values)
    columns: dict[str, list[str]] = {}  # name -> the value of each run
    for name in dict.fromkeys(name for values in settings for name in values):
        column = [str(values.get(name)) for values in settings]
        differs = any(len({str(values.get(name)) for values in same}) > 1 for same in by_model.values())
        if differs and column not in columns.values() and not name.endswith("random_state"):
            columns[name] = column
    return ["model", *(name for name in columns if name != "model")]


def link_name(row: Row, data: bool, seed: bool) -> str:
    """The name of a row with one run, without characters that are not allowed in file names.

    Args:
        row: the row.
        data: whether the name contains the data.
        seed: whether the name contains the seed.
    """
    run = row.runs[0]
    parts = [run.data] if data else []
    parts += [row.model, *([f"s{run.seed}"] if seed else [])]
    parts += [f"{name}={value}" for name, value in row.differences.items() if name not in ("data", "seed", "run")]
    name = " ".join(parts)
    return shorten(re.sub(r"[^\w .,=+()\[\]-]", "_", name)).strip(". ")


def shorten(name: str) -> str:
    """The beginning of a file name that is too long; its length in bytes counts."""
    return os.fsencode(name)[:MAX_LINK_NAME].decode("utf-8", errors="ignore")


def serve(paths: list[Path], host: str, port: str) -> int:
    """Run TensorBoard over run folders until it is stopped.

    Args:
        paths: run folders, or folders that contain run folders.
        host, port: the address to listen on.

    Returns:
        the exit code of TensorBoard.

    Raises:
        RunError: if there are no runs with event files.
    """
    with stoppable(), tempfile.TemporaryDirectory(prefix="musicreclass-board-") as folder:
        links = Links(Path(folder), paths)
        links.refresh()
        if not links.names:
            searched = ", ".join(map(str, paths))
            raise RunError(f"no runs with event files under {searched}; train one first", "no_event_files", searched)
        links.write_columns()
        options = ["--logdir", folder, "--port", port, "--host", host, "--reload_interval", "10"]
        server = subprocess.Popen([sys.executable, "-c", START, *options])
        stop = threading.Event()
        refresher = threading.Thread(target=links.refresh_until, args=(stop,))
        refresher.start()
        try:
            return server.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            server.terminate()
            server.wait()
            stop.set()
            refresher.join()
