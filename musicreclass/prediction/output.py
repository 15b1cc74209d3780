"""The table of labels: CSV, lines of JSON or Parquet, one row per file. It is replaced atomically and can be continued.

While files are labelled, each row is appended to a journal next to the table. A process that starts again reads both, so a kill
loses no finished row.
"""

from __future__ import annotations

import csv
import errno
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count, takewhile
from pathlib import Path
from typing import IO, Any

import pandas as pd

from musicreclass.errors import DataError, UserError, notices
from musicreclass.prediction.labels import Label
from musicreclass.storage.atomic import remove, replacing
from musicreclass.storage.locks import describe_owner, locked
from musicreclass.storage.versions import FileVersion

FORMATS = (".csv", ".jsonl", ".parquet")
FIELDS = ("path", "genre", "confidence", "checked", "reason", "duration", "processing_time", "error")
VERSION = ("size", "modified", "run")  # of the file and of the classifier, to know whether a row is up to date
REQUIRED = ("path", "genre", "confidence", *VERSION)
NESTED = ("top_predictions", "probabilities")  # are columns of their own in tables
TEXTS = ("path", "genre", "reason", "error", "run")
NUMBERS = ("confidence", "duration", "processing_time", *VERSION[:2])
SAVE_INTERVAL = 60.0  # seconds after which the table is written again
JOURNAL = ".{}.rows"
PATH_BYTES = "path_bytes"
Row = dict[str, Any]


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
                    self.rows[row["path"]] = {**self.extra(row["path"]), **row}
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
        self.rows[label.path] = {**self.extra(label.path), **row}
        assert self._journal is not None
        self._journal.write(json.dumps(row).encode() + b"\n")
        self._journal.flush()
        if time.monotonic() - self._saved > SAVE_INTERVAL:
            self.save()

    def correct(self, corrections: Mapping[Path, str]) -> int:
        """Set the genres that a person has checked; returns how many rows have one."""
        rows = [(self.rows[str(path)], genre) for path, genre in corrections.items() if str(path) in self.rows]
        for row, genre in rows:
            row |= {"genre": genre, "checked": "yes", "reason": ""}
        return len(rows)

    def extra(self, path: str) -> Row:
        """The values of columns that a user has added."""
        columns = (*FIELDS, *VERSION, *NESTED)
        return {name: value for name, value in self.rows.get(path, {}).items() if name not in columns}

    def save(self) -> None:
        """Replace the file by all rows, sorted by path."""
        rows = [self.rows[path] for path in sorted(self.rows)]
        with replacing(self.path) as scratch:
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
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            remedy = "free some space; the same command goes on" if full else "choose another file with --output"
            line = f"{self.path}: cannot be written ({error.strerror}); {remedy}"
            raise DataError(line, "no_space" if full else "unwritable", self.path) from error


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


def read_table(path: Path, suffix: str) -> list[Row]:
    """The rows of an output file; none if it does not exist.

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
    except (ValueError, csv.Error, OSError, TypeError, AttributeError, OverflowError) as error:
        reason = str(error) if isinstance(error, NotLabelsError) else getattr(error, "strerror", None)
        line = f"{path}: exists and is not a table of labels{f' ({reason})' if reason else ''}; choose another file with --output"
        raise DataError(line, "foreign_output", path) from error
    return rows


class NotLabelsError(ValueError):
    """Why a file is not a table of labels."""


def check_columns(names: Iterable[str]) -> None:
    """Make sure that a table has the columns of a table of labels.

    Raises:
        NotLabelsError: for the first one that is missing.
    """
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise NotLabelsError(f"no column {missing[0]}")


def check_row(row: Row) -> None:
    """Make sure that a row has values of the types that `LabelTable` relies on.

    Raises:
        NotLabelsError: if it does not.
    """
    if not row["path"] or not all(isinstance(row.get(name, ""), str) for name in TEXTS):
        raise NotLabelsError(f"{', '.join(TEXTS)} must be text, and path must not be empty")
    if not all({"genre", "confidence"} <= top.keys() for top in row.get("top_predictions") or []):
        raise NotLabelsError("top_predictions must have genre and confidence")


def read_journal(path: Path) -> list[Row]:
    """The rows of a journal; a last line that was cut short by a kill is left out."""
    rows = []
    with suppress(FileNotFoundError):
        for line in path.read_bytes().split(b"\n"):
            with suppress(ValueError, KeyError, TypeError, AttributeError):
                row = json.loads(line)
                check_row(row)
                rows.append(row)
    return rows


def glob_escaped(name: str) -> str:
    """A name as a pattern that matches only it."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def write_csv(path: Path, rows: list[Row]) -> None:
    """Write rows as CSV in UTF-8; names that are not UTF-8 keep their bytes."""
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.DictWriter(file, columns_of(rows))
        writer.writeheader()
        writer.writerows(flat(row) for row in rows)


def columns_of(rows: Iterable[Row]) -> list[str]:
    """The columns of a flat table in the order for a reader: labels, details, what a user has added, probabilities."""
    longest = max((len(row.get("top_predictions") or []) for row in rows), default=0)
    top = [f"{name}_{k}" for k in range(1, longest + 1) for name in ("genre", "confidence")]
    names = dict.fromkeys([*FIELDS[:3], *top, *FIELDS[3:], *VERSION])
    names |= dict.fromkeys(name for row in rows for name in flat(row) if not name.startswith("p/"))
    return list(names | dict.fromkeys(name for row in rows for name in flat(row)))


def flat(row: Row) -> Row:
    """A row with a column for each of the most probable classes (`genre_1`, `confidence_1`, ...) and each probability (`p/<class>`)."""
    fields = {name: value for name, value in row.items() if name not in NESTED}
    for k, top in enumerate(row.get("top_predictions") or [], start=1):
        fields |= {f"genre_{k}": top["genre"], f"confidence_{k}": top["confidence"]}
    return fields | {f"p/{name}": value for name, value in (row.get("probabilities") or {}).items()}


def read_csv(path: Path) -> list[Row]:
    """Read what `write_csv` wrote, also after a spreadsheet has saved it."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.DictReader(file)
        names = reader.fieldnames or REQUIRED
        if len(names) == 1:
            raise NotLabelsError("columns must be separated by commas")
        check_columns(names)
        return [from_csv(row) for row in reader if row["path"]]


def from_csv(fields: dict[str, str]) -> Row:
    """A row of CSV with numbers and the list of top classes."""
    if None in fields:
        raise NotLabelsError("a row has more values than there are columns")
    row: Row = {}
    for name, text in fields.items():
        if name in NESTED:
            continue  # a column of this name would be lost in the other formats
        if name in NUMBERS:
            row[name] = (int(float(text)) if name in VERSION else float(text)) if text else None
        else:
            row[name] = text or ""
    return with_top(row)


def with_top(row: Row) -> Row:
    """A row with the list of top classes in place of their columns."""
    rest = dict(row)
    top: list[Row] = []
    for k in takewhile(lambda k: f"genre_{k}" in row and f"confidence_{k}" in row, count(1)):
        genre, confidence = rest.pop(f"genre_{k}"), rest.pop(f"confidence_{k}")
        if genre and confidence not in (None, ""):
            top.append({"genre": genre, "confidence": float(confidence)})
    return {**rest, "top_predictions": top}


def write_jsonl(path: Path, rows: list[Row]) -> None:
    """Write a line of JSON per row."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            text = json.dumps(row, ensure_ascii=False)
            file.write((json.dumps(row) if has_surrogates(text) else text) + "\n")


def has_surrogates(text: str) -> bool:
    """Whether a name is not UTF-8."""
    return any("\ud800" <= c <= "\udfff" for c in text)


def read_jsonl(path: Path) -> list[Row]:
    """Read what `write_jsonl` wrote."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a line is no object")
    for row in rows:
        check_columns(row)
    return rows


def write_parquet(path: Path, rows: list[Row]) -> None:
    """Write rows as Parquet, with a column `p/<class>` per class.

    Bytes of names that are not UTF-8 become `\\xNN`; the column `path_bytes`, which then exists, has these names.
    """
    frame = pd.DataFrame([with_bytes(flat(row)) for row in rows], columns=columns_of(rows) if not rows else None)
    ordered = [name for name in columns_of(rows) if name in frame]
    frame[[*ordered, *(name for name in frame if name not in ordered)]].to_parquet(path, index=False)


def with_bytes(row: Row) -> Row:
    """A row for Parquet, which stores texts in UTF-8."""
    if not has_surrogates(row["path"] + row.get("error", "")):
        return row
    texts = {name: os.fsencode(row[name]).decode("utf-8", "backslashreplace") for name in ("path", "error")}
    return {**row, **texts, PATH_BYTES: os.fsencode(row["path"])}


def read_parquet(path: Path) -> list[Row]:
    """Read what `write_parquet` wrote."""
    frame = pd.read_parquet(path).astype(object)
    check_columns(frame.columns)
    rows: list[Row] = []
    for fields in frame.where(frame.notna(), None).to_dict("records"):
        row: Row = {str(name): value for name, value in fields.items() if not str(name).startswith("p/")}
        if name := row.pop(PATH_BYTES, None):
            row["path"] = os.fsdecode(name)
        row |= {name: row.get(name) or "" for name in TEXTS}
        for name in NUMBERS:
            value = row.get(name)
            row[name] = None if value is None else int(value) if name in VERSION else float(value)
        chances = {str(k)[2:]: float(v) for k, v in fields.items() if str(k).startswith("p/") and v is not None}
        rows.append({**with_top(row), "probabilities": chances})
    return rows


READERS = {".csv": read_csv, ".jsonl": read_jsonl, ".parquet": read_parquet}
WRITERS = {".csv": write_csv, ".jsonl": write_jsonl, ".parquet": write_parquet}
