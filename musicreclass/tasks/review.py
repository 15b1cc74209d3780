"""The review task: write the page on which a person checks a table of labels."""

from __future__ import annotations

from pathlib import Path

from musicreclass.errors import DataError, UserError
from musicreclass.library.review import render_review
from musicreclass.prediction.output import check_suffix, read_table
from musicreclass.storage.atomic import write_text


def review(table: Path, output: Path) -> int:
    """Write the review page of a table of labels.

    Args:
        table: as `predict` writes it.
        output: the page, `.html`; the recordings must stay where they are relative to it.

    Returns:
        the number of files on the page.

    Raises:
        DataError: if the table does not exist or is none.
        UserError: if the page cannot be written there.
    """
    check_suffix(table, "review")
    if not table.is_file():
        line = f"{table}: there is no such file; musicreclass predict RUN --input DIR --output {table} writes it"
        raise DataError(line, "file_not_found", table)
    if output.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--output {output}: must end with .html", "invalid_value", "output", str(output))
    rows = read_table(table, table.suffix.lower())
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, render_review(rows, table, output))
    return len(rows)
