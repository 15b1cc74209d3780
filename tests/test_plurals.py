"""Numbers agree with what they count: `1 track`, `2 tracks`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from musicreclass.plurals import agreeing, counted

PACKAGE = Path(__file__).parents[1] / "musicreclass"
NUMBER = re.compile(r"\b(len|sum|int|round)\(|count|total|nunique|\.shape\[|^n$|^n_|\.n$|number$")
PLURAL = re.compile(r" (?:[a-z-]+ ){0,2}?(?!(?:is|as|has|was|does|needs|this)\b)[a-z]+(?<!s)s\b")
FRACTION = re.compile(r" (of|to|at|in|is|and|or|for|has|with|on)\b")


@pytest.mark.parametrize(
    ("n", "nouns", "text"),
    [
        (1, ["track"], "1 track"),
        (0, ["track"], "0 tracks"),
        (1200, ["track"], "1,200 tracks"),
        (2, ["class"], "2 classes"),
        (2, ["copy"], "2 copies"),
        (2, ["day"], "2 days"),
        (1, ["track is", "tracks are"], "1 track is"),
        (3, ["track is", "tracks are"], "3 tracks are"),
    ],
)
def test_nouns_and_verbs_agree_with_the_number(n, nouns, text):
    assert counted(n, *nouns) == text
    assert agreeing(n, *nouns) == text.partition(" ")[2]


def bare_plurals(tree: ast.AST) -> Iterator[str]:
    """Numbers in f-strings that are followed by a plural, whatever the number is."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = ast.unparse(node)
            yield from re.findall(r"\} \{[^{}]+\}s\b", text)  # a noun in braces
            for value, after in zip(node.values, node.values[1:], strict=False):
                if isinstance(value, ast.FormattedValue) and isinstance(after, ast.Constant):
                    number, text = ast.unparse(value.value), str(after.value)
                    is_counted = "counted(" in number or "agreeing(" in number or number.startswith(("f'", "repr("))
                    is_fraction = FRACTION.match(text) or value.conversion != -1
                    if NUMBER.search(number) and not is_counted and not is_fraction and PLURAL.match(text):
                        yield f"{{{number}}}{text[:40]}"


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_every_number_in_a_message_agrees_with_its_noun(file):
    """`musicreclass.plurals.counted` writes the number with its noun."""
    assert list(bare_plurals(ast.parse(file.read_text(encoding="utf-8")))) == []


def test_a_bare_plural_is_noticed():
    for text in ("{len(x)} duplicate rows", "{n} {noun}s"):
        assert list(bare_plurals(ast.parse(f"f'{text}'")))
