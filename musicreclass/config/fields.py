"""Field types for `settings`, their rules as text, and the problems of values that break them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt, MinLen, MultipleOf
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from musicreclass.errors import Problem

STRICT = ConfigDict(strict=True, allow_inf_nan=False)
NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


class Rule:
    """The rule of a type as text, if the type alone does not express it.

    Args:
        text: completes "must be ...".
    """

    def __init__(self, text: str) -> None:
        self.text = text


def setting(help_line: str, *, default: Any = None, signed: bool = True) -> Any:
    """A field of a settings class.

    Args:
        help_line: what the setting does, for `--help`.
        default: value used if no YAML file sets the key; it is not validated. None: the key is not set.
        signed: whether the value is part of a run's signature.
    """
    return Field(default, description=help_line, json_schema_extra={"signed": signed})


def ordered(low: float, high: float) -> AfterValidator:
    """Checks that two numbers are in order and within limits."""

    def check(values: list[float]) -> list[float]:
        if not low <= values[0] <= values[1] <= high:
            raise ValueError("not in order, or out of range")
        return values

    return AfterValidator(check)


def _distinct(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise ValueError("a value is repeated")
    return values


def _nonzero(value: int) -> int:
    if value == 0:
        raise ValueError("0")
    return value


distinct = AfterValidator(_distinct)
nonzero = AfterValidator(_nonzero)
LARGEST = 2**31 - 1  # what the counters of every library hold
Auto = Literal["auto"]
Count = Annotated[int, Ge(1), Le(LARGEST)]
Natural = Annotated[int, Ge(0), Le(LARGEST)]
Threads = Annotated[int, Ge(1), Le(1024)]  # the system refuses many more, or the process crashes
Seed = Annotated[int, Ge(0), Le(2**32 - 1)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Probability = Annotated[float, Ge(0), Le(1), Rule("a probability, from 0 (never) to 1 (always)")]
Text = Annotated[str, MinLen(1), Rule("non-empty text")]


def rule(annotation: Any, metadata: Any = ()) -> str:
    """The rule of a type as text: `a whole number, at least 1, or null`."""
    rules = [part.text for part in metadata if isinstance(part, Rule)]
    if rules:
        return rules[-1]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return rule(arguments[0], (*arguments[1:], *metadata))
    if origin is Literal:
        return " or ".join(map(str, arguments))
    if origin in (Union, UnionType):
        parts = [rule(part) for part in arguments if part is not NoneType and part != Auto]
        special = [name for name, part in (("auto", Auto), ("null", NoneType)) if part in arguments]
        return " or ".join(parts) + "".join(f", or {name}" for name in special)
    if origin is list:
        item = rule(arguments[0])
        plural = {"a number": "numbers"}.get(item, item)
        return f"a list of {plural.replace('a whole number', 'whole numbers')}"
    return ", ".join(filter(None, [NAMES.get(annotation, "a group of settings"), *map(limit, metadata)]))


def limit(part: Any) -> str:
    """A bound as text."""
    texts: dict[type, Callable[[Any], str]] = {
        Ge: lambda p: f"at least {p.ge}",
        Gt: lambda p: f"above {p.gt}",
        Le: lambda p: "" if p.le == LARGEST else f"at most {p.le}",  # which only a value beyond it must know
        Lt: lambda p: f"below {p.lt}",
        MultipleOf: lambda p: f"a multiple of {p.multiple_of}",
    }
    return texts[type(part)](part) if type(part) in texts else ""


def field_type(field: FieldInfo) -> Any:
    """The type of a field with its constraints."""
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


def value_problem(key: str, value: Any, kind: Any) -> Problem | None:
    """The problem of a value, or None.

    Args:
        key: the dotted key.
        value: its value.
        kind: the type that it must have.
    """
    if is_valid(value, kind):
        return None
    if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        return wrong_value(key, value, "text in UTF-8; rename the file or folder if it names one")
    if value == "":
        return empty_value(key, kind)
    suggestion = ""
    if isinstance(value, (int, float)) and is_valid(str(value), kind):
        suggestion = f"'{key}=\"{value}\"'"
    elif isinstance(value, (str, int, float)) and is_valid([value], kind):
        suggestion = f"{key}=[{value}]"
    elif isinstance(value, str) and is_valid(decoded(value), kind):
        suggestion = f"'{key}=\"${{oc.decode:...}}\"', since {value!r} is text"
    too_large = any(
        type(number) is int and number > LARGEST for number in (value if isinstance(value, list) else [value])
    )
    bound = f", at most {LARGEST}" if too_large and "at most" not in rule(kind) else ""
    return wrong_value(key, value, rule(kind) + bound, suggestion)


def empty_value(key: str, kind: Any) -> Problem:
    """The problem of an empty text: often one that the shell or Hydra has read itself, as `|` or a space, or an unset variable."""
    unset = f"{key}=null" if is_valid(None, kind) else ""
    advice = [
        f"quote spaces and special characters, as in \"{key}='...'\"" if is_valid("|", kind) else "",
        f"{unset} leaves it unset" if unset else "",
    ]
    text = "; ".join([rule(kind), *filter(None, advice)])
    return replace(wrong_value(key, "", text), suggestion=unset)


def decoded(text: str) -> Any:
    """The number, truth value or list that a text stands for, such as that of an environment variable; else the text."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def is_valid(value: Any, kind: Any) -> bool:
    """Whether a value has a type, constraints included."""
    try:
        TypeAdapter(kind, config=STRICT).validate_python(value)
    except ValidationError:
        return False
    return True


def wrong_value(key: str, value: Any, rule_text: str, suggestion: str = "") -> Problem:
    """The problem of a value that breaks a rule."""
    shown = "null" if value is None else str(value).replace(", ", ",") if isinstance(value, list) else value
    hint = f"; write {suggestion}" if suggestion else ""
    return Problem(f"{key}={shown}: must be {rule_text}{hint}", "invalid_value", key, value, suggestion)
