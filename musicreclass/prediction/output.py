"""The table of labels: CSV, lines of JSON or Parquet, one row per file. It is replaced atomically and can be continued.

While files are labelled, each row is appended to a journal next to the table. A process that starts again reads both, so a kill
loses no finished row.
"""

from __future__ import annotations

import csv
import errno
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
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

NUMBERS = ("confidence", "duration", "processing_time", *VERSION[:2])
SAVE_INTERVAL = 60.0  # seconds after which the table is written again
JOURNAL = ".{}.rows"
Row = dict[str, Any]


class LabelTable:
    """The rows of an output file.

    Args:
        path: `.csv`, `.jsonl` or `.parquet`.
        run: the signature of the classifier, which each row records.
        classes: of the probabilities that a Parquet file contains.

    Attributes:
        rows: by path.

    Raises:
        UserError: for another suffix.
    """

    def __init__(self, path: Path, run: str, classes: list[str]) -> None:
        check_suffix(path)
        self.path, self.run, self.classes = path, run, classes
        self.journal_path = path.with_name(JOURNAL.format(path.name))
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
                self.rows = {row["path"]: row for row in [*read_table(self.path), *read_journal(self.journal_path)]}
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
        if self.path.suffix.lower() == ".parquet":
            row["probabilities"] = dict(zip(self.classes, label.probabilities, strict=False))
        self.rows[label.path] = {**self.extra(label.path), **row}
        assert self._journal is not None
        self._journal.write(json.dumps(self.rows[label.path]).encode() + b"\n")
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
        known = (*FIELDS, *VERSION, "top_predictions", "probabilities")
        return {name: value for name, value in self.rows.get(path, {}).items() if name not in known}

    def save(self) -> None:
        """Replace the file by all rows, sorted by path."""
        rows = [self.rows[path] for path in sorted(self.rows)]
        with replacing(self.path) as scratch:
            WRITERS[self.path.suffix.lower()](scratch, rows)
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


def read_table(path: Path) -> list[Row]:
    """The rows of an output file; none if it does not exist.

    Raises:
        DataError: if it is no table of labels.
    """
    if not path.exists():
        return []
    try:
        return READERS[path.suffix.lower()](path)
    except (ValueError, csv.Error, OSError, TypeError, AttributeError) as error:
        reason = f" ({error})" if isinstance(error, MissingColumnError) else ""
        line = f"{path}: exists and is no table of labels{reason}; choose another file with --output"
        raise DataError(line, "foreign_output", path) from error


class MissingColumnError(ValueError):
    """A table lacks a column that every table of labels has."""


def check_columns(names: Iterable[str]) -> None:
    """Make sure that a table has the columns of a table of labels.

    Raises:
        MissingColumnError: for the first one that is missing.
    """
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise MissingColumnError(f"no column {missing[0]}")


def read_journal(path: Path) -> list[Row]:
    """The rows of a journal; a last line that was cut short by a kill is left out."""
    rows = []
    with suppress(FileNotFoundError):
        for line in path.read_bytes().split(b"\n"):
            with suppress(ValueError, KeyError, TypeError):
                row = json.loads(line)
                if row["path"]:
                    rows.append(row)
    return rows


def glob_escaped(name: str) -> str:
    """A name as a pattern that matches only it."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def write_csv(path: Path, rows: list[Row]) -> None:
    """Write rows as CSV in UTF-8; names that are not UTF-8 keep their bytes."""
    flat = [{**{k: v for k, v in row.items() if k != "top_predictions"}, **pairs(row)} for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row)) or [*FIELDS, *VERSION]
    top = sorted((n for n in names if n.startswith(("genre_", "confidence_"))), key=lambda n: int(n.rpartition("_")[2]))
    fields = [*FIELDS[:3], *top, *FIELDS[3:], *VERSION]
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.DictWriter(file, [*fields, *(n for n in names if n not in fields)])
        writer.writeheader()
        writer.writerows(flat)


def pairs(row: Row) -> Row:
    """The most probable classes as columns: `genre_1`, `confidence_1`, `genre_2`, ..."""
    return {
        name: value
        for k, top in enumerate(row.get("top_predictions") or [], start=1)
        for name, value in ((f"genre_{k}", top["genre"]), (f"confidence_{k}", top["confidence"]))
    }


def read_csv(path: Path) -> list[Row]:
    """Read what `write_csv` wrote, also after a spreadsheet has saved it."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.DictReader(file)
        check_columns(reader.fieldnames or REQUIRED)
        return [from_csv(row) for row in reader]


def from_csv(fields: dict[str, str]) -> Row:
    """A row of CSV with numbers and the list of top classes."""
    row: Row = {}
    top: dict[int, Row] = {}
    for name, text in fields.items():
        column, _, rank = name.rpartition("_")
        if column in ("genre", "confidence") and rank.isdecimal():
            if text:
                value = float(text) if column == "confidence" else text
                top.setdefault(int(rank), {})[column] = value
        elif name in NUMBERS:
            row[name] = (int(float(text)) if name in VERSION else float(text)) if text else None
        else:
            row[name] = text
    return {**row, "top_predictions": [top[k] for k in sorted(top)]}


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
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a line is no object")
    for row in rows:
        check_columns(row)
    return rows


def write_parquet(path: Path, rows: list[Row]) -> None:
    """Write rows as Parquet, with a column `p/<class>` per class; bytes of names that are not UTF-8 become `\\xNN`."""
    flat = []
    for row in rows:
        fields = {k: v for k, v in row.items() if k not in ("top_predictions", "probabilities")}
        fields["path"] = row["path"].encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        chances = {f"p/{name}": value for name, value in (row.get("probabilities") or {}).items()}
        flat.append({**fields, **pairs(row), **chances})
    frame = pd.DataFrame(flat) if flat else pd.DataFrame(columns=[*FIELDS, *VERSION])
    frame.to_parquet(path, index=False)


def read_parquet(path: Path) -> list[Row]:
    """Read what `write_parquet` wrote."""
    frame = pd.read_parquet(path).astype(object)
    check_columns(frame.columns)
    rows: list[Row] = []
    for fields in frame.where(frame.notna(), None).to_dict("records"):
        chances = {str(k)[2:]: fields.pop(k) for k in [*fields] if str(k).startswith("p/")}
        texts = {str(k): "" if v is None else str(v) for k, v in fields.items() if k not in NUMBERS}
        row = from_csv({**texts, **{k: "" if fields.get(k) is None else repr(fields[k]) for k in NUMBERS}})
        has_values = any(value is not None for value in chances.values())
        rows.append({**row, "probabilities": chances if has_values else {}})
    return rows


READERS = {".csv": read_csv, ".jsonl": read_jsonl, ".parquet": read_parquet}
WRITERS = {".csv": write_csv, ".jsonl": write_jsonl, ".parquet": write_parquet}
