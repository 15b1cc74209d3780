"""Plain values as text in Hydra's grammar, which is not JSON: after parsing and resolving, each value is the same again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString

INTERPOLATION = re.compile(r"(\\*)\$\{")


def in_grammar(value: Any) -> str:
    """A plain value in Hydra's grammar. Text is quoted, and an interpolation in it stays text."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{escaped_key(key)}:{in_grammar(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(in_grammar, value)) + "]"
    if isinstance(value, str):
        literal = INTERPOLATION.sub(lambda match: match[1] * 2 + "\\${", value)
        return QuotedString(literal, Quote.double).with_quotes()
    return "null" if value is None else str(value)


def escaped_key(key: Any) -> str:
    """The key of a dictionary in Hydra's grammar, which has no quotes for keys."""
    return re.sub(r"([\\()\[\]{}:=, \t])", r"\\\1", str(key))
