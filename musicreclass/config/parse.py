"""From a resolved configuration to checked settings."""

from __future__ import annotations

from types import NoneType
from typing import Any, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from musicreclass.config.fields import field_type, value_problem, wrong_value
from musicreclass.config.messages import nearest, suggestion
from musicreclass.config.settings.models import PACKAGES
from musicreclass.config.settings.section import Section, Target
from musicreclass.config.settings.tasks import BY_TARGET, TASK_SETTINGS, Settings
from musicreclass.errors import ConfigError, Problem


def section_class(annotation: Any, node: Any) -> type[Section] | None:
    """The settings class of a section, by the `_target_` of its node where there is one; None for the type of a plain value."""
    parts = [annotation, *get_args(annotation)]
    general = next((part for part in parts if isinstance(part, type) and issubclass(part, Section)), None)
    if general is None:
        return None
    special = BY_TARGET.get(str(target_of(node)))
    return special if special is not None and issubclass(special, general) else general


def find_field(task: str, config: dict[str, Any], key: str) -> FieldInfo | None:
    """The declaration of a dotted key, given the classes that a configuration chooses; None for a key of a foreign class."""
    kind: type[Section] | None = TASK_SETTINGS[task]
    node: Any = config
    *parents, name = key.split(".")
    for parent in parents:
        field = None if kind is None else declared(kind, parent, node)
        node = node.get(parent) if isinstance(node, dict) else None
        kind = None if field is None else section_class(field.annotation, node)
    return None if kind is None else declared(kind, name, node)


def declared(kind: type[Section], name: str, node: Any) -> FieldInfo | None:
    """The declaration of a key in a section; None if there is none, or the key is an argument of a user's class."""
    if kind.each is not None and name not in kind.model_fields:
        return FieldInfo(annotation=kind.each, description="one of several")
    if name == "_target_":
        return kind.model_fields.get("target")
    if issubclass(kind, Target) and kind.about is not None and name not in kind.about and is_users(target_of(node)):
        return None
    return kind.model_fields.get(name)


def is_users(target: Any) -> bool:
    """Whether a `_target_` is a user's class: neither of this package nor of a library."""
    return target is not None and not str(target).startswith(PACKAGES)


def target_of(node: Any) -> Any:
    """The `_target_` of a section, or None."""
    return node.get("_target_") if isinstance(node, dict) else None


def parse(task: str, config: dict[str, Any]) -> Settings:
    """Check a resolved configuration.

    Args:
        task: `train`, `prepare` or `analyze`.
        config: plain values, interpolations resolved.

    Returns:
        the settings, frozen.

    Raises:
        ConfigError: with every value that breaks its rule.
    """
    problems: list[Problem] = []
    settings = build_section(TASK_SETTINGS[task], config, "", problems)
    if problems:
        raise ConfigError(problems)
    return settings  # type: ignore[return-value]


def missing_keys(kind: type[Section], node: dict[str, Any], prefix: str = "") -> list[str]:
    """The keys without a default that no YAML file sets, in the sections that are there and must be complete."""
    missing = []
    for name, field in kind.model_fields.items():
        inner = section_class(field.annotation, node.get(name))
        if inner is not None and isinstance(node.get(name), dict):
            missing += missing_keys(inner, node[name], f"{prefix}{name}.")
        elif kind.complete and name not in node and value_problem(name, field.default, field_type(field)):
            missing.append(f"{prefix}{name}")
    return missing


def build_section(kind: type[Section], node: dict[str, Any], prefix: str, problems: list[Problem]) -> Section | None:
    """A section with the sections below it; None if there are problems, which are added to the list."""
    values: dict[str, Any] = {}
    before = len(problems)
    for name, value in node.items():
        field = declared(kind, name, node)
        inner = None if field is None else section_class(field.annotation, value)
        key = f"{prefix}{name}"
        if inner is not None and isinstance(value, dict):
            values[name] = build_section(inner, value, f"{key}.", problems)
        elif inner is not None:
            values[name] = value
            if value is not None or NoneType not in get_args(field.annotation):  # type: ignore[union-attr]
                problems.append(wrong_value(key, value, "a group of settings"))
        elif field is not None:
            problem = value_problem(key, value, field_type(field))
            problems += [problem] if problem else []
            values[name] = value
        elif kind.model_config.get("extra") == "allow":
            values[name] = value
        else:
            names = {f"{prefix}{field_name}" for field_name in kind.model_fields}
            message = f"{key}: no such key; {nearest(key, names)}"
            problems.append(Problem(message, "unknown_key", key, value, suggestion(key, names)))
    if len(problems) > before:
        return None
    if is_users(target_of(node)):  # its class alone decides which arguments are valid
        return kind.model_construct(**{str(name): value for name, value in values.items()})
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems += [
            Problem(f"{prefix.rstrip('.')}: {part['msg']}", "invalid_value", prefix.rstrip("."))
            for part in error.errors()
        ]
        return None
