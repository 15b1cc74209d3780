"""Modules as hashes of their syntax, without docstrings and comments, and as lists of what they import."""

from __future__ import annotations

import ast
import hashlib
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

IGNORED_FIELDS = (
    "ctx",
    "kind",
    "type_comment",
    "type_ignores",
    "type_params",
)  # of syntax nodes: none changes a result
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Module:
    """What the code version needs of a module.

    Attributes:
        digest: the SHA-256 of its syntax.
        imports: every module that it may import, at the top or inside a function.
        tables: CSV files in its folder that it names.
    """

    digest: bytes
    imports: tuple[str, ...]
    tables: tuple[Path, ...]


def code_digest(file: Path) -> str:
    """The hash of a module or of a CSV file: 12 hexadecimal digits; empty for a module with a syntax error."""
    return (read_module(file, "").digest if file.suffix == ".py" else hash_table(file)).hex()[:12]


def hash_table(file: Path) -> bytes:
    """The SHA-256 of a CSV file."""
    return hashlib.sha256(file.read_bytes()).digest()


@cache
def read_module(file: Path, name: str) -> Module:
    """Parse a module.

    Args:
        file: of the module.
        name: of the module, or of an object in it; relative imports are resolved with it.
    """
    try:
        syntax = Syntax(ast.parse(file.read_bytes()))
    except (SyntaxError, ValueError):  # importing it fails too
        return Module(b"", (), ())
    package = package_of(file, name.split("."))
    imports: list[str] = list(syntax.dynamic_imports)
    for node in syntax.imports:
        if isinstance(node, ast.Import):
            imports += [alias.name for alias in node.names]
        else:
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            if module:
                imports += [module, *(f"{module}.{alias.name}" for alias in node.names)]  # which may be modules
    tables = [file.parent / name for name in syntax.tables if len(name) < 255]
    return Module(
        hashlib.sha256("\0".join(syntax.tokens).encode()).digest(),
        tuple(imports),
        tuple(table for table in tables if table.is_file()),
    )


def package_of(file: Path, parts: list[str]) -> list[str]:
    """The package that relative imports in a module refer to.

    Args:
        file: of the module.
        parts: of the dotted name of the module, or of an object in it.
    """
    is_package = file.name == "__init__.py"
    path = file.parent.parts if is_package else (*file.parent.parts, file.stem)
    for length in range(len(parts), 0, -1):
        if list(path[-length:]) == parts[:length]:
            return parts[:length] if is_package else parts[: length - 1]
    return []


class Syntax:
    """A syntax tree without docstrings as a list of tokens. Unlike `ast.dump`, it is the same in every version of Python.

    Attributes:
        tokens: ASCII text.
        imports: the import statements.
        dynamic_imports: the modules that `import_module` or `__import__` is called with.
        tables: the string constants that name a CSV file.
    """

    def __init__(self, tree: ast.Module) -> None:
        self.tokens: list[str] = []
        self.imports: list[ast.Import | ast.ImportFrom] = []
        self.dynamic_imports: list[str] = []
        self.tables: list[str] = []
        self._add(tree)

    def _add(self, node: ast.AST) -> None:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            self.imports.append(node)
        if isinstance(node, ast.Call) and (name := imported_by_call(node)):
            self.dynamic_imports.append(name)
        self.tokens.append(type(node).__name__)
        for field in node._fields:
            value = getattr(node, field, None)
            if value is None or field in IGNORED_FIELDS:
                continue
            if isinstance(value, list):
                items = value[1:] if field == "body" and is_docstring(value, node) else value
                items = merge_text(items) if isinstance(node, ast.JoinedStr) else items
                if items:  # an empty list is left out: not every version of Python has the field
                    self.tokens.append(field)
                    for item in items:
                        self._add_value(item)
                    self.tokens.append("]")
            else:
                self.tokens.append(field)
                self._add_value(value)
        self.tokens.append(")")

    def _add_value(self, value: Any) -> None:
        if isinstance(value, ast.AST):
            self._add(value)
            return
        self.tokens.append(ascii(value))
        if isinstance(value, str) and value.endswith(".csv"):
            self.tables.append(value)


def imported_by_call(node: ast.Call) -> str:
    """The module that a call of `import_module` or `__import__` names in full; empty for any other call."""
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if called not in ("import_module", "__import__") or not node.args or not isinstance(node.args[0], ast.Constant):
        return ""
    name = node.args[0].value
    return name if isinstance(name, str) and not name.startswith(".") else ""


def merge_text(parts: list[ast.AST]) -> list[ast.AST]:
    """The parts of an f-string; versions of Python divide its text differently, and some add empty parts."""
    merged: list[ast.AST] = []
    for is_text, group in groupby(parts, lambda part: isinstance(part, ast.Constant)):
        members = list(group)
        if not is_text:
            merged += members
        elif text := "".join(str(part.value) for part in members if isinstance(part, ast.Constant)):
            merged.append(ast.Constant(text))
    return merged


def is_docstring(body: list[ast.AST], node: ast.AST) -> bool:
    """Whether a body begins with a docstring."""
    first = body[0] if body and isinstance(node, DOCUMENTED) else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
