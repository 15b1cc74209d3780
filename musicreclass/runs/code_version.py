"""Hashes of the code that computes results, so that a run made by other code can be detected.

They cover the syntax, without docstrings and comments, of every module that the computation imports, directly or indirectly,
and the CSV files that those modules name. The layout of the code and the version of Python do not change them. Modules of this
package are hashed together (`code_version`), the user's modules one by one (`user_code`). Installed libraries are not covered;
provenance.json has their versions.
"""

from __future__ import annotations

import ast
import hashlib
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from musicreclass.config.locations import PACKAGE
from musicreclass.config.working_directory import allow_import

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
LIBRARIES = ("site-packages", "dist-packages")
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


def code_version(config: dict[str, Any]) -> str:
    """A hash of the code that the results of a configuration depend on: 12 hexadecimal digits.

    Args:
        config: resolved; the modules of its `_target_`s count as well as those that every run imports.
    """
    return version_of(PACKAGE, frozenset(find_targets(config)))


def user_code(config: dict[str, Any]) -> dict[str, str]:
    """The user's modules that a configuration names, and what these import.

    Args:
        config: resolved; its `_target_`s must be importable.

    Returns:
        12 hexadecimal digits for each file, by absolute path. A module of this package that only the user's code imports is
        among them.
    """
    targets = frozenset(find_targets(config))
    counted = computing_modules(PACKAGE, targets)
    modules: dict[Path, Module] = {}
    queue = [target.rpartition(".")[0] for target in targets]
    for name in queue:
        allow_import(name)
    while queue:
        name = queue.pop()
        path = user_module_file(name) or (None if is_supporting(name) else module_file(PACKAGE, name))
        if path is not None and path not in modules and path not in counted:
            modules[path] = read_module(path, name)
            queue += modules[path].imports
    files = [*modules, *(table for module in modules.values() for table in module.tables)]
    return {str(file): file_digest(file) for file in sorted(files)}


def has_changed(files: dict[str, str]) -> bool:
    """Whether a file of `user_code` has changed; missing files do not count."""
    return any(Path(name).is_file() and file_digest(Path(name)) != digest for name, digest in files.items())


def file_digest(file: Path) -> str:
    """The hash of a module or of a CSV file: 12 hexadecimal digits; empty for a module with a syntax error."""
    try:
        digest = read_module(file, "").digest if file.suffix == ".py" else hash_table(file)
    except (SyntaxError, ValueError):
        return ""
    return digest.hex()[:12]


@cache
def version_of(package: Path, targets: frozenset[str]) -> str:
    """A hash of the modules that compute results with these targets."""
    modules = computing_modules(package, targets)
    tables = {table for module in modules.values() for table in module.tables}
    digests = {path: module.digest for path, module in modules.items()}
    digests |= {table: hash_table(table) for table in tables}
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
            modules[path] = read_module(path, name)
            queue += modules[path].imports
    return modules


def hash_table(file: Path) -> bytes:
    """The SHA-256 of a CSV file."""
    return hashlib.sha256(file.read_bytes()).digest()


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


def user_module_file(name: str) -> Path | None:
    """The file of a user's module, or of the module that a class in it belongs to; None for libraries and this package."""
    first, *rest = name.split(".")
    if first in (NAME, ""):
        return None
    try:
        spec = find_spec(first)  # of a top-level name: imports nothing
    except (ValueError, ImportError):  # a module without a specification, such as __main__
        return None
    if spec is None:
        return None
    folders = spec.submodule_search_locations
    if folders is None:
        return user_file(spec.origin)
    for folder in folders:
        for length in range(len(rest), -1, -1):
            path = Path(folder).joinpath(*rest[:length])
            for file in (path.with_suffix(".py"), path / "__init__.py"):
                if (length or file.name == "__init__.py") and file.is_file():
                    return user_file(str(file))
    return None


def user_file(origin: str | None) -> Path | None:
    """The absolute path of a Python file; None for built-in modules, the standard library and installed packages."""
    path = Path(origin or "").absolute()
    if path.suffix != ".py" or not path.is_file() or not {*path.parts}.isdisjoint(LIBRARIES):
        return None
    return None if path.is_relative_to(sysconfig.get_path("stdlib")) else path


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
