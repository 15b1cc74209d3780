"""The page on which a person checks labels by ear: self-contained, with the table inside and the recordings by relative path."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections import Counter
from html import escape
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

from musicreclass.errors import printable
from musicreclass.library.cut import name_of_cut
from musicreclass.prediction.formats import Row
from musicreclass.prediction.labels import UNKNOWN
from musicreclass.storage.file_parts import file_of, span_of

TEMPLATES = Path(__file__).parent
SUGGESTED = "suggested"  # the column with the order in which files should be labelled
MAX_DIGITS = 9  # of the number in it
MIN_SIBLINGS = 3  # labelled files of a folder, from which its most frequent genre counts


def render_review(rows: list[Row], table: Path, page: Path, checked: dict[str, str] | None = None) -> str:
    """The HTML of the page.

    Args:
        rows: of the table of labels.
        checked: the genres of files that a person has already checked, by path, which the page exports too; those of the rows by
            default.
        table: its file; corrections in the browser belong to this path.
        page: where the page will be written; recordings are named relative to its folder.
    """
    surprises = surprise(rows)
    names = {top["genre"] for row in rows for top in row.get("top_predictions") or []}
    names |= {row["genre"] for row in rows if row["genre"] not in ("", UNKNOWN)}
    data = {
        "name": table.stem,
        "key": str(table.absolute()),
        "unknown": UNKNOWN,
        "checked": checked_genres(rows) if checked is None else checked,
        "genres": sorted(names, key=str.casefold),
        "files": [page_row(row, surprising, page) for row, surprising in zip(rows, surprises, strict=True)],
    }
    style, script = ((TEMPLATES / f"review.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    digest = base64.b64encode(hashlib.sha256(f"\n{script}".encode()).digest()).decode()
    content = json.dumps(data, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    template = Template((TEMPLATES / "review.html").read_text(encoding="utf-8"))
    title = escape(printable(table.name))
    return template.substitute(hash=f"sha256-{digest}", style=style, script=script, data=content, title=title)


def checked_genres(rows: list[Row]) -> dict[str, str]:
    """The genres that a person has checked, by path."""
    return {row["path"]: row["genre"] for row in rows if row.get("checked") == "yes"}


def page_row(row: Row, surprising: float, page: Path) -> list[Any]:
    """A row as the page's script reads it."""
    path = Path(row["path"])
    relative, span = os.path.relpath(file_of(path), page.absolute().parent), span_of(path)
    address = quote(os.fsencode(relative)) + (f"#t={span[0]:.6f},{span[1]:.6f}" if span else "")
    top = [[top["genre"], round(top["confidence"], 3)] for top in row.get("top_predictions") or []]
    confidence = None if row.get("confidence") is None else round(row["confidence"], 3)
    texts = [str(row.get(name) or "") for name in ("genre", "reason", "error")]
    name = Path(name_of_cut(path, row)).stem if span else ""
    suggested = str(row.get(SUGGESTED) or "")
    rank = [int(suggested)] if suggested.isdecimal() and len(suggested) <= MAX_DIGITS else []
    return [row["path"], address, texts[0], confidence, top, texts[1], texts[2], round(surprising, 3), name, *rank]


def surprise(rows: list[Row]) -> list[float]:
    """How surprising each label is, from 0 to 1.

    A label surprises if it is confident and differs from the most frequent genre of its folder (an album, an artist or a genre), the
    more of the folder's other files have that one; or if the folder has the name of another genre.
    """
    folders = [os.path.dirname(row["path"]) for row in rows]
    genres: dict[str, Counter[str]] = {}
    for row, folder in zip(rows, folders, strict=True):
        if row["genre"] not in ("", UNKNOWN):
            genres.setdefault(folder, Counter())[row["genre"]] += 1
    names = {name.casefold() for counts in genres.values() for name in counts}
    values = []
    for row, folder in zip(rows, folders, strict=True):
        genre, counts = row["genre"], genres.get(folder, Counter())
        if genre in ("", UNKNOWN) or row.get("confidence") is None:
            values.append(0.0)
            continue
        (other, count), total = counts.most_common(1)[0], counts.total()
        differs = other != genre and total > MIN_SIBLINGS
        fraction = count / (total - 1) if differs else 0.0
        parts = {part.casefold() for part in Path(folder).parts[-2:]}
        named = float(bool(parts & names) and genre.casefold() not in parts)
        values.append(row["confidence"] * max(fraction, named))
    return values
