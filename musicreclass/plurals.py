"""Numbers with nouns and verbs that agree with them."""

from __future__ import annotations


def counted(n: int, one: str, many: str = "") -> str:
    """A number and what it counts: `1 track`, `1,200 tracks`.

    Args:
        n: how many.
        one: what follows 1.
        many: what follows any other number; by default `one` with the regular ending of its last word.
    """
    return f"{n:,} {agreeing(n, one, many)}"


def agreeing(n: int, one: str, many: str = "") -> str:
    """The words for a number without the number; arguments as in `counted`."""
    return one if n == 1 else many or regular_plural(one)


def regular_plural(noun: str) -> str:
    """The plural of a regular noun: `track` -> `tracks`, `class` -> `classes`, `copy` -> `copies`."""
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    return f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2] not in "aeiou" else f"{noun}s"
