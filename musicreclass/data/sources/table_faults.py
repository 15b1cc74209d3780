"""Explains why a file is no usable feature table: what it contains instead, which cell is wrong, and the remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from musicreclass.data.audio.content import substitute
from musicreclass.data.audio.header import REMEDIES
from musicreclass.data.audio.suffixes import SUFFIXES
from musicreclass.errors import DataError
from musicreclass.plurals import counted

HEAD = 4096  # bytes
CONTENTS = (  # first bytes, what they are, the remedy
    (b"\xff\xfe\0\0", "UTF-32 text", "save it as UTF-8"),
    (b"\xff\xfe", "UTF-16 text", "save it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text", "save it as UTF-8"),
    (b"\x1f\x8b", "compressed by gzip", "decompress it with gunzip"),
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook", "export the table as CSV"),
    (b"PAR1", "a Parquet file", "rename it to .parquet"),
    (b"ARROW1", "an Arrow file", "save it as Parquet"),
    (b"SQLite format 3", "an SQLite database", "export the table as CSV"),
    (b"\x93NUMPY", "a NumPy array", "save it as CSV, with a header"),
    (b"[", "JSON", "save it as CSV"),
    (b"{", "JSON", "save it as CSV"),
)
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
MAX_WRONG = 0.1  # of the cells of a column; with more, it is a column of text


def raise_if_no_table(path: Path, is_parquet: bool) -> None:
    """Reject a file that contains something else than its suffix states.

    Raises:
        DataError: if so, or if fields are not separated by commas.
        OSError: if it cannot be read.
    """
    with path.open("rb") as stream:
        head = stream.read(HEAD)
    if reason := substitute(path):
        raise DataError(f"{path}: a {reason}, not a table; {REMEDIES[reason]}", reason.replace(" ", "_"), path)
    if is_parquet and head.startswith(b"PAR1"):
        return
    for magic, content, remedy in CONTENTS:
        if head.startswith(magic):
            raise DataError(f"{path}: the file is {content}; {remedy}", "unsupported_format", path, content, remedy)
    if is_parquet:
        return
    line = head.partition(b"\n")[0].decode("utf-8", "replace")
    if line.count("\0") > len(line) // 4:
        raise DataError(f"{path}: the file is UTF-16 text or binary; save it as UTF-8", "unsupported_format", path)
    for separator, name in SEPARATORS.items():
        if separator in line and "," not in line and line.replace("\t", "").strip("\r\ufeff").isprintable():
            decimals = ", and decimal points instead of decimal commas" if b"," in head else ""
            message = f"{path}: its fields are separated by {name}; save it with commas{decimals}"
            raise DataError(message, "wrong_separator", path, separator)


def not_numeric_error(path: Path, frame: pd.DataFrame, columns: list[str], ignore_columns: list[str]) -> DataError:
    """The error for feature columns that are not numeric: the wrong cell of a column of numbers, or a column of text.

    Args:
        path: of the table.
        frame: its content.
        columns: the columns that are not numeric.
        ignore_columns: those that are ignored already.
    """
    column = columns[0]
    cells = frame[column].dropna()
    wrong = cells[pd.to_numeric(cells.map(str), errors="coerce").isna()]
    row = int(wrong.index[0]) + 1 if len(wrong) else 0
    if 0 < len(wrong) <= MAX_WRONG * len(cells):
        value = wrong.iloc[0]
        if str(value) == column:
            message = f"{path}: row {row} repeats the header; delete it"
            return DataError(message, "repeated_header", column, row)
        others = f" ({counted(len(wrong), 'such cell')})" if len(wrong) > 1 else ""
        message = f"{path}: row {row} of column {column!r} contains {value!r:.60}, which is not a number{others}; leave the cell empty"
        return DataError(f"{message} if the value is missing", "not_numeric", column, value)
    if not len(wrong) and len(cells):  # numbers as text, or of a type such as decimal
        row, wrong = int(cells.index[0]) + 1, cells
    if _are_recordings(wrong):
        label = next((name for name in ("label", "genre") if name in frame), "COLUMN")
        remedy = f"data=csv data.path={path} data.audio_column={column} data.label_column={label}"
        message = f"{path}: column {column!r} contains names of recordings ({wrong.iloc[0]!r:.60}); to train on them use {remedy}"
        return DataError(
            f"{message}, otherwise ignore the column", "names_of_recordings", str(column), suggestion=remedy
        )
    example = f"row {row} contains {wrong.iloc[0]!r:.60}" if len(wrong) else "it has no values"
    ignore = ",".join(json.dumps(str(c), ensure_ascii=False) for c in [*ignore_columns, *columns])
    return DataError(
        f"{path}: column {column!r} is not numeric ({example}): ignore it with 'data.ignore_columns=[{ignore}]', or use it as "
        "the group or split column",
        kind="not_numeric",
        key=str(column),
        suggestion=f"data.ignore_columns=[{ignore}]",
    )


def _are_recordings(cells: pd.Series[Any]) -> bool:
    """Whether text cells are names of audio files."""
    return bool(len(cells)) and all(Path(str(cell)).suffix.lower() in SUFFIXES for cell in cells)


def read_remedy(message: str, path: Path) -> str:
    """What to do about an error of a reader."""
    if "utf" in message.lower():
        return "save it as UTF-8"
    if "Expected" in message:
        return "every row must have the fields of the header, and text that contains a comma or a quote must be quoted"
    return "write or download it again" if path.suffix.lower() != ".csv" else "write it again as CSV with a header"
