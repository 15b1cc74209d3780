"""The labels of a user's own file: one class a row, tags in one column, or a column for each tag."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from musicreclass.data.targets import split_tags
from musicreclass.data.tracks import some, to_text
from musicreclass.errors import DataError
from musicreclass.evaluation.tag_sets import tag_sets

INDICATORS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}  # in lower case


@dataclass(frozen=True)
class LabelColumns:
    """Which columns have the labels.

    Attributes:
        column: with the class, or with the tags and a separator.
        separator: between tags; None for one class a row.
        indicators: a column for each tag, in place of `column`; None if there are none.

    Raises:
        DataError: if both ways to write tags are set.
    """

    column: str
    separator: str | None = None
    indicators: list[str] | None = None

    def __post_init__(self) -> None:
        if self.separator is not None and self.indicators:
            line = (
                "data.label_separator and data.label_columns are both set; tags are either in one column or in several"
            )
            raise DataError(line, "conflicting_settings", "data.label_columns", self.indicators)

    @property
    def as_text(self) -> list[str]:
        """The columns that must be read as text."""
        return list(self.indicators) if self.indicators else [self.column]

    def settings(self) -> list[tuple[str, str]]:
        """The settings that name columns, with each column."""
        key = "data.label_columns" if self.indicators else "data.label_column"
        return [(key, column) for column in self.as_text]

    def read(self, frame: pd.DataFrame, path: Path) -> pd.Series[Any]:
        """Class names, or sets of tags; None for a row without a label.

        Args:
            frame: with the columns.
            path: of the file, for messages.

        Raises:
            DataError: if a column of a tag has values other than 0 and 1.
        """
        if self.indicators:
            return self._read_indicators(frame, path)
        labels: pd.Series[Any] = to_text(frame[self.column])
        labels.index = frame.index
        return labels if self.separator is None else split_tags(labels, self.separator)

    def _read_indicators(self, frame: pd.DataFrame, path: Path) -> pd.Series[Any]:
        assert self.indicators is not None
        has_tag = {}
        for column in self.indicators:
            texts = to_text(frame[column]).set_axis(frame.index).str.lower()
            invalid = texts[texts.notna() & ~texts.isin(INDICATORS)]
            if len(invalid):
                line = f"{path}: column {column!r} (data.label_columns) contains {some(invalid.unique())}; only 0 and 1 are allowed"
                raise DataError(line, "invalid_indicator", "data.label_columns", column)
            has_tag[column] = texts.map(INDICATORS)
        table = pd.DataFrame(has_tag)
        is_labelled = table.notna().any(axis=1)
        rows = zip(is_labelled, table.eq(True).to_numpy(), strict=True)
        sets = [[c for c, has in zip(table, row, strict=True) if has] if labelled else None for labelled, row in rows]
        return tag_sets(sets).set_axis(frame.index)
