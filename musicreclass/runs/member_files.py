"""The files of a run that an ensemble copies: what describes the run, its model, and its predictions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from musicreclass.errors import RunError
from musicreclass.runs.files import unreadable
from musicreclass.runs.folder import SKETCHES, TRACKS
from musicreclass.storage.regular import LIMIT, copy_regular

RECORDS = ("config.yaml", "identity.json", "status.json", "metrics.json", "provenance.json", TRACKS, SKETCHES)
PREDICTIONS = tuple(f"{split}.parquet" for split in ("train", "valid", "test"))
MODEL_LIMIT = 16 << 30  # bytes of a file of a model
MAX_FILES = 100  # of a model


def member_files(folder: Path) -> Iterator[Path]:
    """The files to copy, relative to the run folder.

    Raises:
        RunError: for a link, which could lead out of the run folder, or a model of too many files.
    """
    model = folder / "model"
    parts = [Path("predictions", name) for name in PREDICTIONS]
    if model.is_dir() and not model.is_symlink():
        names = sorted(entry.name for entry in os.scandir(model))
        if len(names) > MAX_FILES:
            raise RunError(f"{model}: more than {MAX_FILES} files, which is no model of a run", "damaged_model", model)
        parts += [Path("model", name) for name in names]
    for path in (model, folder / "predictions"):
        refuse_link(path)
    for part in [*map(Path, RECORDS), *parts]:
        refuse_link(folder / part)
        if (folder / part).exists():
            yield part


def refuse_link(path: Path) -> None:
    """Raise if a part of a run is a link."""
    if path.is_symlink():
        message = f"{path}: is a link, and an ensemble copies only files inside the run folder; replace it by its file"
        raise RunError(message, "link_in_run", path)


def copy_member(folder: Path, target: Path) -> None:
    """Copy the files of a run into a new folder.

    Raises:
        RunError: if one cannot be read, is a link or no regular file, or is too large.
    """
    for part in member_files(folder):
        (target / part).parent.mkdir(parents=True, exist_ok=True)
        try:
            copy_regular(folder / part, target / part, MODEL_LIMIT if part.parent.name == "model" else LIMIT)
        except OSError as error:
            if str(error.filename) != str(folder / part):  # a full disk
                raise
            raise unreadable(folder / part, error) from error
