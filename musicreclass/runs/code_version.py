"""A hash of the code that computes results, so that a run made by other code is recognised.

What counts is the syntax tree, without docstrings, of every module of this package that the computation imports, directly or
through others. A comment, a docstring or the layout of a line changes nothing.
"""

from __future__ import annotations

import ast
import hashlib
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
SUPPORTING = tuple(f"{NAME}.{part}" for part in ("config", "storage", "errors"))  # check, keep, report; compute nothing


def code_version(config: dict[str, Any]) -> str:
    """A hash of the package's code, as far as the results of a configuration depend on it: 12 hexadecimal digits.

    Args:
        config: resolved; its `_target_`s name modules beside those that every run imports.
    """
    return version_of(tuple(sorted(targets(config))))


@cache
def version_of(targets: tuple[str, ...]) -> str:
    """A hash of the modules that compute results with these targets."""
    digest = hashlib.sha256()
    for file in computing_files(targets):
        digest.update(file.relative_to(PACKAGE).as_posix().encode())
        digest.update(syntax(file) if file.suffix == ".py" else file.read_bytes())
    return digest.hexdigest()[:12]


def targets(node: Any) -> set[str]:
    """Every `_target_` in a configuration."""
    if not isinstance(node, dict):
        return set()
    own = {node["_target_"]} if isinstance(node.get("_target_"), str) else set()
    return own.union(*(targets(value) for value in node.values()))


def computing_files(targets: tuple[str, ...]) -> list[Path]:
    """The modules that compute results, and the tables beside a module of a target, sorted."""
    found: dict[str, Path] = {}
    tables: set[Path] = set()
    waiting = list(COMPUTING)
    for target in targets:
        module = target.rpartition(".")[0]
        while module and file_of(module) is None:  # a classmethod's target names its class, too
            module = module.rpartition(".")[0]
        if (file := file_of(module)) is not None:
            waiting.append(module)
            tables.update(file.parent.glob("*.csv"))
    while waiting:
        module = waiting.pop()
        file = file_of(module)
        if module not in found and file is not None and not module.startswith(SUPPORTING):
            found[module] = file
            waiting += imports(file)
    return sorted({*found.values(), *tables})


def file_of(module: str) -> Path | None:
    """The file of a module of this package; None for any other name."""
    parts = module.split(".")
    if parts[0] != NAME:
        return None
    place = PACKAGE.parent.joinpath(*parts)
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


@cache
def imports(file: Path) -> tuple[str, ...]:
    """What a module imports anywhere in it; a name imported from a package may be a module, too."""
    found: list[str] = []
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(name for name in found if name.startswith(NAME))


@cache
def parsed(file: Path) -> ast.Module:
    """The syntax tree of a module, without docstrings."""
    tree = ast.parse(file.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                del node.body[0]
    return tree


@cache
def syntax(file: Path) -> bytes:
    """The syntax of a module, without docstrings, comments and positions."""
    return ast.dump(parsed(file)).encode()
