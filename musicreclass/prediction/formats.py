"""The formats of the table of labels: CSV, lines of JSON and Parquet, which contain the same rows."""

from __future__ import annotations

import csv
import json
import math
import os
import re
from collections.abc import Iterable, Sequence
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import pandas as pd

from musicreclass.data.corrections import delimiter_of
from musicreclass.storage.versions import FileVersion

FORMATS = (".csv", ".jsonl", ".parquet")
FIELDS = ("path", "genre", "confidence", "checked", "reason", "duration", "processing_time", "error")
VERSION = ("size", "modified", "run")  # of the file and of the classifier, to know whether a row is up to date
REQUIRED = ("path", "genre", "confidence", *VERSION)
NESTED = ("top_predictions", "probabilities")  # are columns of their own in tables
TEXTS = ("path", "genre", "reason", "error", "run")
NUMBERS = ("confidence", "duration", "processing_time", *VERSION[:2])
PATH_BYTES = "path_bytes"
ROUNDED = re.compile(r"\d[.,](\d+)[Ee]\+?(\d+)")
Row = dict[str, Any]


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
    for top in row.get("top_predictions") or []:
        if not isinstance(top.get("genre"), str) or not is_number(top.get("confidence")):
            raise NotLabelsError("top_predictions must have genre and confidence")
    texts = [*row, *row.values(), *(top["genre"] for top in row.get("top_predictions") or [])]
    if not all(is_encodable(text) for text in texts if isinstance(text, str)):
        raise NotLabelsError(f"the row of {row['path']!r:.200} has a character that no file name or text can have")
    invalid = [name for name in NUMBERS if not is_number(row.get(name) or 0)]
    if invalid:
        raise NotLabelsError(f"{invalid[0]} of {row['path']!r:.200} is no number")


def is_encodable(text: str) -> bool:
    """Whether a text can be written; names that are not UTF-8 can, other surrogates cannot."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def write_csv(path: Path, rows: list[Row]) -> None:
    """Write rows as CSV in UTF-8; names that are not UTF-8 keep their bytes."""
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.DictWriter(file, columns_of(rows))
        writer.writeheader()
        writer.writerows(flat(row) for row in rows)


def columns_of(rows: Sequence[Row]) -> list[str]:
    """The columns of a flat table in the order for a reader: labels, details, what a user has added, probabilities."""
    longest = max((len(row.get("top_predictions") or []) for row in rows), default=0)
    top = [f"{name}_{k}" for k in range(1, longest + 1) for name in ("genre", "confidence")]
    tags = ["tags"] if any("tags" in row for row in rows) else []
    names = dict.fromkeys([*FIELDS[:3], *tags, *top, *FIELDS[3:], *VERSION])
    names |= dict.fromkeys(name for row in rows for name in flat(row) if not name.startswith("p/"))
    return list(names | dict.fromkeys(name for row in rows for name in flat(row)))


def flat(row: Row) -> Row:
    """A row with a column for each of the most probable classes (`genre_1`, `confidence_1`, ...) and each probability (`p/<class>`)."""
    fields = {name: value for name, value in row.items() if name not in NESTED}
    for k, top in enumerate(row.get("top_predictions") or [], start=1):
        fields |= {f"genre_{k}": top["genre"], f"confidence_{k}": top["confidence"]}
    return fields | {f"p/{name}": value for name, value in (row.get("probabilities") or {}).items()}


def read_csv(path: Path) -> list[Row]:
    """Read what `write_csv` wrote, also after a spreadsheet has saved it: with semicolons or tabs, and decimal commas."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        header = file.readline()
        file.seek(0)
        reader = csv.DictReader(file, delimiter=delimiter_of(header))
        check_columns(reader.fieldnames or REQUIRED)
        return [from_csv(row, reader.line_num) for row in reader if row["path"]]


def from_csv(fields: dict[str, str], line: int) -> Row:
    """A row of CSV with numbers and the list of top classes.

    Args:
        fields: by column.
        line: of the file, for messages.
    """
    if None in fields:
        raise NotLabelsError(f"line {line} has more values than there are columns")
    row: Row = {}
    for name, text in fields.items():
        if name in NESTED:
            continue  # a column of this name would be lost in the other formats
        if name not in NUMBERS:
            row[name] = text or ""
            continue
        try:
            number = as_number(text) if text else None
            row[name] = int(number) if name in VERSION and number is not None else number
        except (ValueError, OverflowError) as error:
            raise NotLabelsError(f"line {line}: {name} {text!r:.40} is no number") from error
    rounded = ROUNDED.fullmatch(fields["modified"] or "")
    if rounded:
        row["modified"] = unrounded(Path(row["path"]), row["modified"], 10 ** (int(rounded[2]) - len(rounded[1])))
    return with_top(row)


def as_number(text: str | float) -> float:
    """A number, also with a decimal comma."""
    return float(text.replace(",", ".") if isinstance(text, str) else text)


def unrounded(path: Path, modified: int, step: int) -> int:
    """The time that a spreadsheet has rounded, as 1.79570E+12: that of the file, if it could be the same; the size must be the same anyway.

    Args:
        path: of the file.
        modified: the rounded time in milliseconds.
        step: of the last digit.
    """
    version = FileVersion.of(path)
    if version is None or abs(version.mtime_ns // 1_000_000 - modified) > step:
        return modified
    return version.mtime_ns // 1_000_000


def with_top(row: Row) -> Row:
    """A row with the list of top classes in place of their columns."""
    rest = dict(row)
    top: list[Row] = []
    for k in takewhile(lambda k: f"genre_{k}" in row and f"confidence_{k}" in row, count(1)):
        genre, confidence = rest.pop(f"genre_{k}"), rest.pop(f"confidence_{k}")
        if genre and confidence not in (None, ""):
            top.append({"genre": genre, "confidence": as_number(confidence)})
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
