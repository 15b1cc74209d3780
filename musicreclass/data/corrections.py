"""Labels that a person has checked, as `musicreclass review` exports them: a CSV file with the columns `path` and `genre`."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from musicreclass.errors import DataError
from musicreclass.storage.regular import read_regular

COLUMNS = ("path", "genre")
DELIMITERS = ",;\t"


def read_corrections(path: Path, key: str) -> dict[Path, str]:
    """The genre of each file.

    Args:
        path: of the CSV file.
        key: of the setting or option that names it, for messages.

    Returns:
        by absolute path; a path that is relative is one below the folder of the CSV file.

    Raises:
        DataError: if the file cannot be read, lacks a column, or has a row without a path or genre.
    """
    try:
        text = read_regular(path).decode("utf-8-sig", "surrogateescape")
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter_of(text)))
    except (OSError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{key}={path}: cannot be read ({reason})", "unreadable", key) from error
    missing = [name for name in COLUMNS if rows and name not in rows[0]]
    if missing or not rows:
        reason = f"no column {missing[0]}" if missing else "no rows"
        line = f"{key}={path}: {reason}; it must have the columns {', '.join(COLUMNS)}, as the review page exports them"
        raise DataError(line, "invalid_corrections", key)
    corrections: dict[Path, str] = {}
    for number, row in enumerate(rows, start=2):
        name, genre = (str(row[column] or "").strip("\r\n") for column in COLUMNS)
        if not name or not genre.strip():
            line = f"{key}={path}: row {number} has no {'genre' if name else 'path'}"
            raise DataError(line, "invalid_corrections", key, number)
        corrections[path.absolute().parent / name] = genre.strip()
    return corrections


def delimiter_of(text: str) -> str:
    """What separates the columns of a CSV file by its first line: a comma, or a semicolon or tab as some spreadsheets write."""
    return max(DELIMITERS, key=text.partition("\n")[0].count)
