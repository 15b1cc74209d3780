"""The review task: write the page on which a person checks a table of labels."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from musicreclass.errors import DataError, UserError, notices
from musicreclass.library.review import SUGGESTED, checked_genres, render_review
from musicreclass.prediction.formats import FORMATS, WRITERS
from musicreclass.prediction.output import check_suffix, read_rows, read_table
from musicreclass.storage.atomic import replacing, write_text
from musicreclass.storage.file_parts import file_of
from musicreclass.storage.writing import writing


def review(table: Path, output: Path, suggestions: Suggestions | None = None) -> int:
    """Write the review page of a table of labels, or of the recordings to label first.

    Args:
        table: as `predict` writes it.
        output: the page, `.html`; the recordings must stay where they are relative to it. With suggestions also a table.
        suggestions: which recordings to take; None for all.

    Returns:
        the number of files on the page.

    Raises:
        DataError: if the table does not exist or is none, or if no features of its recordings are stored.
        UserError: if the page cannot be written there.
    """
    check_suffix(table, "review")
    if not table.is_file():
        line = f"{table}: there is no such file; musicreclass predict RUN --input DIR --output {table} writes it"
        raise DataError(line, "file_not_found", table)
    is_page = output.suffix.lower() in (".html", ".htm")
    if not is_page and (suggestions is None or output.suffix.lower() not in FORMATS):
        line = f"--output {output}: must end with .html"
        line += f", or with --select {', '.join(FORMATS)}" if suggestions is None else f", {', '.join(FORMATS)}"
        raise UserError(line, "invalid_value", "output", str(output))
    if not is_page and output.exists() and output.resolve() == table.resolve():
        raise UserError(f"--output {output}: is the table itself", "invalid_value", "output", str(output))
    rows = read_rows(table)
    checked = checked_genres(rows)
    if not is_page:
        check_replaceable(output, checked)
    if suggestions is not None:
        from musicreclass.tasks.label_first import open_space, suggest  # imports models

        space = open_space(suggestions.space, suggestions.overrides, suggestions.trust)
        rows = suggest(rows, suggestions.count, space, suggestions.seed)
    if is_page and rows and not any(os.path.lexists(file_of(Path(row["path"]))) for row in rows):
        notices.warning("%s: none of its recordings exists on this machine; the page cannot play them", table)
    with writing(output, "--output"):
        output.parent.mkdir(parents=True, exist_ok=True)
        if is_page:
            write_text(output, render_review(rows, table, output, checked), durable=True)
        else:
            with replacing(output, durable=True) as scratch:
                WRITERS[output.suffix.lower()](scratch, rows)
    return len(rows)


def check_replaceable(output: Path, checked: dict[str, str]) -> None:
    """Check that an output file does not exist, or is a table of suggestions without a genre that only it has as checked.

    Raises:
        DataError: if it is another file.
    """
    existing = read_table(output, output.suffix.lower())
    if not all(row.get(SUGGESTED) for row in existing):
        line = f"--output {output}: exists and is no table of suggestions; choose another file"
        raise DataError(line, "foreign_output", output)
    if not checked_genres(existing).items() <= checked.items():
        line = f"--output {output}: has checked genres that are not in the table; choose another file"
        raise DataError(line, "foreign_output", output)


@dataclass(frozen=True)
class Suggestions:
    """Which recordings to label first.

    Attributes:
        count: how many.
        space: a run or tagger over whose features they are spread.
        seed: of the selection.
        overrides, trust: as in `open_space`.
    """

    count: int
    space: str = "musicnn"
    seed: int = 0
    overrides: tuple[str, ...] = ()
    trust: tuple[str, ...] = ()


def suggestions_of(
    select: int | None, space: str | None, seed: int, overrides: tuple[str, ...], trust: tuple[str, ...]
) -> Suggestions | None:
    """Which recordings to label first; None for all of the table.

    Args:
        select: how many; None for all.
        space, seed, overrides, trust: as in `Suggestions`; of None, the default.

    Raises:
        UserError: for invalid numbers, and for options that need a number of recordings.
    """
    if select is None:
        if space is not None or overrides:
            line = "space and overrides need select=N (--select N), the number of recordings to label first"
            raise UserError(line, "invalid_arguments", "select")
    elif not isinstance(select, int) or isinstance(select, bool) or select < 1:
        raise UserError(
            f"select={select!r:.100}: must be a whole number of at least 1", "invalid_value", "select", select
        )
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise UserError(f"seed={seed!r:.100}: must be a whole number of at least 0", "invalid_value", "seed", seed)
    return None if select is None else Suggestions(select, space or Suggestions.space, seed, overrides, trust)
