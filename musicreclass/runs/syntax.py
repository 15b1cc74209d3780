"""Modules as hashes of their syntax, without docstrings and comments, and as lists of what they import."""

from __future__ import annotations

import ast
import hashlib
from dataclasses import dataclass
from functools import cache
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
    try:
        digest = read_module(file, "").digest if file.suffix == ".py" else hash_table(file)
    except (SyntaxError, ValueError):
        return ""
    return digest.hex()[:12]


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
    syntax = Syntax(ast.parse(file.read_bytes()))
    parts = name.split(".")
    depth = max((i + 1 for i, part in enumerate(parts) if part == file.parent.name), default=0)
    package = parts[:depth]
    imports: list[str] = []
    for node in syntax.imports:
        if isinstance(node, ast.Import):
            imports += [alias.name for alias in node.names]
        else:
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            if module:
                imports += [module, *(f"{module}.{alias.name}" for alias in node.names)]  # which may be modules
    tables = [file.with_name(name) for name in syntax.tables]
    return Module(
        hashlib.sha256("\0".join(syntax.tokens).encode()).digest(),
        tuple(imports),
        tuple(table for table in tables if table.is_file()),
    )


class Syntax:
    """A syntax tree without docstrings as a list of tokens. Unlike `ast.dump`, it is the same in every version of Python.

    Attributes:
        tokens: ASCII text.
        imports: the import statements.
        tables: the string constants that name a CSV file.
    """

    def __init__(self, tree: ast.Module) -> None:
        self.tokens: list[str] = []
        self.imports: list[ast.Import | ast.ImportFrom] = []
        self.tables: list[str] = []
        self._add(tree)

    def _add(self, node: ast.AST) -> None:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            self.imports.append(node)
        self.tokens.append(type(node).__name__)
        for field in node._fields:
            value = getattr(node, field, None)
            if value is None or field in IGNORED_FIELDS:
                continue
            if isinstance(value, list):
                items = value[1:] if field == "body" and is_docstring(value, node) else value
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


def is_docstring(body: list[ast.AST], node: ast.AST) -> bool:
    """Whether a body begins with a docstring."""
    first = body[0] if body and isinstance(node, DOCUMENTED) else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
