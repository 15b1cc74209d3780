"""Find run folders: those in a folder, and the finished one that settings describe."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from musicreclass.config.auto import resolve_auto
from musicreclass.config.settings.tasks import TrainSettings
from musicreclass.runs.files import MEMBERS, unreadable
from musicreclass.runs.folder import Run
from musicreclass.runs.signature import remembered_data, run_folder, signature


def find_runs(folder: Path) -> list[Run]:
    """The run in a folder, or the runs below it, without the members of ensembles.

    Those of a sweep's list may be missing; their state is `absent`.

    Raises:
        RunError: if the folder does not exist, or the list of a sweep's runs cannot be read.
    """
    if not folder.is_dir() or (folder / "status.json").is_file():
        return [Run.open(folder)]
    runs_file = folder / "runs.csv"  # of a sweep
    if runs_file.is_file():
        try:
            with runs_file.open(encoding="utf-8", newline="") as file:
                paths = [row["run"] for row in csv.DictReader(file) if row.get("run")]
        except (OSError, ValueError, csv.Error) as error:
            raise unreadable(runs_file, error) from error
        is_link = folder.resolve() != Path(os.path.abspath(folder))  # .. then leads elsewhere
        parent = folder.resolve() if is_link else folder
        return [Run(Path(os.path.normpath(parent / path))) for path in paths]
    visible = [file.parent for file in sorted(folder.rglob("status.json")) if not is_hidden(file.relative_to(folder))]
    runs = [Run(path) for path in visible if not is_member(path)]
    if not runs:  # a folder of sweeps, with runs that are elsewhere
        sweeps = sorted(file.parent for file in folder.rglob("runs.csv") if file.parent != folder)
        runs = list({run.folder: run for sweep in sweeps for run in find_runs(sweep)}.values())
    return runs


def finished_run(settings: TrainSettings) -> Run | None:
    """The finished run that settings describe, if there is one and all its splits are scored.

    If the data's fingerprint is remembered, no data is read and no training code imported.

    Raises:
        RunError: if the run folder has a damaged file or a newer format.
    """
    remembered = None if settings.force else remembered_data(settings)
    if remembered is None:
        return None
    fingerprint, sizes = remembered
    settings = resolve_auto(settings, sizes)
    run = Run(run_folder(settings, fingerprint))
    if run.state != "done" or run.identity.signature != signature(settings, fingerprint):
        return None
    sizes = run.provenance.get("tracks", {})
    missing = [split for split in settings.evaluate if split not in run.metrics and sizes.get(split, 1)]
    return None if missing else run


def is_hidden(path: Path) -> bool:
    """Whether any part of a path starts with a dot."""
    return any(part.startswith(".") for part in path.parts)


def is_member(folder: Path) -> bool:
    """Whether a run folder is inside that of an ensemble."""
    return folder.parent.name == MEMBERS and (folder.parent.parent / "status.json").is_file()
