"""The reference of the configuration: a Markdown page from the declared settings and the defaults in conf/."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from musicreclass.config.fields import field_type, rule
from musicreclass.config.locations import CONF
from musicreclass.config.parse import section_class
from musicreclass.config.settings.section import Section
from musicreclass.config.settings.tasks import BY_TARGET, TASK_SETTINGS
from musicreclass.config.tree import Tree
from musicreclass.errors import UserError

INTRODUCTION = """# Configuration

This page is generated from the settings that check every configuration (`musicreclass/config/settings`) and from the defaults in
`conf/`. `KEY=VALUE` on the command line sets a key, `GROUP=OPTION` chooses a file of `conf/GROUP/`. `musicreclass train --help` lists
the values of the chosen options. Keys that are not listed here are arguments of the class named by `_target_`.

"""
HEAD = "| key | | default |\n| --- | --- | --- |\n"
UNSET = object()
MAX_DEFAULT = 100  # characters; longer lists of defaults are left to --help


@dataclass
class Table:
    """The settings of one class, below one key.

    Attributes:
        key: the dotted key of the section; empty for the top level.
        title: the heading.
        kind: the class.
        names: the fields to list.
        options: the options of the section's group that use the class; None: all.
    """

    key: str
    title: str
    kind: type[Section]
    names: list[str]
    options: list[str] | None = field(default=None)


def configuration_page() -> str:
    """The page, as Markdown."""
    tree = Tree()
    text = [INTRODUCTION, *group_lines(tree)]
    for table in tables(tree):
        rows = [row(tree, table, name) for name in table.names]
        if rows:
            text.append(f"## {table.title}\n\n{(table.kind.__doc__ or '').splitlines()[0]}\n\n{HEAD}{''.join(rows)}\n")
    return "".join(text)


def group_lines(tree: Tree) -> list[str]:
    """The options of every group, with the first comment of their files."""
    lines = ["## Groups\n\n"]
    for group, options in tree.groups.items():
        lines.append(f"**{group}**\n\n")
        lines += [f"- `{group}={option}`{about_option(group, option)}\n" for option in options]
        lines.append("\n")
    return lines


def about_option(group: str, option: str) -> str:
    """The first comment in the file of an option, or nothing."""
    lines = (CONF / group / f"{option}.yaml").read_text(encoding="utf-8").splitlines()
    comments = [line.lstrip("# ") for line in lines if line.startswith("#") and "@package" not in line]
    return f": {prose(comments[0])}" if comments else ""


def tables(tree: Tree) -> Iterator[Table]:
    """The tables of the page: the tasks' own keys, then every section with the classes that it may be."""
    sections: dict[str, type[Section]] = {}
    listed: set[str] = set()
    for task, kind in TASK_SETTINGS.items():
        plain = []
        for name, info in kind.model_fields.items():
            below = section_class(info.annotation, {})
            if below is None:
                plain += [] if name in listed else [name]
                listed.add(name)
            elif name not in sections or issubclass(below, sections[name]):
                sections[name] = below
        yield Table("", f"Keys of `{task}`" + ("" if task == "train" else " only"), kind, plain)
    for name, section in sections.items():
        yield from section_tables(tree, name, section)


def section_tables(tree: Tree, key: str, kind: type[Section]) -> Iterator[Table]:
    """The table of a section, of the sections below it, and of the special classes of its options."""
    inner = {name: section_class(info.annotation, {}) for name, info in kind.model_fields.items()}
    yield Table(key, f"`{key}`", kind, [name for name in kind.model_fields if inner[name] is None])
    if kind.each is not None:
        yield Table(f"{key}.NAME", f"`{key}.NAME`", kind.each, list(kind.each.model_fields))
    seen: dict[type[Section], list[str]] = {}
    for option in tree.groups.get(key.replace(".", "/"), []):
        target = option_values(tree, key, option).get("_target_")
        special = BY_TARGET.get(str(target))
        if special is not None and issubclass(special, kind):
            seen.setdefault(special, []).append(option)
    for special in dict.fromkeys(BY_TARGET.values()):
        if issubclass(special, kind) and special is not kind:
            options = seen.get(special, [])
            named = ", ".join(f"`{key.replace('.', '/')}={option}`" for option in options) or special.__name__
            yield Table(key, f"`{key}` with {named}", special, added_fields(special, kind), options)
    for name, below in inner.items():
        if below is not None:
            yield from section_tables(tree, f"{key}.{name}", below)


def added_fields(special: type[Section], general: type[Section]) -> list[str]:
    """The plain fields that a class declares beyond, or otherwise than, the class that it derives from."""
    classes = special.__mro__[: special.__mro__.index(general)]
    declared = {name for kind in classes for name in inspect.get_annotations(kind)}
    fields = special.model_fields
    return [n for n in fields if n in declared and section_class(fields[n].annotation, {}) is None]


def row(tree: Tree, table: Table, name: str) -> str:
    """The line of one setting."""
    info = table.kind.model_fields[name]
    key = ".".join(filter(None, [table.key, info.alias or name]))
    default = defaults_text(tree, table, info.alias or name)
    if not default and info.default is not None and isinstance(info.default, (bool, int, float, str)):
        default = f"`{shown(info.default)}`"
    about = f"{prose(info.description or '')}<br>*{prose(rule(field_type(info)))}*"
    cells = [f"`{key}`", about, default]
    return f"| {' | '.join(cells)} |\n"


def defaults_text(tree: Tree, table: Table, name: str) -> str:
    """The default of a key: one value, or several with the options that have them."""
    if name == "_target_":
        return ""
    by_value: dict[str, list[str]] = {}
    for option, values in default_sources(tree, table).items():
        value = values.get(name, UNSET)
        if value is not UNSET and not isinstance(value, Mapping):
            by_value.setdefault(shown(value), []).append(option)
    if len(by_value) == 1:
        return code(next(iter(by_value)))
    text = "<br>".join(f"{code(value)} ({', '.join(options)})" for value, options in by_value.items())
    return text if len(text) <= MAX_DEFAULT else "by option"


def code(value: str) -> str:
    """A default as code; that of an interpolation with alternatives as `KEY`, else `KEY`, else `VALUE`."""
    keys = re.findall(r"oc\.select:([\w.]+),", value)
    last = value.rstrip("}").rpartition(",")[2] if keys else value
    return ", else ".join(f"`{escaped(part)}`" for part in [*keys, last])


@cache
def task_values(tree: Tree, task: str) -> dict[str, Any]:
    """The settings in the file of a task."""
    return tree.read(task)


def default_sources(tree: Tree, table: Table) -> dict[str, dict[str, Any]]:
    """The files that may set the keys of a table: those of its group, else the files of the tasks."""
    group = table.key.replace(".", "/")
    if group in tree.groups:
        options = tree.groups[group] if table.options is None else table.options
        return {option: option_values(tree, table.key, option) for option in options}
    sources = {}
    for task in TASK_SETTINGS:
        values: Any = task_values(tree, task)
        for part in filter(None, table.key.split(".")):
            values = values.get(part, {}) if isinstance(values, dict) else {}
        if isinstance(values, dict):
            sources[task] = values
    return sources


@cache
def option_values(tree: Tree, key: str, option: str) -> dict[str, Any]:
    """The settings in the file of an option."""
    try:
        return tree.read_with_bases(key.replace(".", "/"), option)
    except UserError:
        return {}


def shown(value: Any) -> str:
    """A value as in an override."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"[{','.join(map(shown, value))}]" if isinstance(value, list) else str(value)


def escaped(text: str) -> str:
    """Code for a cell of a table."""
    return text.replace("|", "\\|")


def prose(text: str) -> str:
    """Plain text as Markdown, for a cell of a table too."""
    return re.sub(r"([|_*<\[\]])", r"\\\1", text)


def declared_keys() -> set[str]:
    """Every key that a settings class declares, as the page names it."""
    keys = set()
    for table in tables(Tree()):
        for name in table.names:
            info = table.kind.model_fields[name]
            keys.add(".".join(filter(None, [table.key, info.alias or name])))
    return keys
