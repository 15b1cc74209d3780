"""The `model/` folder of a run: meta.json, the files of the model, and their checksums."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from musicreclass.errors import RunError, UserError
from musicreclass.plurals import counted
from musicreclass.storage.atomic import POINTER
from musicreclass.storage.regular import read_regular, read_regular_text
from musicreclass.storage.store import sha256

CARD = "meta.json"
CHECKSUMS = "SHA256SUMS"
CARD_FORMAT = 1  # of meta.json
KINDS = ("network", "estimator", "boosted", "tag_estimators")


@dataclass
class ModelCard:
    """What a saved model is; `model/meta.json`.

    Attributes:
        kind: which Classifier loads it: `network`, `estimator`, `boosted` or `tag_estimators`.
        target: the dotted path of the network or estimator.
        arguments: what the target was created with, plain values.
        input: `table` or `waveform`.
        classes: names, in the order of the probabilities.
        outputs: the number of logits of a network, for the first classes; None for all. Only test has tracks of the others.
        columns: the features it reads, in order (for `input: table`).
        scale: whether features are standardised.
        sample_rate: of the waveform, Hz (this and what follows for `input: waveform`).
        clip_seconds: the length of a crop.
        eval_crops: evenly spaced crops of a track whose probabilities are averaged.
        eval_crop_position: the position of a single crop, `middle` or `start`.
        ranges: of the features over the training rows, as `training_ranges` returns them; None if unknown.
        frontend: settings of the log-mel before the network; None for a network that reads the waveform.
        is_multi: whether the classes are tags: the model gives the probability of each, and they do not sum to 1.
    """

    kind: str
    target: str
    arguments: dict[str, Any]
    input: str
    classes: list[str]
    columns: list[str]
    scale: bool = True
    sample_rate: int = 0
    clip_seconds: float = 0.0
    eval_crops: int = 1
    eval_crop_position: str = "middle"
    frontend: dict[str, Any] | None = None
    outputs: int | None = None
    ranges: dict[str, list[Any]] | None = None
    is_multi: bool = False

    @property
    def logits(self) -> int:
        """The number of logits of a network."""
        return len(self.classes) if self.outputs is None else self.outputs

    def save(self, folder: Path) -> None:
        """Write `meta.json`."""
        (folder / CARD).write_text(json.dumps({"format": CARD_FORMAT, **self.__dict__}, indent=2), encoding="utf-8")


def read_card(folder: Path) -> ModelCard:
    """The card of a saved model.

    Raises:
        RunError: if the folder is incomplete or of another program.
    """
    path = folder / CARD
    try:
        fields = json.loads(read_regular_text(path))
    except FileNotFoundError as error:
        line = f"{folder}: no {CARD}: not a model, or the model of an unfinished run"
        raise RunError(line, "no_model", folder) from error
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path}: cannot be read ({error})", "unreadable", path) from error
    if not isinstance(fields, dict) or fields.pop("format", None) != CARD_FORMAT or fields.get("kind") not in KINDS:
        raise RunError(f"{path}: not a model of this version of musicreclass", "another_format", path)
    with reading(path):
        card = TypeAdapter(ModelCard).validate_python(fields)
        if len(set(card.classes)) != len(card.classes):
            raise ValueError("a class is named twice")
        if not 0 < card.logits <= len(card.classes):
            raise ValueError(f"outputs={card.outputs}, and there are {counted(len(card.classes), 'class')}")
        if card.ranges is not None:
            check_saved_ranges(card.ranges, len(card.columns))
        return card


def check_saved_ranges(ranges: dict[str, list[Any]], columns: int) -> None:
    """Make sure that saved ranges are of as many columns.

    Raises:
        ValueError: if they are not.
    """
    kinds = {"low": (float, int, type(None)), "high": (float, int, type(None)), "varies": (bool,)}
    for name, kind in kinds.items():
        values = ranges.get(name, [])
        if len(values) != columns or not all(isinstance(value, kind) for value in values):
            raise ValueError(f"ranges.{name}: must have {counted(columns, 'value')}")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn any error while a saved file is read into one line that names the file.

    Raises:
        RunError: for any error that is not one of a user's already.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        with suppress(OSError):
            if read_regular(path)[: len(POINTER)] == POINTER:
                line = f"{path}: a Git LFS pointer, not the file itself; fetch it with git lfs pull"
                raise RunError(line, "git_lfs_pointer", path) from error
        reason = " ".join(str(error).split())[:160]
        line = f"{path}: not a readable part of a model ({type(error).__name__}: {reason})"
        raise RunError(line, "damaged_model", path) from error


def check_archive(path: Path) -> None:
    """Make sure that the entries of a ZIP archive (skops, npz) are stored as they are: compressed ones could expand without limit.

    Raises:
        ValueError: if one is compressed.
    """
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{entry.filename} is compressed")


def write_checksums(folder: Path) -> None:
    """Write the SHA-256 of every file of a model."""
    sums = [f"{sha256(file)}  {file.name}\n" for file in sorted(folder.iterdir())]
    (folder / CHECKSUMS).write_text("".join(sums), encoding="utf-8")


def verify_checksums(folder: Path) -> None:
    """Make sure that the files of a model are as they were written.

    Raises:
        RunError: for a file that is missing or has changed.
    """
    with reading(folder / CHECKSUMS):
        lines = read_regular_text(folder / CHECKSUMS).splitlines()
        sums = {name: checksum for checksum, _, name in (line.partition("  ") for line in lines)}
        names = {file.name for file in folder.iterdir() if file.is_file() and not file.is_symlink()}
        if invalid := sorted(sums.keys() - names):
            raise ValueError(f"{invalid[0]!r} is not a file of this folder")
    for name, checksum in sums.items():
        with reading(folder / name):
            if sha256(folder / name) != checksum:
                raise ValueError(f"it has changed since it was written, according to {CHECKSUMS}")
