"""A hash of the code that computes results, so that a run made by other code can be detected.

It covers the syntax, without docstrings and comments, of every module of this package that the computation imports, directly
or indirectly, and the CSV files that those modules name. The layout of the code and the version of Python do not change it.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from musicreclass.config.locations import PACKAGE

NAME = PACKAGE.name
COMPUTING = (  # what the train task calls to get data, a classifier and metrics; they import the rest
    f"{NAME}.tasks.open_data",
    f"{NAME}.classifiers.factory",
    f"{NAME}.evaluation.metrics",
)
SUPPORTING = ("config", "storage", "errors", "version")  # they check, store and report, but compute nothing
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
        imports: every module of this package that it may import, at the top or inside a function.
        tables: CSV files in its folder that it names.
    """

    digest: bytes
    imports: tuple[str, ...]
    tables: tuple[Path, ...]


def code_version(config: dict[str, Any]) -> str:
    """A hash of the code that the results of a configuration depend on: 12 hexadecimal digits.

    Args:
        config: resolved; the modules of its `_target_`s count as well as those that every run imports.
    """
    return version_of(PACKAGE, frozenset(find_targets(config)))


@cache
def version_of(package: Path, targets: frozenset[str]) -> str:
    """A hash of the modules that compute results with these targets."""
    modules = computing_modules(package, targets)
    tables = {table for module in modules.values() for table in module.tables}
    digests = {path: module.digest for path, module in modules.items()}
    digests |= {table: hashlib.sha256(table.read_bytes()).digest() for table in tables}
    total = hashlib.sha256()
    for path in sorted(digests):
        total.update(path.relative_to(package).as_posix().encode() + b"\0" + digests[path])
    return total.hexdigest()[:12]


def find_targets(node: Any) -> Iterator[str]:
    """Every `_target_` in a configuration."""
    if isinstance(node, dict):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"]
        node = list(node.values())
    if isinstance(node, list):
        for value in node:
            yield from find_targets(value)


def computing_modules(package: Path, targets: frozenset[str]) -> dict[Path, Module]:
    """The modules that compute results, by file: those that targets name and what they and `COMPUTING` import."""
    modules: dict[Path, Module] = {}
    queue = [*COMPUTING, *(target.rpartition(".")[0] for target in targets)]
    while queue:
        name = queue.pop()
        path = None if is_supporting(name) else module_file(package, name)
        if path is not None and path not in modules:
            modules[path] = read_module(path)
            queue += modules[path].imports
    return modules


def is_supporting(name: str) -> bool:
    """Whether a module belongs to those that compute nothing."""
    return name.split(".")[1:2] != [] and name.split(".")[1] in SUPPORTING


def module_file(package: Path, name: str) -> Path | None:
    """The file of a module of this package, or of the module that a class in it belongs to; None for any other name."""
    parts = name.split(".")
    if parts[0] != NAME:
        return None
    for length in range(len(parts), 1, -1):
        path = package.joinpath(*parts[1:length])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file
    return None


@cache
def read_module(file: Path) -> Module:
    """Parse a module."""
    syntax = Syntax(ast.parse(file.read_bytes()))
    imports: list[str] = []
    for node in syntax.imports:
        if isinstance(node, ast.Import):
            imports += [alias.name for alias in node.names]
        elif node.module:
            imports += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]  # which may be modules
    tables = [file.with_name(name) for name in syntax.tables]
    return Module(
        hashlib.sha256("\0".join(syntax.tokens).encode()).digest(),
        tuple(name for name in imports if name.split(".")[0] == NAME),
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
