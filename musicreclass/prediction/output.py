"""The table of labels: CSV, lines of JSON or Parquet, one row per file. It is replaced atomically and can be continued.

While files are labelled, each row is appended to a journal next to the table. A process that starts again reads both, so a kill
loses no finished row.
"""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from musicreclass.errors import DataError, UserError, notices
from musicreclass.evaluation.tag_sets import SEPARATOR
from musicreclass.prediction.formats import (
    FIELDS,
    FORMATS,
    NESTED,
    READERS,
    VERSION,
    WRITERS,
    NotLabelsError,
    Row,
    check_row,
)
from musicreclass.prediction.labels import Label
from musicreclass.storage.atomic import DISK_FULL, remove, replacing
from musicreclass.storage.file_parts import file_of
from musicreclass.storage.locks import describe_owner, locked
from musicreclass.storage.versions import FileVersion

SAVE_INTERVAL = 60.0  # seconds after which the table is written again
JOURNAL = ".{}.rows"
# what readers of damaged tables raise; pyarrow's ArrowNotImplementedError, of column types that it cannot read, is a NotImplementedError
DAMAGE = (
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RecursionError,
    NotImplementedError,
)
INPUT = "use a table that predict has written"  # the remedy for a table that is only read


class LabelTable:
    """The rows of an output file.

    Args:
        path: `.csv`, `.jsonl` or `.parquet`; of a link, the file that it leads to is written.
        run: the signature of the classifier, which each row records.
        classes: of the probabilities that a Parquet file contains.

    Attributes:
        rows: by path.

    Raises:
        UserError: for another suffix.
    """

    def __init__(self, path: Path, run: str, classes: list[str]) -> None:
        check_suffix(path)
        self.format, self.run, self.classes = path.suffix.lower(), run, classes
        self.path = Path(os.path.realpath(path)) if path.is_symlink() else path
        self.journal_path = self.path.with_name(JOURNAL.format(self.path.name))
        self.rows: dict[str, Row] = {}
        self._journal: IO[bytes] | None = None
        self._saved = time.monotonic()

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Hold the table, with the rows that exist; it is written when the block ends, however it ends.

        Raises:
            UserError: if the file is no such table, cannot be read or written, or the disk is full.
        """
        with self.reporting():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with locked(self.path.with_name(f".{self.path.name}.lock"), self.announce_wait):
                for scratch in self.path.parent.glob(f".{glob_escaped(self.path.name)}.*.part"):
                    remove(scratch)  # of a killed process
                self.rows = {row["path"]: row for row in read_table(self.path, self.format)}
                for row in read_journal(self.journal_path):
                    self.rows[row["path"]] = updated(self.rows.get(row["path"], {}), row)
                self._journal = self.journal_path.open("ab")
                try:
                    yield
                finally:
                    self._journal.close()
                    self.save()
                    self.journal_path.unlink()

    def is_current(self, path: Path) -> bool:
        """Whether the row of a file is up to date: it has no error, and neither the file nor the classifier has changed."""
        row = self.rows.get(str(path))
        return row is not None and not row.get("error") and all(row.get(k) == v for k, v in self.version(path).items())

    def version(self, path: Path) -> Row:
        """The fields by which a later process knows whether a row is up to date."""
        version = FileVersion.of(path)
        size, modified = (version.size, version.mtime_ns // 1_000_000) if version else (None, None)
        return {"size": size, "modified": modified, "run": self.run}

    def add(self, label: Label, version: Row) -> None:
        """Add the row of a file, to the journal too.

        Args:
            label: of the file.
            version: of the file, from before it was read.
        """
        row = {**label.as_json(), **version}
        if self.format == ".parquet":
            row["probabilities"] = dict(zip(self.classes, label.probabilities, strict=False))
        self.rows[label.path] = updated(self.rows.get(label.path, {}), row)
        assert self._journal is not None
        self._journal.write(json.dumps(row).encode() + b"\n")
        self._journal.flush()
        if time.monotonic() - self._saved > SAVE_INTERVAL:
            self.save()

    def correct(self, corrections: Mapping[Path, str]) -> None:
        """Set the genres that a person has checked."""
        for path, genre in corrections.items():
            if str(path) in self.rows:
                self.rows[str(path)] |= as_checked(genre)

    def drop_replaced(self, paths: Iterable[Path]) -> None:
        """Remove the rows of an image whose tracks are labelled now, and of tracks of files that are now divided otherwise.

        Rows that a person has checked stay.
        """
        current = {str(path) for path in paths}
        files = {str(file_of(Path(path))) for path in current}
        for path, row in list(self.rows.items()):
            if path not in current and row.get("checked") != "yes" and str(file_of(Path(path))) in files:
                del self.rows[path]

    def describe(self, details: Mapping[str, Row]) -> None:
        """Add columns to rows, by path."""
        for path, columns in details.items():
            if path in self.rows:
                self.rows[path] |= columns

    def save(self) -> None:
        """Replace the file by all rows, sorted by path."""
        rows = [self.rows[path] for path in sorted(self.rows)]
        with replacing(self.path, durable=True) as scratch:
            WRITERS[self.format](scratch, rows)
        self._saved = time.monotonic()

    def announce_wait(self, owner: Row) -> None:
        """Say that another process writes the table."""
        notices.warning("%s: waiting for %s", self.path, describe_owner(owner))

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Turn errors of the disk into one line.

        Raises:
            DataError: if the table or the journal cannot be written.
        """
        try:
            yield
        except OSError as error:
            full = error.errno in DISK_FULL
            remedy = "free some space; the same command continues" if full else "choose another file with --output"
            line = f"{self.path}: cannot be written ({error.strerror}); {remedy}"
            raise DataError(line, "no_space" if full else "unwritable", self.path) from error


def updated(old: Row, new: Row) -> Row:
    """The row of a file that was labelled again: columns that a user has added stay, and so does a genre that a person has checked."""
    columns = (*FIELDS, *VERSION, *NESTED, *(["tags"] if has_tags_of_run(old) else []))
    added = {name: value for name, value in old.items() if name not in columns}
    checked = as_checked(old["genre"]) if old.get("checked") == "yes" else {}
    return {**added, **new, **checked}


def has_tags_of_run(row: Row) -> bool:
    """Whether the tags of a row are those of its run, which are its most probable classes, rather than a column of the user's."""
    top = [entry["genre"] for entry in row.get("top_predictions") or []]
    tags = row.get("tags")
    return isinstance(tags, str) and tags in [SEPARATOR.join(top[:n]) for n in range(len(top) + 1)]


def as_checked(genre: str) -> Row:
    """The fields of a row whose genre a person has checked."""
    return {"genre": genre, "checked": "yes", "reason": ""}


def check_suffix(path: Path, option: str = "--output") -> None:
    """Make sure that the format of a table of labels is known.

    Args:
        path: of the table.
        option: that names it, for messages.

    Raises:
        UserError: if it is not.
    """
    if path.suffix.lower() not in FORMATS:
        line = f"{option} {path}: must end with one of {', '.join(FORMATS)}"
        raise UserError(line, "invalid_value", option.lstrip("-"), str(path))


def read_table(path: Path, suffix: str, remedy: str = "choose another file with --output") -> list[Row]:
    """The rows of an output file; none if it does not exist.

    Args:
        path: of the file.
        suffix: of the format.
        remedy: for messages.

    Raises:
        DataError: if it is not a table of labels, or cannot be read.
    """
    if not path.exists():
        return []
    try:
        if not path.is_file():
            raise NotLabelsError("not a regular file")
        rows = READERS[suffix](path)
        for row in rows:
            check_row(row)
    except (*DAMAGE, csv.Error, OSError) as error:
        reason = str(error) if isinstance(error, NotLabelsError) else getattr(error, "strerror", None)
        line = f"{path}: is not a table of labels{f' ({reason})' if reason else ''}; {remedy}"
        raise DataError(line, "foreign_output", path) from error
    return rows


def read_rows(path: Path) -> list[Row]:
    """The rows of a table that exists, those of a `predict` that was not finished included.

    Raises:
        DataError: as `read_table`.
    """
    rows = {row["path"]: row for row in read_table(path, path.suffix.lower(), INPUT)}
    real = Path(os.path.realpath(path))  # as `LabelTable` writes it
    for row in read_journal(real.with_name(JOURNAL.format(real.name))):
        rows[row["path"]] = updated(rows.get(row["path"], {}), row)
    return list(rows.values())


def read_journal(path: Path) -> list[Row]:
    """The rows of a journal; a last line that was cut short by a kill is left out."""
    rows = []
    if os.path.isfile(path):  # unlike `Path.is_file`, False for a name that is too long
        for line in path.read_bytes().split(b"\n"):
            with suppress(*DAMAGE):
                row = json.loads(line)
                check_row(row)
                rows.append(row)
    return rows


def glob_escaped(name: str) -> str:
    """A name as a pattern that matches only it."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
